//! How tasks end: joined, aborted, and their outputs dropped.

use std::{future::poll_fn, sync::Arc, task::Poll};

use executor::{Executor, Fifo, NoHooks, TaskRef, spawn};
use loom::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::machine::{block_on, boot, join_machine, model, run_until};

fn joins_from_another_cpu() {
    let interrupts = boot();
    let ex = Executor::new(Fifo::new());
    let handle = spawn("answers", async { 42 });
    let joined = Arc::new(AtomicBool::new(false));
    let done = joined.clone();
    let joiner = thread::spawn(move || {
        join_machine(interrupts);
        assert_eq!(block_on(handle), Ok(42));
        done.store(true, Ordering::Release);
    });
    while ex.run_once(&NoHooks) {}
    joiner.join().unwrap();
    assert!(joined.load(Ordering::Acquire));
}

#[test]
fn join_gets_the_output_whenever_it_comes() {
    model(joins_from_another_cpu);
}

mistake!(
    mutant_join_looks_first,
    JoinLooksFirst,
    model(joins_from_another_cpu)
);

/// Counts drops.
struct Tell(Arc<AtomicUsize>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_output_is_dropped_once_by_handle_or_task() {
    model(|| {
        let interrupts = boot();
        let ex = Executor::new(Fifo::new());
        let drops = Arc::new(AtomicUsize::new(0));
        let tell = Tell(drops.clone());
        let handle = spawn("gives", async move { tell });
        let other = thread::spawn(move || {
            join_machine(interrupts);
            drop(handle);
        });
        while ex.run_once(&NoHooks) {}
        other.join().unwrap();
        while ex.run_once(&NoHooks) {}
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn abort_and_wake_and_end_drop_the_future_once() {
    model(|| {
        let interrupts = boot();
        let ex = Executor::new(Fifo::new());
        let drops = Arc::new(AtomicUsize::new(0));
        let (tell, flag) = (Tell(drops.clone()), Arc::new(AtomicBool::new(false)));
        let set = flag.clone();
        let handle = spawn("ends or is aborted", async move {
            let _tell = tell;
            poll_fn(|_| {
                if flag.load(Ordering::Acquire) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        });
        let task = handle.task().clone();
        let waker = thread::spawn(move || {
            join_machine(interrupts);
            set.store(true, Ordering::Release);
            task.wake();
        });
        let task: TaskRef = handle.task().clone();
        let aborter = thread::spawn(move || {
            join_machine(interrupts);
            task.abort();
        });
        run_until(&ex, interrupts, || handle.is_finished());
        waker.join().unwrap();
        aborter.join().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}
