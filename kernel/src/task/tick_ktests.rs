//! In-kernel tests of time that is counted in ticks, and of time without them.

use core::time::Duration;

use executor::time::jiffies::{self, Jiffies, Rate};
use executor::time::{Instant, mdelay, ndelay, sleep, udelay};
use executor::{cpu, spawn_on};
use test_macros::kernel_test;

use super::load;
use crate::arch::smp;

/// Attempts at what a busy host can spoil.
const TRIES: u32 = 50;

#[kernel_test]
async fn ticks_and_idle_time_are_right_after_a_sleep() {
    const LONG: Duration = Duration::from_millis(50);
    for there in 0..smp::cpu_count() {
        let round = spawn_on(there, "sleeps", async move {
            for _ in 0..TRIES {
                let (start, calls) = (Instant::now(), load::idle_calls(there));
                let (idle, first) = (load::times(there).idle, Jiffies::now());
                sleep(LONG).await;
                let idle = load::times(there).idle - idle;
                let (last, passed) = (Jiffies::now(), start.elapsed().as_nanos() as u64);
                // The points were taken within what is measured.
                let ticks = u64::from(last.0.wrapping_sub(first.0));
                assert!(last.is_after(first));
                assert!(ticks >= Rate::from_ms(50) - 1 && ticks <= passed / jiffies::TICK_NS + 1);
                assert!(idle <= passed, "idle for {idle} ns of {passed}");
                if load::idle_calls(there) > calls && idle > passed / 2 {
                    return true;
                }
            }
            false
        });
        assert_eq!(
            round.await,
            Ok(true),
            "CPU {there} never idled while its task slept"
        );
    }
}

#[kernel_test]
fn delays_are_never_shorter_than_asked_for() {
    let took = |delay: fn(u64), n: u64| {
        let start = Instant::now();
        delay(n);
        start.elapsed().as_nanos() as u64
    };
    for n in [0, 1, 10, 333, 2000] {
        assert!(took(udelay, n) >= n * 1000);
        assert!(took(ndelay, n) >= n);
    }
    assert!(took(mdelay, 3) >= 3_000_000);
    // With interrupts off as well: the clock needs none.
    let masked = cpu::irq_save();
    assert!(took(udelay, 500) >= 500_000);
    drop(masked);
}
