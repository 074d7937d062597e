//! Locks, counts and bits, each as Linux's has it.
#![cfg(not(loom))]

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use executor::{
    cpu,
    platform::host::{Machine, block_on},
    spawn_on,
    sync::{
        AtomicBits, Bits, Completion, LockRef, Mutex, PerCpuCounter, RwLock, RwSpinLock,
        RwSpinLockBh, RwSpinLockIrq, Semaphore, SeqLock, SpinLock, SpinLockBh, SpinLockIrq,
        WwClass, WwContext, WwError, WwMutex, unless,
    },
    time, yield_now,
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

fn poll<T>(future: &mut Boxed<'_, T>) -> Option<T> {
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Calls `f` on each of `n` threads at a time.
fn on_threads(n: usize, f: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for i in 0..n {
            let f = &f;
            scope.spawn(move || f(i));
        }
    });
}

#[test]
fn atomic_bits_leave_their_neighbours_alone() {
    let words: [AtomicU64; 2] = Default::default();
    assert!(!words.test_and_set_bit(65) && words.test_and_set_bit(65));
    words.set_bit(0);
    words.change_bit(63);
    assert_eq!(
        words.each_ref().map(|w| w.load(Ordering::Relaxed)),
        [1 | 1 << 63, 2]
    );
    assert!(words.test_and_change_bit(63) && !words.test_bit(63));
    assert!(words.test_and_clear_bit(65) && !words.test_and_clear_bit(65));
    words.clear_bit(0);
    // Each thread turns a bit of its own over, and sees nobody else's changes in it.
    on_threads(4, |i| {
        for round in 0..1000 {
            assert_eq!(words[0].test_and_change_bit(i * 16), round % 2 == 1);
        }
    });
    assert_eq!(words[0].load(Ordering::Relaxed), 0);
}

#[test]
fn bits_of_ones_own_words() {
    let mut words = [0_u64; 2];
    assert!(!words.put_bit(64, true) && words.put_bit(64, true));
    assert!(words.get_bit(64) && !words.get_bit(0));
    assert!(words.put_bit(64, false));
    assert_eq!(words, [0, 0]);
}

