//! How one CPU's run queue shares its tasks with the others', by the rules of [`sched::smp`].
//!
//! A run queue is touched by its owner alone (rule 4). So who wants a task asks: it sets its bit in the owner's word of requests
//! ([`PerCpu::asked`](crate::arch::percpu::PerCpu::asked)) and interrupts it. The owner looks at that word on its way anyway,
//! and gives, or not. Its own bit there is the tick's, and says that it is time to look around.
//!
//! - *Fair tasks* go by load, to CPUs that have less: those that ask, and idle ones, which have no tick to ask at.
//! - *Real-time and deadline tasks* go as soon as they wait in vain (*push*), and when a CPU turns to something less urgent it
//!   asks for what waits elsewhere (*pull*). So the most urgent run, as far as their masks allow.
//!
//! With one CPU nothing of this happens: nobody sets a bit, and nobody is shown anything.

use alloc::boxed::Box;
use core::sync::atomic::Ordering;

use executor::time::Instant;
use executor::{Runnable, cpu, platform};
use sched::smp::balance::{self, Reason, Surplus};
use sched::smp::progress::{self, Progress};
use sched::smp::{CpuSet, CpuView, Urgency, push};
use sched::{Node, Wake};

use super::order::Order;
use super::view;
use super::{hotplug, place, tick};
use crate::arch::{percpu, smp};
use crate::process::Thread;
use crate::process::current::with_current;

/// Tasks that are given to one CPU at a time, at most.
const GIVE_MOST: usize = 4;
/// Looks between two at which another CPU is asked.
const ASK_LOOKS: u64 = 4;
/// How much the last tick counts in what other classes take of the CPU: an average over about so many ticks.
const PRESSURE_TICKS: u64 = 8;

/// What a run queue keeps to share its tasks.
#[derive(Default)]
pub(super) struct Share {
    progress: Progress,
    /// How much of the CPU goes to other classes than the fair one, of [`sched::pelt::SCALE`].
    pressure: u64,
    looks: u64,
    looked_at: u64,
    /// The CPU has slept since.
    slept: bool,
    /// What is shown as running.
    running: Urgency,
    /// What is shown as waiting.
    waiting: Urgency,
    /// One of them is not [`Urgency::Fair`].
    urgent: bool,
}

impl Share {
    /// Whether something urgent is shown.
    #[inline(always)]
    pub(super) fn shows_urgent(&self) -> bool {
        self.urgent
    }
}

/// Whether `task` may go to CPU `cpu`.
fn may_go(task: &Runnable<Order>, cpu: u32) -> bool {
    allowed(task) & 1 << cpu != 0
}

/// The CPUs that `task` may go to at this moment.
fn allowed(task: &Runnable<Order>) -> u64 {
    match Thread::of_tag(task.tag()) {
        Some(thread) if !task.is_leaving() => place::mask_of(thread),
        _ => 0,
    }
}

impl Order {
    /// Does what others ask of this CPU's queue, which keeps `least` tasks that wait, and what it is time for.
    #[cold]
    pub(super) fn attend(&mut self, least: usize, now: Instant) {
        if hotplug::leaves() {
            return self.evacuate(now);
        }
        let here = cpu::id();
        let asked = percpu::this().asked.swap(0, Ordering::AcqRel);
        self.queue.charge(now.as_ns());
        if asked & 1 << here != 0 {
            self.look_around(here, least, now);
        }
        for cpu in place::bits(asked & !(1 << here)) {
            self.give(here, cpu, least, now);
        }
    }

    /// A tick has passed.
    fn look_around(&mut self, here: u32, least: usize, now: Instant) {
        if self.share.shows_urgent() || !self.queue.is_common_only() {
            self.push(here, now);
        }
        self.note_tick(here, view::farthest(), now);
        if place::isolated() & 1 << here != 0 {
            return;
        }
        // An idle CPU has no tick to ask at.
        for idle in place::bits(place::idle() & !place::isolated()) {
            if self.queue.len() > least {
                self.give(here, idle, least, now);
            }
        }
        self.share.looks += 1;
        // Not all CPUs at once.
        if (self.share.looks + u64::from(here)).is_multiple_of(ASK_LOOKS) {
            seek_load(here);
        }
    }

