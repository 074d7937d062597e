//! Grace periods: what readers see stays, what nobody reads goes.
#![cfg(not(loom))]

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use executor::{
    cpu,
    platform::host::{Machine, block_on},
    rcu::{self, RcuBox, RcuCell, Srcu},
    softirq, spawn_on, time, yield_now,
};

/// A value that shows when it is gone, and counts that.
struct Canary {
    alive: AtomicUsize,
    gone: Arc<AtomicUsize>,
}

const ALIVE: usize = 0xa11e;

impl Canary {
    fn new(gone: &Arc<AtomicUsize>) -> Self {
        Self {
            alive: AtomicUsize::new(ALIVE),
            gone: gone.clone(),
        }
    }

    fn look(&self) {
        assert_eq!(self.alive.load(Ordering::Relaxed), ALIVE, "read after free");
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.alive.store(0, Ordering::Relaxed);
        self.gone.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls once.
fn is_over(wait: Pin<&mut impl Future<Output = ()>>) -> bool {
    wait.poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

#[test]
fn a_grace_period_waits_for_a_reader_on_another_cpu() {
    let machine = Machine::start(2);
    let cpus = machine.cpus().to_vec();
    machine.block_on(async move {
        let (reads, stop) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (begun, asked) = (reads.clone(), stop.clone());
        let reader = spawn_on(cpus[1], "reader", async move {
            let _reading = rcu::read();
            begun.store(true, Ordering::Release);
            while !asked.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        });
        while !reads.load(Ordering::Acquire) {
            yield_now().await;
        }
        let over = time::timeout(Duration::from_millis(30), rcu::synchronize()).await;
        assert!(over.is_err(), "the reader still reads");
        stop.store(true, Ordering::Release);
        rcu::synchronize().await;
        reader.await.unwrap();
    });
}

#[test]
fn cpus_that_sleep_do_not_hold_a_grace_period_up() {
    let machine = Machine::start(3);
    machine.block_on(async {
        for _ in 0..20 {
            let over = time::timeout(Duration::from_secs(30), rcu::synchronize()).await;
            assert!(over.is_ok());
        }
    });
}

#[test]
fn a_cpu_that_has_gone_is_not_waited_for() {
    drop(Machine::start(2));
    block_on(async {
        let over = time::timeout(Duration::from_secs(30), rcu::synchronize()).await;
        assert!(over.is_ok());
    });
}

#[test]
fn readers_never_see_what_was_freed() {
    const ROUNDS: usize = 200;
    let machine = Machine::start(3);
    let cpus = machine.cpus().to_vec();
    let gone = Arc::new(AtomicUsize::new(0));
    let counted = gone.clone();
    machine.block_on(async move {
        rcu::init();
        let cell = Arc::new(RcuCell::new(Canary::new(&gone)));
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = cpus[1..]
            .iter()
            .map(|cpu| {
                let (cell, stop) = (cell.clone(), stop.clone());
                spawn_on(*cpu, "reader", async move {
                    while !stop.load(Ordering::Acquire) {
                        cell.with(|canary| (0..20).for_each(|_| canary.look()));
                        yield_now().await;
                    }
                })
            })
            .collect();
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                cell.replace(RcuBox::new(Canary::new(&gone)));
            } else {
                cell.exchange(Canary::new(&gone)).await.look();
            }
        }
        stop.store(true, Ordering::Release);
        for reader in readers {
            reader.await.unwrap();
        }
        rcu::barrier().await;
        assert_eq!(gone.load(Ordering::Relaxed), ROUNDS, "each old one once");
        cell.with(Canary::look);
    });
    assert_eq!(counted.load(Ordering::Relaxed), ROUNDS + 1);
}

#[test]
fn an_exchange_that_is_dropped_frees_the_old_value_in_time() {
    let gone = Arc::new(AtomicUsize::new(0));
    block_on(async {
        rcu::init();
        let cell = RcuCell::new(Canary::new(&gone));
        {
            let mut exchange = pin!(cell.exchange(Canary::new(&gone)));
            let _reading = rcu::read();
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(exchange.as_mut().poll(cx).is_pending());
        }
        rcu::barrier().await;
        assert_eq!(gone.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn an_interrupt_that_finds_nothing_counted_is_a_quiescent_state() {
    let machine = Machine::start(1);
    machine.block_on(async {
        let interrupt = || {
            cpu::hardirq_enter();
            cpu::hardirq_exit();
            softirq::irq_exit();
        };
        let mut over = pin!(rcu::synchronize());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(over.as_mut().poll(cx).is_pending());
        let reading = rcu::read();
        for _ in 0..1000 {
            interrupt();
        }
        assert!(over.as_mut().poll(cx).is_pending(), "this CPU reads");
        drop(reading);
        // All without leaving this poll; other tests' CPUs may take their time.
        while over.as_mut().poll(cx).is_pending() {
            interrupt();
            std::thread::yield_now();
        }
    });
}

#[test]
fn srcu_readers_wait_and_hold_their_own_domain_up_only() {
    block_on(async {
        let (mine, other) = (Srcu::new(), Srcu::new());
        let reading = mine.read();
        yield_now().await;
        other.synchronize().await;
        {
            let mut over = pin!(mine.synchronize());
            assert!(!is_over(over.as_mut()));
        }
        // The one before was cancelled: its readers are not forgotten.
        let mut over = pin!(mine.synchronize());
        assert!(!is_over(over.as_mut()));
        let late = mine.read();
        drop(reading);
        assert!(!is_over(over.as_mut()), "one came before the flip");
        drop(late);
        over.await;
        mine.synchronize().await;
    });
}

#[test]
fn srcu_does_not_wait_for_readers_that_come_later() {
    block_on(async {
        let domain = Srcu::new();
        let first = domain.read();
        let mut over = pin!(domain.synchronize());
        assert!(!is_over(over.as_mut()));
        let _later = domain.read();
        drop(first);
        assert!(is_over(over.as_mut()));
    });
}
