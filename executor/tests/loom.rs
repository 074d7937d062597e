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
    sync::{Completion, Mutex, SeqCell, SpinLock, WaitQueue, channel},
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
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
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
    model(|| {
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