    /// Keeps the accounts of a tick, and shows them.
    fn note_tick(&mut self, here: u32, first: u64, now: Instant) {
        let share = &mut self.share;
        let ns = now.as_ns().saturating_sub(share.looked_at);
        share.looked_at = now.as_ns();
        let urgent = self.queue.current().is_some_and(|c| !c.policy().is_fair());
        let now_pressure = if urgent { sched::pelt::SCALE } else { 0 };
        share.pressure =
            (share.pressure * (PRESSURE_TICKS - 1) + now_pressure).div_ceil(PRESSURE_TICKS);
        if !urgent {
            // The tick stops where the CPU sleeps. Else it may be late, and the tasks ran all the while.
            let ns = match core::mem::take(&mut share.slept) {
                true => ns.min(2 * tick::TICK_NS),
                false => ns,
            };
            share.progress.advance(ns, self.queue.fair_load(), first);
        }
        self.show_load(here);
    }

    fn show_load(&self, here: u32) {
        let capacity = sched::pelt::SCALE - self.share.pressure.min(sched::pelt::SCALE - 1);
        let progress = self.share.progress.virtual_ns();
        view::show_load(here, self.queue.fair_load(), capacity, progress);
    }

    /// This CPU is about to sleep: it shows that, and asks another for a task.
    pub(super) fn goes_idle(&mut self) {
        if smp::cpu_count() == 1 {
            return;
        }
        let here = cpu::id();
        self.share.progress.advance(0, 0, view::farthest());
        self.share.pressure = 0;
        self.share.slept = true;
        self.show_load(here);
        if view::of(here).active {
            seek_anything(here);
        }
    }

    /// Gives CPU `cpu` what it should have, and keeps `least`.
    fn give(&mut self, here: u32, cpu: u32, least: usize, now: Instant) {
        let taker = view::of(cpu);
        if self.queue.has_rare() && self.give_urgent(cpu, taker.running, now) {
            return;
        }
        for _ in 0..GIVE_MOST {
            if self.queue.len() <= least || !self.give_fair(here, cpu, now) {
                break;
            }
        }
        self.show_load(here);
    }

    /// Gives CPU `cpu` the most urgent task that waits, if that is more so than `running`.
    fn give_urgent(&mut self, cpu: u32, running: Urgency, now: Instant) -> bool {
        let taken = self.queue.take_urgent(
            |task, urgency| urgency.is_before(running) && may_go(task, cpu),
            now.as_ns(),
        );
        taken.is_some_and(|(node, task)| {
            self.send(node, task, cpu, now);
            true
        })
    }

    /// Gives CPU `cpu` the fair task that fits best.
    fn give_fair(&mut self, here: u32, cpu: u32, now: Instant) -> bool {
        let (giver, taker) = (self.view(here), view::of(cpu));
        let Some(surplus) = Surplus::between(&giver, &taker) else {
            return false;
        };
        let turn = progress::is_due(&giver, &taker);
        let fits = |task: &Runnable<Self>, _: &Node<_>, load| {
            let usual = || surplus.misfit(load);
            let fit = usual().or_else(|| turn.then(|| surplus.misfit_of_turn(load)).flatten());
            fit.filter(|_| may_go(task, cpu))
        };
        let Some((mut node, task, load)) = self.queue.take_best(fits, now.as_ns()) else {
            return false;
        };
        if node.group().is_root() {
            let left = self.queue.fair_load();
            self.share.progress.leaves(load, node.lag_ns(), left);
            node.owe_ns(progress::owed_ns(&giver, &taker));
        }
        view::announce(cpu, load);
        self.send(node, task, cpu, now);
        true
    }

    /// A task is about to come from another CPU, with what it is owed.
    pub(super) fn expect(&mut self, node: &Node<Runnable<Self>>) {
        if node.policy().is_fair() && node.group().is_root() {
            let load = self.queue.fair_load() + node.weight();
            let progress = &mut self.share.progress;
            progress.arrives(node.weight(), node.lag_ns(), load);
        }
    }

    /// This CPU as it is at this moment.
    fn view(&self, here: u32) -> CpuView {
        CpuView {
            runnable: (self.queue.len() + usize::from(self.queue.current().is_some())) as u32,
            load: self.queue.fair_load(),
            progress: self.share.progress.virtual_ns(),
            ..view::of(here)
        }
    }

    /// Something urgent has come, or has been, here: shows it, pushes what waits in vain, and pulls where less is to run.
    pub(super) fn follow_urgent(&mut self, now: Instant) {
        if smp::cpu_count() == 1 {
            return;
        }
        let here = cpu::id();
        let before = self.share.running;
        self.show_urgency(here);
        if self.share.waiting != Urgency::Fair {
            self.push(here, now);
        }
        let running = self.share.running;
        if before.is_before(running) && place::isolated() & 1 << here == 0 {
            let next = match self.share.waiting.is_before(running) {
                true => self.share.waiting,
                false => running,
            };
            seek_urgent(here, next);
        }
    }

