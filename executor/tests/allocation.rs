//! Where memory is taken and given back, and where it must not be.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "an allocator that watches")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use executor::{
    Executor, Fifo, NoHooks, SpawnErrorKind, cpu,
    irq::IrqEvent,
    platform::VirtualTime,
    spawn,
    sync::{Mutex, Notify, WaitQueue, channel},
    time::{HrTimer, Instant, sleep_until},
    try_spawn,
    work::Config,
    yield_now,
};

/// The system's allocator, counting what this thread does, and failing when told to.
struct Watched;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static IN_HARDIRQ: Cell<usize> = const { Cell::new(0) };
    static FAIL: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    CALLS.set(CALLS.get() + 1);
    if cpu::in_hardirq() {
        IN_HARDIRQ.set(IN_HARDIRQ.get() + 1);
    }
}

// SAFETY: it hands everything on to the system's allocator, or gives nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        if FAIL.get() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// How often `f` called the allocator.
fn allocations(f: impl FnOnce()) -> usize {
    let before = CALLS.get();
    f();
    CALLS.get() - before
}

/// Runs `f` as a hard interrupt would run.
fn hardirq<T>(f: impl FnOnce() -> T) -> T {
    let _masked = cpu::irq_save();
    cpu::hardirq_enter();
    let out = f();
    cpu::hardirq_exit();
    out
}

#[test]
fn a_task_is_one_allocation() {
    let ex = Executor::new(Fifo::new());
    let spawn = || spawn("one", async {}).detach();
    assert_eq!(allocations(spawn), 1);
    let run = || ex.run_until_idle(&NoHooks);
    // The checkers are to see that it is freed.
    let kept = usize::from(!cfg!(miri));
    assert_eq!(allocations(run), 1 - kept, "kept for the next one");
    assert_eq!(allocations(spawn), 1 - kept, "which takes it");
    run();
    assert_eq!(allocations(|| drop(ex)), 1, "and frees it in the end");
}

#[test]
fn spawn_gives_the_future_back_when_there_is_no_memory() {
    let _ex = Executor::new(Fifo::new());
    let mark = Arc::new(());
    let held = mark.clone();
    FAIL.set(true);
    let result = try_spawn("none", async move { drop(held) });
    FAIL.set(false);
    let error = result.unwrap_err();
    assert_eq!(
        (error.kind, Arc::strong_count(&mark)),
        (SpawnErrorKind::NoMemory, 2)
    );
}

#[test]
fn waking_polling_and_waiting_do_not_allocate() {
    static EVENT: IrqEvent = IrqEvent::new();
    static QUEUE: WaitQueue = WaitQueue::new();
    static MUTEX: Mutex<()> = Mutex::new(());
    let clock = VirtualTime::install();
    let ex = Executor::new(Fifo::new());
    let (send, receive) = channel(2);
    spawn("all day", async move {
        for round in 1.. {
            EVENT.wait().await;
            QUEUE.wait().await;
            let guard = MUTEX.lock().await;
            yield_now().await;
            drop(guard);
            sleep_until(Instant::from_ns(round * 100)).await;
            send.send(round).await.unwrap();
        }
    })
    .detach();
    spawn("its rival", async {
        loop {
            let guard = MUTEX.lock().await;
            yield_now().await;
            drop(guard);
            QUEUE.wait().await;
        }
    })
    .detach();
    ex.run_until_idle(&NoHooks);
    let mut rounds = 0;
    let calls = allocations(|| {
        while rounds < 10 {
            hardirq(|| EVENT.raise());
            ex.run_until_idle(&NoHooks);
            hardirq(|| QUEUE.wake_all());
            ex.run_until_idle(&NoHooks);
            hardirq(|| clock.advance_to_next());
            ex.run_until_idle(&NoHooks);
            rounds += usize::from(receive.try_recv().is_ok());
        }
    });
    assert_eq!(calls, 0);
}

#[test]
fn last_waker_dropped_in_an_interrupt_frees_the_task_later() {
    let ex = Executor::new(Fifo::new());
    // Too large for its memory to be kept for others.
    let task = spawn("stays", async {
        let large = [0_u8; 4096];
        pending::<()>().await;
        assert_eq!(large[7], 0);
    });
    let waker = task.task().waker();
    ex.run_until_idle(&NoHooks);
    task.abort();
    ex.run_until_idle(&NoHooks);
    drop(task);
    let calls = allocations(|| hardirq(|| drop(waker)));
    assert_eq!((calls, IN_HARDIRQ.get()), (0, 0), "rule 3");
    assert_eq!(
        allocations(|| ex.run_until_idle(&NoHooks)),
        1,
        "its loop frees it"
    );
}

#[test]
fn timers_are_armed_and_cancelled_without_allocating() {
    let clock = VirtualTime::install();
    let _ex = Executor::new(Fifo::new());
    let timers: Vec<_> = (0..10).map(|_| HrTimer::new(|_| None)).collect();
    let calls = allocations(|| {
        hardirq(|| {
            for (i, timer) in timers.iter().enumerate() {
                timer.arm(Instant::from_ns(i as u64));
            }
            clock.advance_to(Instant::from_ns(5));
            assert!(timers[9].cancel());
        });
    });
    assert_eq!(calls, 0);
}

#[test]
fn works_are_queued_run_and_flushed_without_memory() {
    let ex = Executor::new(Fifo::new());
    let queue = Config::new("reclaim").max_active(1).build();
    let make = || async { yield_now().await };
    let works = ["a", "b"].map(|name| queue.work(name, make).unwrap());
    let (done, flush) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let (tell, asked) = (done.clone(), flush.clone());
    let flusher = spawn("flusher", async move {
        asked.notified().await;
        queue.flush().await;
        tell.store(true, Ordering::Relaxed);
        queue
    });
    ex.run_until_idle(&NoHooks);
    let taken = allocations(|| {
        FAIL.set(true);
        hardirq(|| works.iter().for_each(|work| assert!(work.queue())));
        flush.notify_one();
        ex.run_until_idle(&NoHooks);
        FAIL.set(false);
    });
    assert_eq!((taken, done.load(Ordering::Relaxed)), (0, true));
    drop((works, flusher));
    ex.run_until_idle(&NoHooks);
}
