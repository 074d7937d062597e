//! A CPU that leaves, and perhaps comes back, while another wakes a task of its own.

use std::sync::Arc;

use executor::{Executor, Fifo, JoinHandle, NoHooks, Spawner, cpu};
use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::machine::{block_on, boot, flag_set, flag_task, join_machine, model};

/// CPU 1 does `leaves`, which says whether it is there afterwards, while CPU 0 wakes the task that `spawn` made on CPU 1. When
/// both are done the task is too, wherever it was polled.
fn a_wake_meets_a_cpu_that(
    leaves: impl Fn(&Executor<Fifo>) -> bool,
    spawn: impl Fn(Arc<AtomicBool>) -> JoinHandle<()>,
) {
    let interrupts = boot();
    cpu::set_cpu(1);
    let ex = Executor::new(Fifo::new());
    let flag = Arc::new(AtomicBool::new(false));
    let handle = spawn(flag.clone());
    run(&ex);
    let task = handle.task().clone();
    let other = thread::spawn(move || {
        cpu::set_cpu(0);
        join_machine(interrupts);
        let ex = Executor::new(Fifo::new());
        flag.store(true, Ordering::Release);
        task.wake();
        run(&ex);
    });
    let is_back = leaves(&ex);
    other.join().unwrap();
    if is_back {
        run(&ex);
    }
    assert!(handle.is_finished(), "the wake-up was lost");
    assert_eq!(block_on(handle), Ok(()), "polled, not dropped by its queue");
}

/// Polls what there is.
fn run(ex: &Executor<Fifo>) {
    while ex.run_once(&NoHooks) {}
}

fn go_away(ex: &Executor<Fifo>) -> bool {
    let _masked = cpu::irq_save();
    ex.go_away()
}

/// Does what is to be done until it can go.
fn goes(ex: &Executor<Fifo>) -> bool {
    while !go_away(ex) {
        run(ex);
    }
    false
}

/// Tries to go once; whether that came to nothing or not, it is there in the end.
fn comes_back(ex: &Executor<Fifo>) -> bool {
    if go_away(ex) {
        let _masked = cpu::irq_save();
        ex.come_back();
    }
    true
}

fn pinned_task(flag: Arc<AtomicBool>) -> JoinHandle<()> {
    let spawner = Spawner::new("pinned flag");
    spawner.try_spawn_local(move || flag_set(flag)).unwrap()
}

fn a_wake_meets_a_cpu_that_goes() {
    a_wake_meets_a_cpu_that(goes, flag_task);
}

fn a_pinned_wake_meets_a_cpu_that_comes_back() {
    a_wake_meets_a_cpu_that(comes_back, pinned_task);
}

#[test]
fn what_is_woken_for_a_cpu_that_goes_runs_elsewhere() {
    model(a_wake_meets_a_cpu_that_goes);
}

#[test]
fn what_is_woken_for_a_cpu_that_comes_back_runs() {
    model(|| a_wake_meets_a_cpu_that(comes_back, flag_task));
}

#[test]
fn what_is_pinned_runs_when_its_cpu_is_back() {
    model(a_pinned_wake_meets_a_cpu_that_comes_back);
}

mistake!(
    mutant_leave_without_look,
    LeaveWithoutLook,
    model(a_wake_meets_a_cpu_that_goes)
);
mistake!(
    mutant_no_fence_before_look_at_mark,
    NoFenceAfterPush,
    model(a_wake_meets_a_cpu_that_goes)
);
mistake!(
    mutant_leave_on_queue,
    LeaveOnQueue,
    model(a_wake_meets_a_cpu_that_goes)
);
mistake!(
    mutant_park_without_look,
    ParkWithoutLook,
    model(a_pinned_wake_meets_a_cpu_that_comes_back)
);