    fn show_urgency(&mut self, here: u32) {
        self.share.running = self.queue.current().map_or(Urgency::Fair, Urgency::of);
        self.share.waiting = self.queue.waiting_urgency();
        self.share.urgent =
            (self.share.running, self.share.waiting) != (Urgency::Fair, Urgency::Fair);
        view::show_urgency(here, self.share.running, self.share.waiting);
    }

    /// Sends the most urgent that wait to CPUs that run something less urgent.
    fn push(&mut self, here: u32, now: Instant) {
        for _ in 0..GIVE_MOST {
            if !self.push_one(here, now) {
                break;
            }
        }
        self.show_urgency(here);
    }

    fn push_one(&mut self, here: u32, now: Instant) -> bool {
        let running = self.queue.current().map_or(Urgency::Fair, Urgency::of);
        let mut target = None;
        let taken = view::with_all(|views| {
            views[here as usize].running = running;
            let goes = |task: &Runnable<Self>, urgency: Urgency| {
                // What comes before the running task is about to run here.
                if urgency.is_before(running) {
                    return false;
                }
                let allowed = CpuSet::from_bits(allowed(task));
                target = push::target(place::domains(), views, &allowed, urgency, here as usize);
                target.is_some()
            };
            self.queue.take_urgent(goes, now.as_ns())
        });
        let (Some((node, task)), Some(target)) = (taken, target) else {
            return false;
        };
        view::announce_urgency(target as u32, Urgency::of(&node));
        self.send(node, task, target as u32, now);
        true
    }
}

/// Asks who has more to do for a task; if nobody does, looks for a better place for what runs here.
fn seek_load(here: u32) {
    view::with_all(|views| {
        let pull = balance::find(place::domains(), views, here as usize, Reason::Periodic)
            .map(|pull| pull.from)
            .or_else(|| progress::find(views, here as usize));
        match pull {
            Some(from) => ask(from as u32, here),
            None => push_running(views, here),
        }
    });
}

/// Asks for any task, the urgent ones first.
fn seek_anything(here: u32) {
    let from = view::with_all(|views| {
        push::source(views, here as usize, Urgency::Fair).or_else(|| {
            balance::find(place::domains(), views, here as usize, Reason::Idle)
                .map(|pull| pull.from)
        })
    });
    if let Some(from) = from {
        ask(from as u32, here);
    }
}

/// Asks for what waits elsewhere and comes before `next`.
fn seek_urgent(here: u32, next: Urgency) {
    let from = view::with_all(|views| push::source(views, here as usize, next));
    if let Some(from) = from {
        ask(from as u32, here);
    }
}

/// Sends the thread that runs here to a CPU all of whose core sleeps, if it runs alone but shares its core.
fn push_running(views: &[CpuView], here: u32) {
    let domains = place::domains();
    if domains.core_of(here as usize).len() < 2 {
        return;
    }
    with_current(|thread| {
        let allowed = place::mask_of(thread);
        let better = |cpu: &u32| {
            allowed & 1 << cpu != 0
                && balance::should_push_running(domains, views, here as usize, *cpu as usize)
        };
        if let Some(task) = thread.task()
            && let Some(cpu) = executor::claim_idle(|idle| place::bits(idle).find(better))
        {
            task.migrate(cpu);
        }
    });
}

/// Asks CPU `from` for a task.
fn ask(from: u32, here: u32) {
    let Some(area) = percpu::of(from) else {
        return;
    };
    let before = area.asked.fetch_or(1 << here, Ordering::AcqRel);
    if before & 1 << here == 0 {
        platform::get().pend(from);
    }
}

impl Order {
    /// Hands a task that was taken out of the queue to CPU `cpu`, or puts it back if that has left at this moment.
    fn send(
        &mut self,
        node: Box<Node<Runnable<Self>>>,
        mut task: Runnable<Self>,
        cpu: u32,
        now: Instant,
    ) {
        task.entity_mut().put(node);
        if let Err(mut stays) = task.send_to(cpu)
            && let Some(node) = stays.entity_mut().take()
        {
            self.queue.enqueue(node, stays, Wake::Migrated, now.as_ns());
        }
    }
}
