//! In-kernel tests of polls that are left in the midst of what `executor::sync` and `executor::rcu` have besides the locks of
//! [`super::suspend_ktests`], by interrupts at random gaps, and sent from CPU to CPU meanwhile.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use executor::rcu::{self, RcuCell, Srcu};
use executor::sync::{
    AtomicBits, Completion, Either, LockRef, Mutex, Notify, RwLock, RwSpinLock, RwSpinLockIrq,
    SeqCell, SeqLock, SpinLock, WaitQueue, WwClass, WwContext, WwMutex, channel, oneshot, select,
    unless,
};
use executor::time::timeout;
use executor::yield_now;
use test_macros::kernel_test;

use super::suspend_ktests::{PATIENCE, add_twice, random, storm};

/// What every worker uses.
struct Shared {
    rw: RwLock<[u64; 2]>,
    spin: RwSpinLock<[u64; 2]>,
    irq: RwSpinLockIrq<[u64; 2]>,
    seq: SeqCell<2>,
    seq_lock: SeqLock,
    /// Guarded by `seq_lock`.
    halves: [AtomicU64; 2],
    bits: AtomicU64,
    /// Guarded by bit 5 of `bits`.
    under_bit: [AtomicU64; 2],
    counted: LockRef<[u64; 2]>,
    ordered: [WwMutex<u64>; 2],
    current: RcuCell<[u64; 2]>,
    srcu: Srcu,
    last: Mutex<u64>,
}

static CLASS: WwClass = WwClass::new();

impl Shared {
    fn new() -> Self {
        Self {
            rw: RwLock::new([0; 2]),
            spin: RwSpinLock::new([0; 2]),
            irq: RwSpinLockIrq::new([0; 2]),
            seq: SeqCell::new(),
            seq_lock: SeqLock::new(),
            halves: [const { AtomicU64::new(0) }; 2],
            bits: AtomicU64::new(0),
            under_bit: [const { AtomicU64::new(0) }; 2],
            counted: LockRef::new([0; 2], 1),
            ordered: [WwMutex::new(0), WwMutex::new(0)],
            current: RcuCell::new([0; 2]),
            srcu: Srcu::new(),
            last: Mutex::new(0),
        }
    }

    /// Locks that spin, and what readers do without one.
    fn spin(&self) {
        add_twice(&mut self.spin.write());
        assert_equal(*self.spin.read());
        add_twice(&mut self.irq.write());
        assert_equal(*self.irq.read());
        self.seq.update(add_twice);
        assert_equal(self.seq.read());
        {
            let _writing = self.seq_lock.write();
            add_apart(&self.halves);
        }
        let halves = || {
            self.halves
                .each_ref()
                .map(|half| half.load(Ordering::Relaxed))
        };
        assert_equal(self.seq_lock.read(halves));
        {
            let _held = self.bits.lock_bit(5);
            add_apart(&self.under_bit);
        }
        assert!(self.counted.get(), "the test's own reference is left");
        add_twice(&mut self.counted.lock());
        assert!(self.counted.put_or_lock().is_none());
        {
            let reading = rcu::read();
            assert_equal(*self.current.read(&reading));
        }
    }

    /// Locks that are held over awaits.
    async fn wait(&self, round: u64) {
        add_twice(&mut *self.rw.write().await);
        {
            let mut writing = self.rw.write().await;
            add_twice(&mut writing);
            let reading = writing.downgrade();
            yield_now().await;
            assert_equal(*reading);
        }
        {
            let reading = self.srcu.read();
            assert_equal(*self.rw.read().await);
            drop(reading);
        }
        *self.last.lock().await += 1;
        self.order(round).await;
        if round.is_multiple_of(16) {
            self.current.exchange([round; 2]).await;
        }
    }

    /// Two locks, in either order.
    async fn order(&self, round: u64) {
        let context = WwContext::new(&CLASS);
        let at = round as usize % 2;
        let (mut first, mut second) = (&self.ordered[at], &self.ordered[1 - at]);
        loop {
            let mut one = first.lock_slow(&context).await;
            if let Ok(mut other) = second.lock(&context).await {
                *one += 1;
                *other += 1;
                return;
            }
            drop(one);
            core::mem::swap(&mut first, &mut second);
        }
    }

