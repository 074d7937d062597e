//! Every interleaving of what is lock-free, and of what waits.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p executor --test loom --release --target-dir target/loom`
//!
//! Each model has two or three threads and few steps; preemptions are bounded by three. The models named after a
//! mistake make it, and must fail.
#![cfg(loom)]

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake},
};

use executor::{
    Executor, Fifo, JoinHandle, NoHooks, Platform, TaskRef,
    irq::IrqEvent,
    mutants::Mutant,
    platform,
    rcu::{self, Srcu},
    spawn,
    sync::{
        AtomicBits, Completion, LockRef, Mutex, Notify as Note, RwLock, RwSpinLock, Semaphore,
        SeqCell, SeqLock, SpinLock, WaitQueue, WwClass, WwContext, WwMutex, channel, oneshot,
    },
    time::{HrTimer, Instant, run_expired},
};
use loom::{
    sync::{
        Notify,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

fn model(f: impl Fn() + Sync + Send + 'static) {
    model_within(3, f);
}

/// As [`model`], with as many preemptions: fewer where three threads each take many steps.
fn model_within(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// A platform whose interrupt is a loom notification.
struct Interrupts(Notify);

impl Platform for Interrupts {
    fn now(&self) -> Instant {
        Instant::ZERO
    }
    fn pend(&self, _cpu: u32) {
        self.0.notify();
    }
    fn set_timer(&self, _deadline: Instant) {}
}

/// The machine of one model: CPU 0 is the model's main thread. Its memory stays with the model run.
fn boot() -> &'static Interrupts {
    let interrupts: &'static Interrupts = Box::leak(Box::new(Interrupts(Notify::new())));
    join_machine(interrupts);
    interrupts
}

/// Makes the calling thread one of the machine's.
fn join_machine(interrupts: &'static Interrupts) {
    platform::register(Box::leak(Box::new(interrupts as &'static dyn Platform)));
}

/// The kernel's loop: turns, then idle, until `done`. A lost wake-up is a deadlock, which the model finds.
fn run_until(ex: &Executor<Fifo>, interrupts: &Interrupts, done: impl Fn() -> bool) {
    loop {
        while ex.run_once(&NoHooks) {}
        if done() {
            return;
        }
        if ex.prepare_idle() {
            interrupts.0.wait();
        }
    }
}

/// Polls a future on this thread until it is ready.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Thread(Notify);
    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }
    }
    let thread = Arc::new(Thread(Notify::new()));
    let waker = thread.clone().into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread.0.wait();
    }
}

/// A task that is ready once `flag` is set, and checks that it is polled by one CPU at a time.
fn flag_task(flag: Arc<AtomicBool>) -> JoinHandle<()> {
    let polling = std::sync::atomic::AtomicBool::new(false);
    spawn(
        "flag",
        poll_fn(move |_| {
            assert!(!polling.swap(true, std::sync::atomic::Ordering::SeqCst));
            let ready = flag.load(Ordering::Acquire);
            polling.store(false, std::sync::atomic::Ordering::SeqCst);
            if ready {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }),
    )
}

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

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_no_fence_after_push() {
    Mutant::NoFenceAfterPush.make();
    model(wake_reaches_an_idle_or_busy_cpu);
}

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_idle_after_look() {
    Mutant::IdleAfterLook.make();
    model(wake_reaches_an_idle_or_busy_cpu);
}

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_forget_wake_in_poll() {
    Mutant::ForgetWakeInPoll.make();
    model(wake_reaches_an_idle_or_busy_cpu);
}

#[test]
fn two_wakers_push_on_one_queue() {
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

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_join_looks_first() {
    Mutant::JoinLooksFirst.make();
    model(joins_from_another_cpu);
}

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

fn a_waiter_meets_a_wake() {
    let shared = Arc::new((WaitQueue::new(), AtomicBool::new(false)));
    let other = shared.clone();
    let waker = thread::spawn(move || {
        other.1.store(true, Ordering::Release);
        other.0.wake_one();
    });
    block_on(
        shared
            .0
            .wait_until(|| shared.1.load(Ordering::Acquire).then_some(())),
    );
    waker.join().unwrap();
}

#[test]
fn wait_until_sees_what_was_set_before_the_wake() {
    model(a_waiter_meets_a_wake);
}

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_no_fence_after_join() {
    Mutant::NoFenceAfterJoin.make();
    model(a_waiter_meets_a_wake);
}

/// A waits and is dropped, B waits, one wake-up: B gets it, however the drop and the wake-up meet.
fn wake_meets_a_dropped_waiter() {
    let queue = Arc::new(WaitQueue::new());
    let mut a = Box::pin(owned_wait(&queue));
    let mut b = Box::pin(owned_wait(&queue));
    let noop = std::task::Waker::noop();
    assert!(a.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    assert!(b.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    let other = queue.clone();
    let waker = thread::spawn(move || {
        assert!(other.wake_one());
    });
    drop(a);
    waker.join().unwrap();
    assert!(b.as_mut().poll(&mut Context::from_waker(noop)).is_ready());
}

/// A wait that owns its queue, so that the model's threads need no borrows.
fn owned_wait(queue: &Arc<WaitQueue>) -> impl Future<Output = ()> + use<> {
    let queue = queue.clone();
    async move { queue.wait().await }
}

#[test]
fn a_dropped_waiter_hands_its_wakeup_on() {
    model(wake_meets_a_dropped_waiter);
}

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_keep_granted_wake() {
    Mutant::KeepGrantedWake.make();
    model(wake_meets_a_dropped_waiter);
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

#[test]
fn completion_lets_both_waiters_go() {
    model(|| {
        let done = Arc::new(Completion::new());
        let other = done.clone();
        let waiter = thread::spawn(move || block_on(other.wait()));
        done.complete();
        done.complete();
        block_on(done.wait());
        waiter.join().unwrap();
    });
}

#[test]
fn mutex_excludes_and_is_handed_over() {
    model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let other = mutex.clone();
        let t = thread::spawn(move || {
            *block_on(other.lock()) += 1;
        });
        *block_on(mutex.lock()) += 1;
        t.join().unwrap();
        assert_eq!(*block_on(mutex.lock()), 2);
    });
}

/// A waits and is dropped while the holder unlocks; B must get the mutex.
fn unlock_meets_a_dropped_waiter() {
    let mutex = Arc::new(Mutex::new(()));
    let wait = |mutex: &Arc<Mutex<()>>| {
        let mutex = mutex.clone();
        Box::pin(async move { drop(mutex.lock().await) })
    };
    let guard = mutex.try_lock().unwrap();
    let (mut a, mut b) = (wait(&mutex), wait(&mutex));
    let noop = std::task::Waker::noop();
    assert!(a.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    assert!(b.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    let dropper = thread::spawn(move || drop(a));
    drop(guard);
    dropper.join().unwrap();
    assert!(b.as_mut().poll(&mut Context::from_waker(noop)).is_ready());
    assert!(!mutex.is_locked());
}

#[test]
fn a_dropped_mutex_waiter_hands_the_mutex_on() {
    model(unlock_meets_a_dropped_waiter);
}

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_keep_granted_permits() {
    Mutant::KeepGrantedPermits.make();
    model(unlock_meets_a_dropped_waiter);
}

#[test]
fn channel_of_one_carries_all_values_in_order() {
    model(|| {
        let (send, receive) = channel(1);
        let sender = thread::spawn(move || {
            for i in 0..2 {
                block_on(send.send(i)).unwrap();
            }
        });
        assert_eq!(block_on(receive.recv()), Some(0));
        assert_eq!(block_on(receive.recv()), Some(1));
        assert_eq!(block_on(receive.recv()), None);
        sender.join().unwrap();
    });
}

#[test]
fn spin_lock_excludes() {
    model(|| {
        let lock = Arc::new(SpinLock::new(0));
        let other = lock.clone();
        let t = thread::spawn(move || *other.lock() += 1);
        *lock.lock() += 1;
        t.join().unwrap();
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn seq_cell_is_read_whole() {
    model(|| {
        let cell = Arc::new(SeqCell::<2>::new());
        let other = cell.clone();
        let writer = thread::spawn(move || other.update(|w| *w = [1, 1]));
        let [a, b] = cell.read();
        assert_eq!(a, b);
        writer.join().unwrap();
    });
}

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

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_cancel_does_not_wait() {
    Mutant::CancelDoesNotWait.make();
    model(cancel_meets_expiry);
}

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

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_rcu_forgets_others() {
    Mutant::RcuForgetsOthers.make();
    model(a_reader_meets_a_grace_period);
}

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

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_srcu_reads_uncounted() {
    Mutant::SrcuReadsUncounted.make();
    model(an_srcu_reader_meets_a_writer);
}

/// Polls once.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn reader_writer_spin_lock_shares_or_excludes() {
    model(|| {
        let lock = Arc::new(RwSpinLock::new(0));
        let writer = lock.clone();
        let w = thread::spawn(move || *writer.write() += 1);
        assert!(*lock.read() <= 1);
        w.join().unwrap();
        assert_eq!(*lock.read(), 1);
    });
}

#[test]
fn a_seqlock_reader_sees_no_half_written_pair() {
    model(|| {
        let shared = Arc::new((SeqLock::new(), AtomicUsize::new(0), AtomicUsize::new(0)));
        let other = shared.clone();
        let writer = thread::spawn(move || {
            let _write = other.0.write();
            other.1.store(1, Ordering::Relaxed);
            other.2.store(1, Ordering::Relaxed);
        });
        let (a, b) = shared.0.read(|| {
            (
                shared.1.load(Ordering::Relaxed),
                shared.2.load(Ordering::Relaxed),
            )
        });
        assert_eq!(a, b);
        writer.join().unwrap();
    });
}

#[test]
fn a_lock_of_one_bit_excludes() {
    model(|| {
        let shared = Arc::new((loom_word(), loom::cell::UnsafeCell::new(0)));
        let other = shared.clone();
        #[allow(unsafe_code, reason = "loom checks what the lock guards")]
        let add = |shared: &(_, loom::cell::UnsafeCell<i32>)| {
            let _held = AtomicBits::lock_bit(&shared.0, 3);
            // SAFETY: the bit is held.
            shared.1.with_mut(|n| unsafe { *n += 1 });
        };
        struct Shared<T>(T);
        // SAFETY: what is not `Sync` in it is used under the bit only.
        #[allow(unsafe_code, reason = "loom checks what the lock guards")]
        unsafe impl<T> Send for Shared<T> {}
        let other = Shared(other);
        let t = thread::spawn(move || {
            let other = other;
            add(&other.0);
        });
        add(&shared);
        t.join().unwrap();
        assert!(!shared.0.test_bit(3));
    });
}

fn loom_word() -> loom::sync::atomic::AtomicU64 {
    loom::sync::atomic::AtomicU64::new(0)
}

#[test]
fn the_last_reference_of_a_lockref_is_found_once() {
    model(|| {
        let thing = Arc::new(LockRef::new((), 2));
        let other = thing.clone();
        let put = |thing: &LockRef<()>| match thing.put_or_lock() {
            Some(mut last) => {
                assert_eq!(last.put(), 0);
                last.mark_dead();
                1
            }
            None => 0,
        };
        let t = thread::spawn(move || put(&other));
        let here = put(&thing);
        assert_eq!(here + t.join().unwrap(), 1);
        assert!(!thing.get());
    });
}

/// A waits for two permits and is dropped, B waits for one: a release meets the drop, and B gets its permit.
#[test]
fn a_dropped_semaphore_waiter_hands_its_permits_on() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let wait = |n| {
            let semaphore = semaphore.clone();
            Box::pin(async move { semaphore.acquire(n).await.forget() })
        };
        let (mut a, mut b) = (wait(2), wait(1));
        assert!(poll_once(a.as_mut()).is_pending() && poll_once(b.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(a));
        semaphore.release(1);
        dropper.join().unwrap();
        assert!(poll_once(b.as_mut()).is_ready());
        assert_eq!(semaphore.available(), 0);
    });
}

/// A writer that waits is dropped while the reader goes; a reader behind it comes in.
#[test]
fn a_dropped_writer_lets_readers_in() {
    model(|| {
        let lock = Arc::new(RwLock::new(()));
        let (w, r) = (lock.clone(), lock.clone());
        let held = lock.try_read().unwrap();
        let mut writer = Box::pin(async move { drop(w.write().await) });
        let mut reader = Box::pin(async move { drop(r.read().await) });
        assert!(poll_once(writer.as_mut()).is_pending() && poll_once(reader.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(writer));
        drop(held);
        dropper.join().unwrap();
        assert!(poll_once(reader.as_mut()).is_ready());
        assert!(!lock.is_locked());
    });
}

/// Two contexts take two mutexes from either end: one of them is refused, and nobody waits for ever.
fn two_contexts_take_two_mutexes() {
    let pair = Arc::new([WwMutex::new(0), WwMutex::new(0)]);
    let class = Arc::new(WwClass::new());
    let both = |pair: Arc<[WwMutex<u32>; 2]>, context: WwContext, from: usize| async move {
        let (mut first, mut second) = (&pair[from], &pair[1 - from]);
        loop {
            let mut a = first.lock_slow(&context).await;
            if let Ok(mut b) = second.lock(&context).await {
                *a += 1;
                *b += 1;
                return;
            }
            drop(a);
            std::mem::swap(&mut first, &mut second);
        }
    };
    let (mine, theirs) = (WwContext::new(&class), WwContext::new(&class));
    let other = pair.clone();
    let t = thread::spawn(move || block_on(both(other, theirs, 1)));
    block_on(both(pair.clone(), mine, 0));
    t.join().unwrap();
    let context = WwContext::new(&class);
    assert!(
        pair.iter()
            .all(|m| m.try_lock(&context).is_some_and(|n| *n == 2))
    );
}

#[test]
fn wait_wound_contexts_do_not_deadlock() {
    model(two_contexts_take_two_mutexes);
}

#[test]
#[ignore = "makes a mistake; run by `every_mistake_is_found`"]
fn mutant_let_the_younger_wait() {
    Mutant::LetTheYoungerWait.make();
    model(two_contexts_take_two_mutexes);
}

#[test]
fn a_dropped_wait_wound_waiter_hands_the_mutex_on() {
    model(|| {
        let mutex = Arc::new(WwMutex::new(()));
        let class = WwClass::new();
        let wait = |context: WwContext| {
            let mutex = mutex.clone();
            Box::pin(async move { mutex.lock(&context).await.is_ok() })
        };
        let mine = WwContext::new(&class);
        let held = mutex.try_lock(&mine).unwrap();
        let (mut a, mut b) = (wait(WwContext::new(&class)), wait(WwContext::new(&class)));
        assert!(poll_once(a.as_mut()).is_pending() && poll_once(b.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(a));
        drop(held);
        dropper.join().unwrap();
        assert_eq!(poll_once(b.as_mut()), Poll::Ready(true));
    });
}

/// A waits for a note and is dropped while one comes; B gets it.
#[test]
fn a_dropped_waiter_for_a_note_hands_it_on() {
    model(|| {
        let note = Arc::new(Note::new());
        let wait = || {
            let note = note.clone();
            Box::pin(async move { note.notified().await })
        };
        let (mut a, mut b) = (wait(), wait());
        assert!(poll_once(a.as_mut()).is_pending() && poll_once(b.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(a));
        note.notify_one();
        dropper.join().unwrap();
        assert!(poll_once(b.as_mut()).is_ready());
    });
}

#[test]
fn a_dropped_waiter_for_a_completion_hands_it_on() {
    model(|| {
        let done = Arc::new(Completion::new());
        let wait = || {
            let done = done.clone();
            Box::pin(async move { done.wait().await })
        };
        let (mut a, mut b) = (wait(), wait());
        assert!(poll_once(a.as_mut()).is_pending() && poll_once(b.as_mut()).is_pending());
        let dropper = thread::spawn(move || drop(a));
        done.complete();
        dropper.join().unwrap();
        assert!(poll_once(b.as_mut()).is_ready());
    });
}

#[test]
fn a_oneshot_gives_its_value_or_its_end() {
    model(|| {
        let (send, receive) = oneshot();
        let sender = thread::spawn(move || send.send(7));
        assert_eq!(block_on(receive), Some(7));
        assert_eq!(sender.join().unwrap(), Ok(()));
        let (send, receive) = oneshot::<u32>();
        let sender = thread::spawn(move || drop(send));
        assert_eq!(block_on(receive), None);
        sender.join().unwrap();
    });
}

/// Runs each model that makes a mistake in a process of its own, for a deadlock found ends the process.
#[test]
fn every_mistake_is_found() {
    let me = std::env::current_exe().unwrap();
    for name in [
        "mutant_no_fence_after_push",
        "mutant_idle_after_look",
        "mutant_forget_wake_in_poll",
        "mutant_join_looks_first",
        "mutant_no_fence_after_join",
        "mutant_keep_granted_wake",
        "mutant_keep_granted_permits",
        "mutant_cancel_does_not_wait",
        "mutant_let_the_younger_wait",
        "mutant_rcu_forgets_others",
        "mutant_srcu_reads_uncounted",
    ] {
        let out = std::process::Command::new(&me)
            .args(["--ignored", "--exact", name])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(text.contains("running 1 test"), "{name}: no such model");
        assert!(!out.status.success(), "{name}: the mistake was not found");
    }
}
