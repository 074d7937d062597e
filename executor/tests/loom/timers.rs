//! Timers that expire here and are cancelled or moved from there.

use std::sync::Arc;

use executor::{
    Executor, Fifo,
    time::{HrTimer, Instant, run_expired},
};
use loom::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::machine::{boot, join_machine, model};

/// A timer's CPU expires it while another cancels it: once that returns, the callback does not run.
fn cancel_meets_expiry() {
    let interrupts = boot();
    let _ex = Executor::new(Fifo::new());
    let alive = Arc::new(AtomicBool::new(true));
    let seen = alive.clone();
    let timer = HrTimer::new(move |_| {
        assert!(seen.load(Ordering::Acquire));
        // The callback takes its time.
        thread::yield_now();
        assert!(
            seen.load(Ordering::Acquire),
            "the owner was gone while the callback ran"
        );
        None
    });
    timer.arm(Instant::from_ns(1));
    let other = thread::spawn(move || {
        join_machine(interrupts);
        timer.cancel();
        alive.store(false, Ordering::Release);
        timer
    });
    run_expired(Instant::from_ns(2));
    drop(other.join().unwrap());
}

#[test]
fn cancelling_a_timer_waits_for_its_callback() {
    model(cancel_meets_expiry);
}

mistake!(
    mutant_cancel_does_not_wait,
    CancelDoesNotWait,
    model(cancel_meets_expiry)
);

#[test]
fn a_timer_is_armed_here_and_moved_from_there() {
    model(|| {
        let interrupts = boot();
        let _ex = Executor::new(Fifo::new());
        let calls = Arc::new(AtomicUsize::new(0));
        let count = calls.clone();
        let timer = Arc::new(HrTimer::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            None
        }));
        timer.arm(Instant::from_ns(1));
        let moved = timer.clone();
        let other = thread::spawn(move || {
            join_machine(interrupts);
            let _ex = Executor::new(Fifo::new());
            let was_armed = moved.arm(Instant::from_ns(9));
            run_expired(Instant::from_ns(10));
            was_armed
        });
        run_expired(Instant::from_ns(5));
        let was_armed = other.join().unwrap();
        run_expired(Instant::from_ns(10));
        let expected = if was_armed { 1 } else { 2 };
        assert_eq!(calls.load(Ordering::Relaxed), expected);
        assert_eq!(timer.deadline(), None);
    });
}
