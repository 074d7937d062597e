//! `/proc/timer_list`: each CPU's armed timers, and the devices that interrupt for them.
//!
//! All timers here count by the monotonic clock: one that follows another is armed anew when that is set. So each CPU has
//! one clock base. Pointers are not told.
//!
//! Source: Linux's `kernel/time/timer_list.c`.

use executor::time::{Armed, Expiry, Instant, armed, jiffies};
use fs::Result;

use crate::arch::{event, irq, smp, vectors};
use crate::clockevent::{Features, Mode, Traits};
use crate::panic::symbols;
use crate::pseudofs::{Out, put};
use crate::task::{load, tick};

/// So many timers are looked at with the CPU's queue held.
const AT_A_TIME: usize = 32;

pub(super) fn show(out: &mut Out) -> Result<()> {
    let now = Instant::now();
    put!(out, "Timer List Version: v0.9\n");
    put!(out, "HRTIMER_MAX_CLOCK_BASES: 1\n");
    put!(out, "now at {} nsecs\n\n", now.as_ns());
    for cpu in 0..smp::cpu_count() {
        show_cpu(out, cpu, now);
    }
    put!(out, "\n");
    show_broadcast(out);
    for cpu in 0..smp::cpu_count() {
        show_device(out, cpu);
    }
    Ok(())
}

fn show_cpu(out: &mut Out, cpu: u32, now: Instant) {
    put!(out, "cpu: {cpu}\n clock 0:\n");
    put!(out, "  .base:       {:016x}\n  .index:      0\n", 0);
    let resolution = event::resolution_ns();
    put!(out, "  .resolution: {resolution} nsecs\n");
    put!(out, "  .get_time:   ktime_get\n  .offset:     0 nsecs\n");
    put!(out, "active timers:\n");
    let first = show_timers(out, cpu, now);
    let mode = event::mode();
    put!(out, "  .expires_next   : {first} nsecs\n");
    let high = u32::from(mode == Mode::HighResolution);
    put!(out, "  .hres_active    : {high}\n");
    let events = irq::count(cpu, vectors::TIMER);
    put!(out, "  .nr_events      : {events}\n");
    put!(out, "  .nohz_mode      : {}\n", mode as u8);
    show_tick(out, cpu, first);
    put!(out, "jiffies: {}\n\n", jiffies::at(now));
}

/// Whether a CPU ticks, and what it does without. `next` (ns) is its next timer.
fn show_tick(out: &mut Out, cpu: u32, next: u64) {
    let tick = tick::snapshot(cpu);
    let stopped = u32::from(!tick.running);
    put!(out, "  .tick_stopped   : {stopped}\n");
    put!(out, "  .idle_calls     : {}\n", load::idle_calls(cpu));
    put!(out, "  .idle_sleeps    : {}\n", tick.stops);
    let stopped_at = tick.stopped_at.as_ns();
    put!(out, "  .idle_entrytime : {stopped_at} nsecs\n");
    let idle = load::times(cpu).idle;
    put!(out, "  .idle_sleeptime : {idle} nsecs\n");
    put!(
        out,
        "  .last_jiffies   : {}\n",
        jiffies::at(tick.stopped_at)
    );
    put!(out, "  .next_timer     : {next}\n");
}

/// Writes a CPU's timers in their order, and gives when the first expires.
fn show_timers(out: &mut Out, cpu: u32, now: Instant) -> u64 {
    let mut first = i64::MAX as u64;
    let mut last: Option<Armed> = None;
    let mut number = 0;
    loop {
        let mut page = [Armed::NONE; AT_A_TIME];
        let found = armed(cpu, last.as_ref(), &mut page);
        for timer in &page[..found] {
            let at = timer.deadline().as_ns();
            if number == 0 {
                first = at;
            }
            put!(out, " #{number}: <{:016x}>, ", 0);
            show_expiry(out, timer.expiry);
            let left = at.wrapping_sub(now.as_ns()) as i64;
            put!(out, ", S:01\n # expires at {at}-{at} nsecs ");
            put!(out, "[in {left} to {left} nsecs]\n");
            number += 1;
        }
        if found < AT_A_TIME {
            return first;
        }
        last = page.last().copied();
    }
}

fn show_expiry(out: &mut Out, expiry: Expiry) {
    match expiry {
        Expiry::Nothing => put!(out, "nothing"),
        Expiry::Wake => put!(out, "hrtimer_wakeup"),
        Expiry::Call(function) => match symbols().and_then(|table| table.lookup(function as u64)) {
            Some((name, _)) => put!(out, "{name}"),
            None => put!(out, "function"),
        },
    }
}

/// The device that serves CPUs whose own does not run, as long as one does.
fn show_broadcast(out: &mut Out) {
    put!(out, "Tick Device: mode:     {}\n", tick_mode());
    put!(out, "Broadcast device\n");
    let Some(served) = event::served() else {
        put!(out, "Clock Event Device: <NULL>\n");
        put!(out, "tick_broadcast_mask: {:x}\n", 0);
        put!(out, "tick_broadcast_oneshot_mask: {:x}\n\n", 0);
        return;
    };
    show_traits(out, served.device, true);
    put!(out, " next_event:     {} nsecs\n", served.next as i64);
    put!(out, " event_handler:  {}\n", handler(true));
    put!(out, " retries:        {}\n\n", served.retries);
    put!(
        out,
        "tick_broadcast_mask: {:x}\n",
        served.cpus & smp::online()
    );
    put!(out, "tick_broadcast_oneshot_mask: {:x}\n\n", served.waiting);
}

fn show_device(out: &mut Out, cpu: u32) {
    put!(out, "Tick Device: mode:     {}\n", tick_mode());
    put!(out, "Per CPU device: {cpu}\n");
    let served = event::served().is_some_and(|served| served.cpus >> cpu & 1 != 0);
    show_traits(out, event::local().traits(), !served);
    let mut next = [Armed::NONE];
    let next = match armed(cpu, None, &mut next) {
        1 if !served => next[0].deadline().as_ns() as i64,
        _ => i64::MAX,
    };
    put!(out, " next_event:     {next} nsecs\n");
    put!(out, " event_handler:  {}\n", handler(false));
    put!(out, " retries:        0\n\n");
}

fn show_traits(out: &mut Out, device: Traits, running: bool) {
    let rate = device.rate;
    put!(out, "Clock Event Device: {}\n", device.name);
    put!(out, " max_delta_ns:   {}\n", rate.max_ns());
    put!(out, " min_delta_ns:   {}\n", rate.min_ns());
    put!(out, " mult:           {}\n", rate.ticks_per_ns);
    put!(out, " shift:          32\n");
    let periodic = event::mode() == Mode::Periodic && device.features.contains(Features::PERIODIC);
    // Linux's enum clock_event_state: shut down, periodic, one shot.
    let mode = match (running, periodic) {
        (false, _) => 1,
        (true, true) => 2,
        (true, false) => 3,
    };
    put!(out, " mode:           {mode}\n");
}

/// Linux's enum tick_device_mode.
fn tick_mode() -> u32 {
    u32::from(event::mode() != Mode::Periodic)
}

/// What Linux calls the handler that does what is done here.
fn handler(broadcast: bool) -> &'static str {
    match (event::mode(), broadcast) {
        (Mode::Periodic, true) => "tick_handle_periodic_broadcast",
        (_, true) => "tick_handle_oneshot_broadcast",
        (Mode::Periodic, false) => "tick_handle_periodic",
        (Mode::LowResolution, false) => "tick_nohz_handler",
        (Mode::HighResolution, false) => "hrtimer_interrupt",
    }
}