    /// What the workers must have added up to.
    async fn check(&self, total: u64) {
        assert_eq!(*self.spin.read(), [total; 2]);
        assert_eq!(*self.irq.read(), [total; 2]);
        assert_eq!(self.seq.read(), [total; 2]);
        for half in self.halves.iter().chain(&self.under_bit) {
            assert_eq!(half.load(Ordering::Relaxed), total);
        }
        assert_eq!(*self.counted.lock(), [total; 2]);
        assert_eq!(self.counted.count(), 1);
        assert_eq!(*self.rw.read().await, [2 * total; 2]);
        assert_eq!(*self.last.lock().await, total);
        let context = WwContext::new(&CLASS);
        for mutex in &self.ordered {
            let count = mutex.try_lock(&context).map(|count| *count);
            assert_eq!(count, Some(total));
        }
    }
}

#[track_caller]
fn assert_equal(pair: [u64; 2]) {
    assert_eq!(pair[0], pair[1], "seen half way");
}

/// [`add_twice`] for numbers that what the caller holds guards.
fn add_apart(pair: &[AtomicU64; 2]) {
    let mut values = pair.each_ref().map(|value| value.load(Ordering::Relaxed));
    add_twice(&mut values);
    pair[0].store(values[0], Ordering::Relaxed);
    core::hint::spin_loop();
    pair[1].store(values[1], Ordering::Relaxed);
}

async fn locks(shared: Arc<Shared>, rounds: u64) {
    for round in 0..rounds {
        shared.spin();
        shared.wait(round).await;
    }
}

#[kernel_test]
async fn polls_suspended_in_every_lock_go_on_as_if_nothing_had_been() {
    const ROUNDS: u64 = 60;
    let shared = Arc::new(Shared::new());
    let workers = storm(|_| locks(shared.clone(), ROUNDS)).await;
    shared.check(workers * ROUNDS).await;
}

/// Two tasks that send each other numbers in all ways, and each wait for the other all the time.
struct Pair {
    queue: WaitQueue,
    turn: AtomicU64,
    note: Notify,
}

/// One poll's worth of a partner: everything is done, waited for, and cut short.
async fn exchange(seed: u64, rounds: u64) {
    let mut state = seed | 1;
    let pair = Arc::new(Pair {
        queue: WaitQueue::new(),
        turn: AtomicU64::new(0),
        note: Notify::new(),
    });
    let (to_partner, from_me) = channel(1);
    let partner = {
        let pair = pair.clone();
        executor::spawn("partner", async move {
            while let Some((round, answer, done)) = from_me.recv().await {
                let answer: executor::sync::OneshotSender<u64> = answer;
                let done: Arc<Completion> = done;
                assert!(answer.send(round + 1).is_ok());
                pair.turn.store(round + 1, Ordering::Release);
                pair.queue.wake_all();
                pair.note.notify_one();
                done.complete();
            }
        })
    };
    for round in 0..rounds {
        let (answer, answered) = oneshot();
        let done = Arc::new(Completion::new());
        let sent = to_partner.send((round, answer, done.clone())).await;
        assert!(sent.is_ok(), "the partner lives");
        assert_eq!(answered.await, Some(round + 1));
        let turned = || (pair.turn.load(Ordering::Acquire) > round).then_some(());
        // Whichever of two waits is first, the other is dropped.
        match select(pair.queue.wait_until(turned), done.wait()).await {
            Either::First(()) => done.wait().await,
            Either::Second(()) => pair.queue.wait_until(turned).await,
        }
        pair.note.notified().await;
        if random(&mut state).is_multiple_of(4) {
            // Nobody notifies: it is cut short.
            let gap = Duration::from_micros(random(&mut state) % 100);
            assert!(timeout(gap, pair.note.notified()).await.is_err());
        }
        let cut = unless(pair.note.notified(), || Some(round)).await;
        assert_eq!(cut, Err(round));
    }
    drop(to_partner);
    assert_eq!(timeout(PATIENCE, partner).await, Ok(Ok(())));
}

#[kernel_test]
async fn polls_suspended_in_every_wait_lose_no_wake_up() {
    storm(|number| exchange(number + 1, 60)).await;
}

/// A lock that has its owner suspended is not had by another, whatever CPU that asks on.
#[kernel_test(cpus = 2)]
async fn what_a_suspended_poll_holds_stays_held() {
    let shared = Arc::new((Mutex::new([0; 2]), SpinLock::new([0; 2])));
    let holds = |number: u64| {
        let shared = shared.clone();
        async move {
            let mut state = number + 1;
            for _ in 0..60 {
                let mut pair = shared.0.lock().await;
                // Long enough that interrupts come while the mutex is held.
                for _ in 0..random(&mut state) % 8 {
                    add_twice(&mut pair);
                    add_twice(&mut shared.1.lock());
                }
            }
        }
    };
    storm(holds).await;
    assert_eq!(*shared.0.lock().await, *shared.1.lock());
}
