//! In-kernel tests of the machine: clocks, interrupts, messages among CPUs, and what the page tables allow.

#![allow(unsafe_code, reason = "walks the live page tables")]

use super::layout::{self, PAGE_SIZE, phys_to_virt};
use super::line;
use super::msi::{self, Message, Slot};
use super::{apic, clock, irq, percpu, pit, probe, rtc, smp, tsc, vectors};
use crate::irq::{IrqError, Request};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use executor::irq::IrqEvent;
use executor::time::{Instant, sleep, timeout};
use test_macros::kernel_test;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr3, Cr4, Cr4Flags};

/// How long what should come at once may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

#[kernel_test]
async fn a_sleep_lasts_as_long_as_it_should() {
    for ms in [1, 5, 20] {
        let start = tsc::now_ns();
        sleep(Duration::from_millis(ms)).await;
        let slept = tsc::now_ns() - start;
        assert!(slept >= ms * 1_000_000, "{slept} ns for {ms} ms");
        // The emulator's host may be busy; a timer that is wrong is wrong by more.
        assert!(slept < (ms + 5000) * 1_000_000, "{slept} ns for {ms} ms");
    }
}

#[kernel_test]
fn the_clock_agrees_with_another_one() {
    // The emulator may be held up between two readings, so one good round out of many will do.
    let mut seen = alloc::vec::Vec::new();
    for _ in 0..50 {
        let Some((ours, theirs)) = clock::compare(20_000_000) else {
            return;
        };
        if ours.abs_diff(theirs) < theirs / 1000 + 20_000 {
            return;
        }
        seen.push((ours, theirs));
    }
    panic!("{seen:?} ns");
}

#[kernel_test]
async fn the_clock_goes_on_with_another_counter() {
    let before = clock::current().expect("there is a clock").name();
    let mut names = alloc::vec::Vec::new();
    clock::each_available(|source| names.push(source.name()));
    assert!(names.contains(&before));
    for name in names.iter().rev().chain(&[before]) {
        let start = tsc::now_ns();
        clock::select(name);
        assert_eq!(clock::current().map(|source| source.name()), Some(*name));
        let after = tsc::now_ns();
        assert!(
            after >= start && after - start < 5_000_000_000,
            "{name}: {start} {after}"
        );
        sleep(Duration::from_millis(20)).await;
        let slept = tsc::now_ns() - after;
        assert!(slept >= 20_000_000, "{name}: {slept} ns for 20 ms");
    }
    // One that is not to be trusted is not taken, and is left at once.
    if names.len() > 1 {
        clock::mark_tsc_unstable("a test says so");
        clock::select("tsc");
        assert_ne!(clock::current().map(|source| source.name()), Some("tsc"));
        clock::trust_tsc();
        assert_eq!(clock::current().map(|source| source.name()), Some("tsc"));
    }
}

#[kernel_test]
fn an_adjusted_clock_runs_at_its_rate() {
    // The emulator may be held up between two readings: a clock at the wrong rate has no good round among many.
    let runs = |tenths: u64| {
        clock::set_rate(clock::RATE_ONE / 10 * tenths);
        let mut seen = alloc::vec::Vec::new();
        for _ in 0..50 {
            let (start, raw) = (clock::now_ns(), clock::raw_ns());
            while clock::raw_ns() - raw < 20_000_000 {
                core::hint::spin_loop();
            }
            let (passed, raw) = (clock::now_ns() - start, clock::raw_ns() - raw);
            if passed.abs_diff(raw / 10 * tenths) < raw / 100 {
                return;
            }
            seen.push((passed, raw));
        }
        panic!("{seen:?} ns at {tenths} tenths of the rate");
    };
    runs(11);
    runs(9);
    clock::set_rate(clock::RATE_ONE);
}

