//! In-kernel tests of interrupts that a task sees to: with hard interrupts, and preemption.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

use executor::time::{HrTimer, Instant, sleep, timeout};
use executor::{cpu, spawn_on};
use test_macros::kernel_test;

use super::{Chip, Descriptor, Flags, Flow, Request, Trigger};
use crate::arch::smp;

/// How long what should come at once may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

/// A controller of one line.
#[derive(Default)]
struct OneLine {
    masked: AtomicBool,
}

impl Chip for OneLine {
    fn name(&self) -> &'static str {
        "test"
    }
    fn mask(&self, _: u32) {
        self.masked.store(true, Ordering::Release);
    }
    fn unmask(&self, _: u32) {
        self.masked.store(false, Ordering::Release);
    }
}

/// A level line of its own, and its chip.
fn line() -> (Arc<OneLine>, &'static Descriptor) {
    let chip = Arc::new(OneLine::default());
    let line = Box::leak(Box::new(Descriptor::new(1000)));
    line.set_up(chip.clone(), 0, Flow::Level, Trigger::Level);
    (chip, line)
}

#[kernel_test]
async fn an_interrupts_thread_preempts_what_computes_and_may_wait() {
    const INTERRUPTS: u32 = 5;
    for there in 0..smp::cpu_count() {
        let round = spawn_on(there, "computes", async move {
            static SEEN: AtomicU32 = AtomicU32::new(0);
            SEEN.store(0, Ordering::Relaxed);
            let (chip, line) = line();
            let held = chip.clone();
            let request = Request::new("test").flags(Flags::ONESHOT);
            let irq = request.submit_threaded(line, move || {
                let held = held.clone();
                async move {
                    assert!(!cpu::in_interrupt());
                    sleep(Duration::from_micros(100)).await;
                    assert!(
                        held.masked.load(Ordering::Acquire),
                        "let through before its end"
                    );
                    SEEN.fetch_add(1, Ordering::AcqRel);
                }
            });
            let irq = irq.expect("the line is nobody's");
            let device = HrTimer::new(move |_| {
                assert!(cpu::in_hardirq());
                line.handle();
                None
            });
            for n in 1..=INTERRUPTS {
                device.arm(Instant::now() + Duration::from_millis(1));
                let start = Instant::now();
                // One poll, which gives the CPU up nowhere.
                while SEEN.load(Ordering::Acquire) < n || chip.masked.load(Ordering::Acquire) {
                    assert!(start.elapsed() < PATIENCE, "nobody preempts this");
                    core::hint::spin_loop();
                }
            }
            assert_eq!(line.total(), u64::from(INTERRUPTS));
            assert_eq!(timeout(PATIENCE, irq.free()).await, Ok(()));
        });
        assert_eq!(round.await, Ok(()));
    }
}

#[kernel_test]
async fn freeing_a_threaded_line_waits_for_its_thread() {
    static ENDED: AtomicBool = AtomicBool::new(false);
    ENDED.store(false, Ordering::Relaxed);
    let (chip, line) = line();
    let begun = Arc::new(AtomicBool::new(false));
    let tell = begun.clone();
    let request = Request::new("test").flags(Flags::ONESHOT);
    let irq = request.submit_threaded(line, move || {
        let tell = tell.clone();
        async move {
            tell.store(true, Ordering::Release);
            sleep(Duration::from_millis(5)).await;
            ENDED.store(true, Ordering::Release);
        }
    });
    let irq = irq.expect("the line is nobody's");
    let device = HrTimer::new(move |_| {
        line.handle();
        None
    });
    device.arm(Instant::now());
    let start = Instant::now();
    while !begun.load(Ordering::Acquire) {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_micros(200)).await;
    }
    assert_eq!(timeout(PATIENCE, irq.free()).await, Ok(()));
    assert!(ENDED.load(Ordering::Acquire));
    assert!(chip.masked.load(Ordering::Acquire), "nobody's line is off");
}