#[test]
fn a_lock_of_one_bit_excludes_and_keeps_the_other_bits() {
    let (word, count) = (AtomicU64::new(0xf0), AtomicUsize::new(0));
    on_threads(3, |_| {
        for _ in 0..500 {
            let _held = word.lock_bit(0);
            assert_eq!(cpu::preempt_word(), 1);
            // Not one step: only the lock makes it right.
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    });
    assert_eq!(count.into_inner(), 1500);
    assert_eq!(word.into_inner(), 0xf0);
}

#[test]
fn a_lockref_counts_without_its_lock_and_decides_under_it() {
    let dentry = LockRef::new("name", 1);
    on_threads(4, |_| {
        for _ in 0..500 {
            assert!(dentry.get());
            assert!(dentry.put_or_lock().is_none(), "one was left throughout");
        }
    });
    assert_eq!(dentry.count(), 1);
    let mut last = dentry.put_or_lock().expect("this is the last");
    assert_eq!((*last, last.put()), ("name", 0));
    last.mark_dead();
    drop(last);
    assert!(!dentry.get() && !dentry.get_unless_zero());
    assert_eq!(dentry.count(), 0);
}

#[test]
fn a_zero_count_is_not_raised_by_who_asks_not_to() {
    let zero = LockRef::new((), 0);
    assert!(!zero.get_unless_zero());
    assert!(zero.get() && zero.get_unless_zero());
    assert_eq!(zero.count(), 2);
}

#[test]
fn a_per_cpu_counter_is_off_by_less_than_a_batch_for_each_cpu() {
    const CPUS: usize = 4;
    const BATCH: i64 = 10;
    let counter = PerCpuCounter::new(CPUS, BATCH);
    on_threads(CPUS, |i| {
        cpu::set_cpu(i as u32);
        for n in 0..1003_i64 {
            counter.add(if n % 3 == 0 { -1 } else { 2 });
        }
    });
    let expected = CPUS as i64 * (668 * 2 - 335);
    assert_eq!(counter.sum(), expected);
    assert!((counter.read() - expected).abs() < BATCH * CPUS as i64);
    assert!(counter.compare(expected).is_eq());
    assert!(counter.compare(expected + 1).is_lt() && counter.compare(0).is_gt());
}

#[test]
fn try_lock_of_a_held_lock_fails_and_changes_no_context() {
    let (plain, bh, irq) = (SpinLock::new(()), SpinLockBh::new(()), SpinLockIrq::new(()));
    let held = (plain.lock(), bh.lock(), irq.lock());
    drop(held);
    let (word, irqs) = (cpu::preempt_word(), cpu::irqs_enabled());
    let (taken, release) = (&AtomicBool::new(false), &AtomicBool::new(false));
    thread::scope(|scope| {
        let (plain, bh, irq) = (&plain, &bh, &irq);
        scope.spawn(move || {
            let _held = (plain.lock(), bh.lock(), irq.lock());
            taken.store(true, Ordering::Release);
            while !release.load(Ordering::Acquire) {
                thread::yield_now();
            }
        });
        while !taken.load(Ordering::Acquire) {
            thread::yield_now();
        }
        assert!(plain.try_lock().is_none() && bh.try_lock().is_none() && irq.try_lock().is_none());
        assert_eq!((cpu::preempt_word(), cpu::irqs_enabled()), (word, irqs));
        release.store(true, Ordering::Release);
    });
    assert!(plain.try_lock().is_some() && irq.try_lock().is_some());
}

#[test]
fn nested_irq_locks_give_interrupts_back_with_the_last() {
    let (a, b) = (SpinLockIrq::new(1), RwSpinLockIrq::new(2));
    let outer = a.lock();
    let inner = b.read();
    assert!(!cpu::irqs_enabled());
    drop(inner);
    assert!(!cpu::irqs_enabled(), "the outer lock is still held");
    drop(outer);
    assert!(cpu::irqs_enabled());
}

#[test]
fn reader_writer_spin_locks_share_or_exclude_in_their_context() {
    let lock = RwSpinLock::new(5);
    let (a, b) = (lock.read(), lock.read());
    assert!(lock.try_write().is_none() && lock.try_read().is_some());
    assert_eq!((*a + *b, cpu::preempt_word()), (10, 2));
    drop((a, b));
    let mut w = lock.write();
    *w += 1;
    assert!(lock.try_read().is_none() && lock.try_write().is_none());
    drop(w);
    assert_eq!((lock.into_inner(), cpu::preempt_word()), (6, 0));
    let bh = RwSpinLockBh::new(());
    let held = bh.write();
    assert!(cpu::in_interrupt() && !cpu::in_softirq());
    drop(held);
    let irq = RwSpinLockIrq::new(());
    let held = irq.write();
    assert!(!cpu::irqs_enabled());
    drop(held);
    assert!(cpu::irqs_enabled());
}

#[test]
fn reader_writer_spin_locks_count_right_under_contention() {
    let lock = RwSpinLock::new((0_u32, 0_u32));
    on_threads(4, |i| {
        for _ in 0..300 {
            if i == 0 {
                let mut pair = lock.write();
                pair.0 += 1;
                pair.1 += 1;
            } else {
                let pair = lock.read();
                assert_eq!(pair.0, pair.1);
            }
        }
    });
    assert_eq!(lock.into_inner(), (300, 300));
}

#[test]
fn a_seqlock_reader_tries_again_after_a_writer() {
    let (lock, value) = (SeqLock::new(), AtomicU64::new(0));
    let begun = lock.begin();
    assert!(!lock.retry(begun));
    let writer = lock.write();
    assert!(lock.retry(begun), "a writer is at work");
    value.store(7, Ordering::Relaxed);
    drop(writer);
    assert!(lock.retry(begun), "a writer has been");
    assert_eq!(lock.read(|| value.load(Ordering::Relaxed)), 7);
    // Who locks keeps writers out, and no reader.
    let locked = lock.lock();
    let begun = lock.begin();
    assert!(!lock.retry(begun));
    drop(locked);
}

#[test]
fn seqlock_readers_see_no_half_written_pair() {
    let (lock, pair) = (SeqLock::new(), [AtomicU64::new(0), AtomicU64::new(0)]);
    on_threads(3, |i| {
        for n in 0..500 {
            if i == 0 {
                let _writer = lock.write();
                pair[0].store(n, Ordering::Relaxed);
                pair[1].store(n, Ordering::Relaxed);
            } else {
                let [a, b] = lock.read(|| [0, 1].map(|i| pair[i].load(Ordering::Relaxed)));
                assert_eq!(a, b);
            }
        }
    });
}

#[test]
fn a_mutex_knows_its_owner() {
    let machine = Machine::start(1);
    machine.block_on(async {
        let mutex = Mutex::new(());
        assert_eq!(mutex.owner(), None);
        let guard = mutex.lock().await;
        assert_eq!(mutex.owner(), executor::current().map(|task| task.id()));
        drop(guard);
        assert_eq!(mutex.owner(), None);
        assert!(!mutex.is_locked());
    });
}

/// What the two of a mutex tell each other.
#[derive(Default)]
struct Signals {
    held: Completion,
    wanted: AtomicBool,
    /// Whoever wants the mutex has been polled once.
    polled: Completion,
}

/// How often the task that wants the mutex is polled: once if it spun for it, twice if it waited.
fn polls_for_a_mutex<F>(hold: impl FnOnce(Arc<Signals>) -> F + Send + 'static) -> u64
where
    F: Future<Output = ()> + Send + 'static,
{
    let machine = Machine::start(2);
    let cpus = machine.cpus().to_vec();
    machine.block_on(async move {
        let mutex = Arc::new(Mutex::new(()));
        let signals = Arc::new(Signals::default());
        let (other, tell) = (mutex.clone(), signals.clone());
        let holder = spawn_on(cpus[1], "holder", async move {
            let _guard = other.lock().await;
            tell.held.complete();
            hold(tell).await;
        });
        signals.held.wait().await;
        let tell = signals.clone();
        let wants = spawn_on(cpus[0], "wants", async move {
            tell.wanted.store(true, Ordering::Release);
            drop(mutex.lock().await);
        });
        let task = wants.task().clone();
        // On the same CPU as this task, so its first poll is over where this one sees it begun.
        while task.polls() == 0 {
            yield_now().await;
        }
        signals.polled.complete();
        wants.await.unwrap();
        holder.await.unwrap();
        task.polls()
    })
}

#[test]
fn a_mutex_is_waited_for_while_its_owner_sleeps() {
    let polls = polls_for_a_mutex(|signals| async move { signals.polled.wait().await });
    assert_eq!(polls, 2, "it found the owner asleep, and waited");
}

#[test]
fn a_mutex_is_spun_for_while_its_owner_runs() {
    // The owner stays in one poll until the other has asked, and a little longer. Whether the host lets both run at that
    // moment is not ours to say, so it is tried until they did.
    let begun = std::time::Instant::now();
    let tries =
        std::iter::repeat_n((), 100_000).take_while(|()| begun.elapsed() < Duration::from_secs(30));
    let spun = tries.map(|()| {
        polls_for_a_mutex(|signals| async move {
            while !signals.wanted.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
        })
    });
    assert!(spun.into_iter().any(|polls| polls == 1), "never spun");
}

#[test]
fn the_last_of_a_count_goes_under_the_mutex() {
    let (mutex, count) = (Mutex::new("last"), AtomicUsize::new(2));
    block_on(async {
        assert!(mutex.lock_for_last(&count).await.is_none());
        assert!(!mutex.is_locked());
        let last = mutex.lock_for_last(&count).await.expect("the last");
        assert_eq!((*last, count.load(Ordering::Relaxed)), ("last", 0));
    });
}

#[test]
fn every_wait_has_an_interruptible_form_that_leaves_no_trace() {
    let signal = AtomicBool::new(false);
    let cut = || signal.load(Ordering::Relaxed).then_some("EINTR");
    let (mutex, sem, rw, done) = (
        Mutex::new(()),
        Semaphore::new(0),
        RwLock::new(()),
        Completion::new(),
    );
    let (held, read) = (mutex.try_lock().unwrap(), rw.try_read().unwrap());
    let mut waits: Vec<Boxed<'_, Result<(), &str>>> = vec![
        Box::pin(async { unless(mutex.lock(), cut).await.map(drop) }),
        Box::pin(async { unless(sem.acquire(1), cut).await.map(drop) }),
        Box::pin(async { unless(rw.write(), cut).await.map(drop) }),
        Box::pin(async { unless(done.wait(), cut).await }),
    ];
    for wait in &mut waits {
        assert_eq!(poll(wait), None, "it waits");
    }
    signal.store(true, Ordering::Relaxed);
    for wait in &mut waits {
        assert_eq!(poll(wait), Some(Err("EINTR")));
    }
    drop(waits);
    drop((held, read));
    sem.release(1);
    done.complete();
    // What is there is had, signal or no signal.
    block_on(async {
        assert!(unless(mutex.lock(), cut).await.is_ok());
        assert!(unless(sem.acquire(1), cut).await.is_ok());
        assert!(unless(rw.write(), cut).await.is_ok());
        assert_eq!(unless(done.wait(), cut).await, Ok(()));
    });
}

#[test]
fn waits_with_a_timeout_end_and_hand_on() {
    let sem = Semaphore::new(0);
    block_on(async {
        let down = time::timeout(Duration::from_millis(1), sem.acquire(1)).await;
        assert!(down.is_err());
        sem.release(1);
        let down = time::timeout(Duration::from_secs(10), sem.acquire(1)).await;
        assert!(down.is_ok());
    });
    assert_eq!(sem.available(), 1);
}

#[test]
fn a_semaphore_may_be_given_back_by_who_did_not_take_it() {
    let sem = Semaphore::new(2);
    sem.try_acquire(2).unwrap().forget();
    assert!(sem.try_acquire(1).is_none());
    on_threads(1, |_| {
        cpu::hardirq_enter();
        sem.release(1);
        cpu::hardirq_exit();
    });
    assert!(sem.try_acquire(1).is_some());
}

#[test]
fn as_many_waiters_pass_as_completions_came_first_come_first_served() {
    let done = Completion::new();
    let mut waits: Vec<Boxed<'_, ()>> = (0..5).map(|_| Box::pin(done.wait()) as _).collect();
    assert!(waits.iter_mut().all(|w| poll(w).is_none()));
    for _ in 0..3 {
        done.complete();
    }
    let passed: Vec<bool> = waits.iter_mut().map(|w| poll(w).is_some()).collect();
    assert_eq!(passed, [true, true, true, false, false]);
    assert!(!done.try_wait() && !done.is_done());
    done.complete_all();
    assert!(waits[3..].iter_mut().all(|w| poll(w).is_some()));
    assert!(done.try_wait() && done.is_done(), "until it is reset");
    done.reset();
    assert!(!done.try_wait());
}

#[test]
fn a_writer_that_waits_keeps_new_readers_out_and_a_downgrade_lets_them_in() {
    let lock = RwLock::new(0);
    let reader = lock.try_read().unwrap();
    let mut writer: Boxed<'_, _> = Box::pin(lock.write());
    assert!(poll(&mut writer).is_none());
    assert!(lock.try_read().is_none(), "the writer is first");
    let mut late: Boxed<'_, _> = Box::pin(lock.read());
    assert!(poll(&mut late).is_none());
    drop(reader);
    let mut write = poll(&mut writer).expect("its turn");
    *write += 1;
    assert!(poll(&mut late).is_none());
    let read = write.downgrade();
    assert_eq!((*read, *poll(&mut late).expect("let in")), (1, 1));
    assert!(lock.is_locked() && lock.try_write().is_none());
}

static CLASS: WwClass = WwClass::new();

#[test]
fn the_older_waits_and_the_younger_is_refused() {
    let (a, b) = (WwMutex::new(()), WwMutex::new(()));
    let (old, young) = (WwContext::new(&CLASS), WwContext::new(&CLASS));
    let old_a = a.try_lock(&old).unwrap();
    let young_b = b.try_lock(&young).unwrap();
    let mut old_b: Boxed<'_, _> = Box::pin(b.lock(&old));
    assert!(poll(&mut old_b).is_none(), "the older waits");
    let mut young_a: Boxed<'_, _> = Box::pin(a.lock(&young));
    assert_eq!(poll(&mut young_a).unwrap().err(), Some(WwError::Deadlock));
    drop(young_a);
    // It gives back what it has, and waits for what it was refused, empty-handed.
    drop(young_b);
    let old_b = poll(&mut old_b).unwrap().unwrap();
    let mut slow: Boxed<'_, _> = Box::pin(a.lock_slow(&young));
    assert!(poll(&mut slow).is_none());
    drop((old_a, old_b));
    assert!(poll(&mut slow).is_some());
    assert_eq!((old.held(), young.held()), (0, 0));
}

#[test]
fn taking_a_mutex_twice_is_told() {
    let a = WwMutex::new(());
    let context = WwContext::new(&CLASS);
    let _held = a.try_lock(&context).unwrap();
    let mut again: Boxed<'_, _> = Box::pin(a.lock(&context));
    assert_eq!(poll(&mut again).unwrap().err(), Some(WwError::Already));
    assert!(a.try_lock(&WwContext::new(&CLASS)).is_none());
}

#[test]
fn a_waiter_is_refused_when_the_mutex_goes_to_an_older_one() {
    let (a, b) = (WwMutex::new(()), WwMutex::new(()));
    let contexts: Vec<_> = (0..3).map(|_| WwContext::new(&CLASS)).collect();
    let held = a.try_lock(&contexts[2]).unwrap();
    let _b = b.try_lock(&contexts[1]).unwrap();
    let mut middle: Boxed<'_, _> = Box::pin(a.lock(&contexts[1]));
    let mut oldest: Boxed<'_, _> = Box::pin(a.lock(&contexts[0]));
    assert!(poll(&mut middle).is_none() && poll(&mut oldest).is_none());
    drop(held);
    assert_eq!(poll(&mut middle).unwrap().err(), Some(WwError::Deadlock));
    assert!(poll(&mut oldest).unwrap().is_ok(), "the oldest is first");
}

#[test]
fn a_dropped_wait_wound_waiter_hands_the_mutex_on() {
    let a = WwMutex::new(());
    let contexts: Vec<_> = (0..3).map(|_| WwContext::new(&CLASS)).collect();
    let held = a.try_lock(&contexts[0]).unwrap();
    let mut first: Boxed<'_, _> = Box::pin(a.lock(&contexts[1]));
    let mut second: Boxed<'_, _> = Box::pin(a.lock(&contexts[2]));
    assert!(poll(&mut first).is_none() && poll(&mut second).is_none());
    drop(held);
    drop(first);
    assert!(poll(&mut second).unwrap().is_ok());
}

#[test]
fn many_tasks_take_many_mutexes_in_any_order_and_all_get_through() {
    const TASKS: usize = 6;
    const MUTEXES: usize = 4;
    let machine = Machine::start(2);
    let cpus = machine.cpus().to_vec();
    let total = machine.block_on(async move {
        let mutexes: Arc<[WwMutex<u32>; MUTEXES]> =
            Arc::new(std::array::from_fn(|_| WwMutex::new(0)));
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let mutexes = mutexes.clone();
                spawn_on(cpus[task % 2], "transaction", async move {
                    for round in 0..50 {
                        take_all(&mutexes, task + round).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mutexes = Arc::into_inner(mutexes).unwrap();
        mutexes.into_iter().map(WwMutex::into_inner).sum::<u32>()
    });
    assert_eq!(total as usize, TASKS * 50 * MUTEXES);
}

/// Takes all mutexes, beginning with the `first`, and counts in each.
async fn take_all(mutexes: &[WwMutex<u32>; 4], first: usize) {
    let context = WwContext::new(&CLASS);
    let mut order: Vec<usize> = (0..4).map(|i| (first * 3 + i) % 4).collect();
    'again: loop {
        let mut guards = vec![mutexes[order[0]].lock_slow(&context).await];
        for i in 1..order.len() {
            yield_now().await;
            match mutexes[order[i]].lock(&context).await {
                Ok(guard) => guards.push(guard),
                Err(WwError::Deadlock) => {
                    drop(guards);
                    order.swap(0, i);
                    continue 'again;
                }
                Err(error) => panic!("{error}"),
            }
        }
        guards.iter_mut().for_each(|n| **n += 1);
        return;
    }
}

/// Linux's read-modify-write calls by the language's atomics, and what each gives.
#[test]
fn what_changes_a_counter_gives_what_linux_gives() {
    let new = |n: i64| AtomicI64::new(n);
    let order = Ordering::SeqCst;
    // `atomic_sub_and_test`, `atomic_dec_and_test`, `atomic_inc_and_test`: whether it is zero now.
    let sub_and_test = |v: &AtomicI64, n| v.fetch_sub(n, order) == n;
    let v = new(3);
    assert!(!sub_and_test(&v, 1) && !sub_and_test(&v, 1) && sub_and_test(&v, 1));
    assert!(v.fetch_add(1, order) + 1 != 0 && new(-1).fetch_add(1, order) + 1 == 0);
    // `atomic_add_negative`: whether it is below zero now.
    let v = new(1);
    let add_negative = |n| v.fetch_add(n, order).wrapping_add(n) < 0;
    assert!(!add_negative(-1) && add_negative(-1) && !add_negative(1));
    // `atomic_add_return`, `atomic_fetch_add`: the new, and the old.
    let v = new(5);
    assert_eq!((v.fetch_add(2, order) + 2, v.fetch_add(2, order)), (7, 7));
    assert_eq!((v.fetch_sub(4, order) - 4, v.fetch_sub(4, order)), (5, 5));
    // `atomic_cmpxchg`: what was read, changed or not. `atomic_xchg`: what was there.
    let cmpxchg = |old, new| match v.compare_exchange(old, new, order, order) {
        Ok(read) | Err(read) => read,
    };
    assert_eq!((cmpxchg(2, 9), v.load(order)), (1, 1));
    assert_eq!((cmpxchg(1, 9), v.load(order)), (1, 9));
    assert_eq!((v.swap(-4, order), v.load(order)), (9, -4));
    // Counters wrap.
    assert_eq!(new(i64::MAX).fetch_add(1, order).wrapping_add(1), i64::MIN);
}

#[test]
fn one_of_those_who_count_down_together_finds_zero() {
    const THREADS: usize = 4;
    const EACH: usize = 2000;
    let (left, zeros) = (AtomicUsize::new(THREADS * EACH), AtomicUsize::new(0));
    let top = AtomicUsize::new(0);
    let tickets: Vec<AtomicU64> = (0..THREADS * EACH / 64)
        .map(|_| AtomicU64::new(0))
        .collect();
    on_threads(THREADS, |_| {
        for _ in 0..EACH {
            // No two are given the same number.
            let ticket = top.fetch_add(1, Ordering::Relaxed);
            assert!(!tickets[..].test_and_set_bit(ticket));
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                zeros.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert_eq!(zeros.load(Ordering::Relaxed), 1);
    assert_eq!(top.load(Ordering::Relaxed), THREADS * EACH);
}
