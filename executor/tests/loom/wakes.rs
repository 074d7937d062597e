//! Wake-ups of tasks, from this CPU and from others.

use std::sync::Arc;

use executor::{Executor, Fifo, JoinHandle, NoHooks, irq::IrqEvent};
use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::machine::{block_on, boot, flag_task, join_machine, model, model_within, run_until};

fn wake_reaches_an_idle_or_busy_cpu() {
    let interrupts = boot();
    let ex = Executor::new(Fifo::new());
    let flag = Arc::new(AtomicBool::new(false));
    let handle = flag_task(flag.clone());
    let task = handle.task().clone();
    let waker = thread::spawn(move || {
        join_machine(interrupts);
        flag.store(true, Ordering::Release);
        task.wake();
    });
    run_until(&ex, interrupts, || handle.is_finished());
    waker.join().unwrap();
}

#[test]
fn a_wake_from_another_cpu_is_never_lost() {
    model(wake_reaches_an_idle_or_busy_cpu);
}

mistake!(
    mutant_no_fence_after_push,
    NoFenceAfterPush,
    model(wake_reaches_an_idle_or_busy_cpu)
);
mistake!(
    mutant_idle_after_look,
    IdleAfterLook,
    model(wake_reaches_an_idle_or_busy_cpu)
);
mistake!(
    mutant_forget_wake_in_poll,
    ForgetWakeInPoll,
    model(wake_reaches_an_idle_or_busy_cpu)
);

#[test]
fn two_wakers_push_on_one_queue() {
    // Steps that other models have.
    executor::mutants::Mutant::NeverSole.make();
    model_within(2, || {
        let interrupts = boot();
        let ex = Executor::new(Fifo::new());
        let flags = [
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        ];
        let handles = flags.clone().map(flag_task);
        while ex.run_once(&NoHooks) {}
        let threads: Vec<_> = (0..2)
            .map(|i| {
                let (flag, task) = (flags[i].clone(), handles[i].task().clone());
                thread::spawn(move || {
                    join_machine(interrupts);
                    flag.store(true, Ordering::Release);
                    task.wake();
                })
            })
            .collect();
        run_until(&ex, interrupts, || {
            handles.iter().all(JoinHandle::is_finished)
        });
        for t in threads {
            t.join().unwrap();
        }
    });
}

#[test]
fn a_task_woken_twice_at_once_is_in_the_queue_once() {
    model(|| {
        let interrupts = boot();
        let ex = Executor::new(Fifo::new());
        let flag = Arc::new(AtomicBool::new(false));
        let handle = flag_task(flag.clone());
        while ex.run_once(&NoHooks) {}
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (flag, waker) = (flag.clone(), handle.task().waker());
                thread::spawn(move || {
                    join_machine(interrupts);
                    flag.store(true, Ordering::Release);
                    // By value: one of the two may hold the last reference of a finished task.
                    waker.wake();
                })
            })
            .collect();
        run_until(&ex, interrupts, || handle.is_finished());
        drop(handle);
        for t in threads {
            t.join().unwrap();
        }
        // What was freed late, is freed here.
        while ex.run_once(&NoHooks) {}
    });
}

#[test]
fn irq_events_are_never_lost() {
    model(|| {
        let event = Arc::new(IrqEvent::new());
        let top_half = event.clone();
        let device = thread::spawn(move || {
            top_half.raise();
            top_half.raise();
        });
        let mut seen = 0;
        while seen < 2 {
            seen += block_on(event.wait());
        }
        device.join().unwrap();
        assert_eq!((seen, event.take()), (2, 0));
    });
}
