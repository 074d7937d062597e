//! Kernel threads that stop and park when asked.
#![cfg(not(loom))]

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use executor::{Executor, Fifo, NoHooks, kthread, spawn, yield_now};

fn run(ex: &Executor<Fifo>) {
    ex.run_until_idle(&NoHooks);
}

#[test]
fn a_parked_thread_does_nothing_until_it_is_unparked() {
    let ex = Executor::new(Fifo::new());
    let rounds = Arc::new(AtomicUsize::new(0));
    let count = rounds.clone();
    let thread = Arc::new(kthread::run("counts", |me| async move {
        while !me.should_stop() {
            me.park_if_asked().await;
            count.fetch_add(1, Ordering::Relaxed);
            me.unless_asked(pending::<()>()).await;
        }
    }));
    run(&ex);
    assert_eq!(rounds.load(Ordering::Relaxed), 1);
    let parked = thread.clone();
    let park = spawn("park", async move { parked.park().await });
    run(&ex);
    assert!(park.is_finished());
    assert_eq!(rounds.load(Ordering::Relaxed), 1);
    thread.unpark();
    run(&ex);
    assert_eq!(rounds.load(Ordering::Relaxed), 2);
    drop(Arc::into_inner(thread));
    run(&ex);
    assert_eq!(rounds.load(Ordering::Relaxed), 2);
}

#[test]
fn stop_reaches_a_parked_thread_and_gives_its_result() {
    let ex = Executor::new(Fifo::new());
    let thread = kthread::run("parks", |me| async move {
        while !me.should_stop() {
            me.park_if_asked().await;
            yield_now().await;
        }
        7
    });
    let stop = spawn("owner", async move {
        thread.park().await;
        thread.stop().await
    });
    run(&ex);
    spawn("check", async move { assert_eq!(stop.await, Ok(7)) }).detach();
    run(&ex);
}

#[test]
fn parking_a_thread_that_has_ended_does_not_wait() {
    let ex = Executor::new(Fifo::new());
    let thread = kthread::run("ends", |_me| async {});
    run(&ex);
    let park = spawn("park", async move { thread.park().await });
    run(&ex);
    assert!(park.is_finished());
}