#[kernel_test(cpus = 2)]
fn the_clock_never_goes_back_between_cpus() {
    static LAST: AtomicU64 = AtomicU64::new(0);
    static BACK: AtomicU64 = AtomicU64::new(0);
    for _ in 0..2000 {
        let here = tsc::now_ns();
        LAST.store(here, Ordering::Release);
        smp::call(u64::MAX, &|| {
            if tsc::now_ns() < LAST.load(Ordering::Acquire) {
                BACK.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(tsc::now_ns() >= here);
    }
    assert_eq!(BACK.load(Ordering::Relaxed), 0);
}

#[kernel_test]
fn wall_time_is_of_this_century() {
    let now = rtc::read();
    assert!((1_600_000_000..7_000_000_000).contains(&now), "{now}");
}

#[kernel_test(cpus = 2)]
fn a_call_runs_once_on_each_cpu() {
    static RAN: AtomicU64 = AtomicU64::new(0);
    static TIMES: AtomicU64 = AtomicU64::new(0);
    for round in 1..=200 {
        RAN.store(0, Ordering::Relaxed);
        smp::call(u64::MAX, &|| {
            RAN.fetch_or(1 << executor::cpu::id(), Ordering::Relaxed);
            TIMES.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(RAN.load(Ordering::Relaxed), smp::online());
        assert_eq!(
            TIMES.load(Ordering::Relaxed),
            round * u64::from(smp::cpu_count())
        );
    }
    let others = smp::online() & !1;
    RAN.store(0, Ordering::Relaxed);
    smp::call(others, &|| {
        RAN.fetch_or(1 << executor::cpu::id(), Ordering::Relaxed);
    });
    assert_eq!(RAN.load(Ordering::Relaxed) & !others, 0);
}

#[kernel_test(cpus = 2)]
async fn cpus_that_call_each_other_all_get_on() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    const ROUNDS: u64 = 300;
    let cpus = smp::cpu_count();
    let work = |masked: bool| async move {
        for _ in 0..ROUNDS {
            let _masked = masked.then(executor::cpu::irq_save);
            smp::call(u64::MAX, &|| {
                CALLS.fetch_add(1, Ordering::Relaxed);
            });
        }
    };
    let tasks: alloc::vec::Vec<_> = (0..cpus)
        .map(|cpu| executor::spawn_on(cpu, "caller", work(cpu % 2 == 0)))
        .collect();
    for task in tasks {
        assert!(task.await.is_ok(), "nobody aborts them");
    }
    assert_eq!(
        CALLS.load(Ordering::Relaxed),
        ROUNDS * u64::from(cpus) * u64::from(cpus)
    );
}

#[kernel_test]
async fn a_message_to_oneself_raises_an_event() {
    static EVENT: IrqEvent = IrqEvent::new();
    let vector = irq::allocate_vector().expect("vectors are free at boot");
    irq::register(vector, irq::Action::Raise(&EVENT));
    let target = percpu::of(0)
        .expect("CPU 0 is there")
        .apic_id
        .load(Ordering::Relaxed) as u32;
    // Who had the vector before may have used it.
    let before = irq::count(0, vector);
    for _ in 0..10 {
        apic::send_ipi(target, vector);
        let times = timeout(PATIENCE, EVENT.wait()).await;
        assert_eq!(times.ok(), Some(1));
    }
    assert_eq!(irq::count(0, vector) - before, 10);
    irq::free_vector(vector);
}

#[kernel_test]
async fn a_line_of_a_device_reaches_who_awaits_it() {
    static EVENT: IrqEvent = IrqEvent::new();
    let irq = line::request_event(line::isa(0), "8254", &EVENT).expect("the line is free");
    // Programming the chip may by itself make an edge.
    EVENT.take();
    pit::fire_once(1193);
    let times = timeout(PATIENCE, EVENT.wait()).await;
    assert!(times.is_ok(), "no interrupt");
    irq.disable();
    let before = irq.line().total();
    pit::fire_once(1193);
    sleep(Duration::from_millis(20)).await;
    assert_eq!(irq.line().total(), before, "a disabled line came through");
    assert_eq!(EVENT.take(), 0);
    // What came meanwhile happens now.
    irq.enable();
    let times = timeout(PATIENCE, EVENT.wait()).await;
    assert_eq!(times.ok(), Some(1));
    irq.free();
}

#[kernel_test]
async fn a_line_goes_to_the_cpu_that_it_is_aimed_at() {
    static EVENT: IrqEvent = IrqEvent::new();
    let irq = line::request_event(line::isa(0), "8254", &EVENT).expect("the line is free");
    for cpu in (0..smp::cpu_count()).rev() {
        irq.set_affinity(1 << cpu).expect("the CPU is there");
        EVENT.take();
        let before = irq.line().count_on(cpu);
        pit::fire_once(1193);
        let times = timeout(PATIENCE, EVENT.wait()).await;
        assert!(times.is_ok(), "no interrupt on CPU {cpu}");
        assert!(irq.line().count_on(cpu) > before, "not on CPU {cpu}");
    }
    assert_eq!(irq.set_affinity(0), Err(IrqError::Invalid));
    irq.free();
}

#[kernel_test]
async fn a_message_goes_where_its_slot_was_told() {
    /// A device that is told where to send, and sends.
    #[derive(Default)]
    struct Device {
        message: AtomicU64,
        masked: AtomicBool,
    }
    impl Slot for Device {
        fn write(&self, message: Message) {
            let packed = message.address << 32 | u64::from(message.data);
            self.message.store(packed, Ordering::SeqCst);
        }
        fn set_masked(&self, masked: bool) {
            self.masked.store(masked, Ordering::SeqCst);
        }
    }
    impl Device {
        fn send(&self) {
            let packed = self.message.load(Ordering::SeqCst);
            assert!(!self.masked.load(Ordering::SeqCst), "it is held off");
            apic::send_ipi((packed >> 44 & 0xff) as u32, packed as u8);
        }
    }
    static EVENT: IrqEvent = IrqEvent::new();
    let device = Arc::new(Device::default());
    // More often than there are vectors, so that none may be lost.
    for round in 0..300 {
        let request = Request::new("test").event(&EVENT);
        let msi = msi::request_msi(0x800, device.clone(), request).expect("a vector is free");
        let cpu = round % smp::cpu_count();
        msi.set_affinity(1 << cpu).expect("the CPU is there");
        device.send();
        let times = timeout(PATIENCE, EVENT.wait()).await;
        assert_eq!(times.ok(), Some(1));
        assert_eq!((msi.line().count_on(cpu), msi.line().total()), (1, 1));
        drop(msi);
        assert!(device.masked.load(Ordering::SeqCst));
    }
}

#[kernel_test]
async fn a_line_that_nobody_answered_is_still_asked_now_and_then() {
    /// A device whose message nobody sends.
    struct Silent;
    impl Slot for Silent {
        fn write(&self, _: Message) {}
        fn set_masked(&self, _: bool) {}
    }
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let before = ASKED.load(Ordering::Relaxed);
    let request = Request::new("test").handler(|_| {
        assert!(executor::cpu::in_hardirq(), "a handler is the interrupt's");
        ASKED.fetch_add(1, Ordering::Relaxed);
        crate::irq::Answer::NONE
    });
    let msi = msi::request_msi(0x801, Arc::new(Silent), request).expect("a vector is free");
    msi.line().give_up();
    let start = tsc::now_ns();
    while ASKED.load(Ordering::Relaxed) < before + 2 {
        sleep(Duration::from_millis(20)).await;
        assert!(tsc::now_ns() - start < 60_000_000_000, "nobody asks");
    }
    assert!(msi.line().snapshot().stuck);
    msi.enable();
    assert!(!msi.line().snapshot().stuck);
}

#[kernel_test]
async fn a_storm_of_the_clocks_interrupts_lets_tasks_go_on() {
    // 8192 a second, the most that the chip does.
    let line = line::of(line::isa(8)).expect("the clock has a line");
    let before = line.total();
    rtc::set_rate(3);
    rtc::enable(rtc::PERIODIC, true);
    let (mut rounds, mut came) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) || rounds <= 100 || came <= 50 {
        assert!(
            start.elapsed() < PATIENCE,
            "{rounds} rounds beside {came} interrupts"
        );
        executor::yield_now().await;
        rounds += 1;
        came = line.total() - before;
    }
    rtc::enable(rtc::PERIODIC, false);
    assert!(!line.snapshot().stuck);
}

#[kernel_test]
async fn an_idle_machine_does_not_tick() {
    let ticks = || {
        (0..smp::cpu_count())
            .map(|cpu| irq::count(cpu, vectors::TIMER))
            .sum::<u64>()
    };
    // Whatever ran before settles first, however long a busy host takes for it.
    let start = Instant::now();
    loop {
        let before = ticks();
        sleep(Duration::from_millis(1000)).await;
        let ticked = ticks() - before;
        if ticked <= 20 {
            break;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{ticked} timer interrupts in a second of sleep"
        );
    }
}

#[kernel_test]
fn protections_are_on_where_the_cpu_has_them() {
    let features = super::cpu::Features::read();
    let cr4 = Cr4::read();
    assert!(Cr0::read().contains(Cr0Flags::WRITE_PROTECT));
    assert_eq!(
        cr4.contains(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
        features.smep
    );
    assert_eq!(
        cr4.contains(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        features.smap
    );
    assert_eq!(
        cr4.contains(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
        features.umip
    );
    assert_eq!(cr4.contains(Cr4Flags::PAGE_GLOBAL), features.global_pages);
}

#[kernel_test]
fn no_page_of_the_kernel_is_both_writable_and_executable() {
    if !super::cpu::Features::read().nx {
        return;
    }
    let root = Cr3::read_raw().0.start_address().as_u64();
    let leaves = check_table(root, 3, 256);
    assert!(leaves > 100, "{leaves} leaves");
}

/// Checks the entries of a table from slot `first` on, and of the tables beneath; returns how many leaves there are.
fn check_table(table: u64, level: u32, first: u64) -> u64 {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    const USER: u64 = 4;
    const LARGE: u64 = 1 << 7;
    const NO_EXECUTE: u64 = 1 << 63;
    let mut leaves = 0;
    for slot in first..512 {
        // SAFETY: a page table in use, which the direct map reaches.
        let entry = unsafe { (phys_to_virt(table + slot * 8) as *const u64).read_volatile() };
        if entry & PRESENT == 0 {
            continue;
        }
        if level > 0 && entry & LARGE == 0 {
            leaves += check_table(entry & 0x000f_ffff_ffff_f000, level - 1, 0);
        } else {
            leaves += 1;
            assert!(
                entry & USER == 0,
                "user page in the kernel's half: {entry:#x}"
            );
            assert!(
                entry & WRITABLE == 0 || entry & NO_EXECUTE != 0,
                "{entry:#x} at level {level}"
            );
        }
    }
    leaves
}

#[kernel_test]
fn text_has_no_writable_alias() {
    for virt in [layout::text().start, layout::rodata().end - PAGE_SIZE] {
        let alias = phys_to_virt(layout::image_to_phys(virt));
        assert_eq!(probe::flags(alias).map(|flags| flags & 2), Some(0));
        assert_eq!(probe::flags(virt).map(|flags| flags & 2), Some(0));
    }
}

#[kernel_test]
fn the_boot_stack_has_a_guard_page() {
    let stack = layout::boot_stack();
    assert_eq!(probe::read(stack.start), None);
    assert!(probe::read(stack.start + PAGE_SIZE).is_some());
}

#[kernel_test]
fn the_log_keeps_what_was_said() {
    let seq = crate::printk::LOG.next_seq();
    log::info!("log test: {}", 42);
    let mut text = [0; crate::printk::TEXT_LEN];
    let mut found = false;
    for seq in seq..crate::printk::LOG.next_seq() {
        if let crate::printk::Read::Record(record) = crate::printk::LOG.read(seq, &mut text) {
            found |= &text[..record.len] == b"log test: 42" && record.level() == 6;
        }
    }
    assert!(found);
}
