//! Readers and grace periods.

use std::sync::Arc;

use executor::{Executor, Fifo, NoHooks, rcu, rcu::Srcu, spawn};
use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::machine::{block_on, boot, join_machine, model};

/// One CPU reads while the other unlinks, waits for a grace period, and frees.
fn a_reader_meets_a_grace_period() {
    let interrupts = boot();
    let ex = Executor::new(Fifo::new());
    let linked = Arc::new(AtomicBool::new(true));
    let alive = Arc::new(AtomicBool::new(true));
    let over = Arc::new(AtomicBool::new(false));
    let (reads, lives, stop) = (linked.clone(), alive.clone(), over.clone());
    let here = Arc::new(AtomicBool::new(false));
    let up = here.clone();
    let reader = thread::spawn(move || {
        join_machine(interrupts);
        let ex = Executor::new(Fifo::new());
        up.store(true, Ordering::Release);
        let reading = rcu::read();
        if reads.load(Ordering::Acquire) {
            assert!(lives.load(Ordering::Acquire), "read after free");
        }
        drop(reading);
        while !stop.load(Ordering::Acquire) {
            ex.run_once(&NoHooks);
            thread::yield_now();
        }
    });
    while !here.load(Ordering::Acquire) {
        thread::yield_now();
    }
    let freed = alive.clone();
    let writer = spawn("writer", async move {
        linked.store(false, Ordering::Release);
        rcu::synchronize().await;
        freed.store(false, Ordering::Release);
    });
    while !writer.is_finished() {
        ex.run_once(&NoHooks);
        thread::yield_now();
    }
    over.store(true, Ordering::Release);
    reader.join().unwrap();
    assert!(!alive.load(Ordering::Relaxed));
}

#[test]
fn a_grace_period_waits_for_readers() {
    model(a_reader_meets_a_grace_period);
}

mistake!(
    mutant_rcu_forgets_others,
    RcuForgetsOthers,
    model(a_reader_meets_a_grace_period)
);

/// As above, for readers that may wait.
fn an_srcu_reader_meets_a_writer() {
    let shared = Arc::new((Srcu::new(), AtomicBool::new(true), AtomicBool::new(true)));
    let other = shared.clone();
    let reader = thread::spawn(move || {
        let (domain, linked, alive) = &*other;
        let reading = domain.read();
        if linked.load(Ordering::Acquire) {
            assert!(alive.load(Ordering::Acquire), "read after free");
        }
        drop(reading);
    });
    let (domain, linked, alive) = &*shared;
    linked.store(false, Ordering::Release);
    block_on(domain.synchronize());
    alive.store(false, Ordering::Release);
    reader.join().unwrap();
}

#[test]
fn srcu_waits_for_readers() {
    model(an_srcu_reader_meets_a_writer);
}

mistake!(
    mutant_srcu_reads_uncounted,
    SrcuReadsUncounted,
    model(an_srcu_reader_meets_a_writer)
);
