//! The host as a platform: `std`'s clock, threads as CPUs, parking as idling.

use alloc::{collections::BTreeMap, sync::Arc, task::Wake, vec::Vec};
use core::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};
use std::{
    sync::{Mutex, OnceLock, mpsc},
    thread::{self, Thread},
    time,
};

use super::Platform;
use crate::{
    Executor, Fifo, NoHooks, cpu, spawn_on,
    time::{Instant, run_expired},
};

/// The host's clock and threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostPlatform;

static EPOCH: OnceLock<time::Instant> = OnceLock::new();
static THREADS: Mutex<BTreeMap<u32, Thread>> = Mutex::new(BTreeMap::new());

impl Platform for HostPlatform {
    fn now(&self) -> Instant {
        let epoch = EPOCH.get_or_init(time::Instant::now);
        Instant::from_ns(u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn pend(&self, cpu: u32) {
        let thread = THREADS.lock().expect("no holder panics").get(&cpu).cloned();
        if let Some(thread) = thread {
            thread.unpark();
        }
    }

    // The idle loop of the host asks the timer queue itself how long it may sleep.
    fn set_timer(&self, _deadline: Instant) {}
}

/// Lets [`HostPlatform::pend`] find the calling thread as the CPU that it plays.
fn adopt_thread() {
    THREADS
        .lock()
        .expect("no holder panics")
        .insert(cpu::id(), thread::current());
}

/// Polls before the timers are looked at, which an idle CPU does anyway.
const TURNS: usize = 64;

/// Polls some tasks, fewer if `enough` is set meanwhile. False if there were none.
fn run_some(executor: &Executor<Fifo>, enough: &AtomicBool) -> bool {
    let mut left = TURNS;
    let found = executor.run_while(&NoHooks, || {
        left -= 1;
        left > 0 && !enough.load(Ordering::Acquire)
    });
    if left == 0 {
        look_at_timers(executor);
    }
    found
}

/// Expires the timers that are due. There mostly are none, and then nobody asks for the time.
fn look_at_timers(executor: &Executor<Fifo>) {
    if executor.shared().timers().next_deadline().is_some() {
        run_expired(Instant::now());
    }
}

/// Sleeps until something is woken here, a timer is due, or `done`.
fn idle(executor: &Executor<Fifo>, done: &AtomicBool) {
    look_at_timers(executor);
    if !executor.prepare_idle() {
        return;
    }
    if !done.load(Ordering::Acquire) {
        match executor.shared().timers().next_deadline() {
            Some(deadline) => thread::park_timeout(deadline - Instant::now()),
            None => thread::park(),
        }
    }
    executor.shared().set_looking();
    look_at_timers(executor);
}

/// Runs `future` and the calling thread's tasks until `future` is ready.
///
/// The thread gets an executor, so it must not have one yet. Tasks left over are dropped unfinished.
///
/// It asks for a future that is `Send`, as [`spawn`](crate::spawn()) does, so that none holds a spinning lock's guard across an
/// await:
///
/// ```compile_fail,E0277
/// # use executor::{platform::host::block_on, sync::SpinLock, yield_now};
/// static LOCK: SpinLock<u32> = SpinLock::new(0);
/// block_on(async {
///     let guard = LOCK.lock();
///     yield_now().await;
///     drop(guard);
/// });
/// ```
///
/// # Context
/// The host only, or boot of a test: never within a task.
pub fn block_on<F: Future + Send>(future: F) -> F::Output {
    struct Unpark {
        woken: AtomicBool,
        thread: Thread,
    }
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::Release);
            self.thread.unpark();
        }
    }
    let executor = Executor::new(Fifo::new());
    adopt_thread();
    let unpark = Arc::new(Unpark {
        woken: AtomicBool::new(true),
        thread: thread::current(),
    });
    let waker = Arc::clone(&unpark).into();
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if unpark.woken.swap(false, Ordering::AcqRel)
            && let Poll::Ready(output) = future.as_mut().poll(&mut cx)
        {
            return output;
        }
        if !run_some(&executor, &unpark.woken) {
            idle(&executor, &unpark.woken);
        }
    }
}

/// A machine of threads that play CPUs, each with its executor.
#[derive(Debug)]
pub struct Machine {
    cpus: Vec<u32>,
    threads: Vec<thread::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Machine {
    /// Starts `cpus` CPUs.
    ///
    /// # Panics
    /// If a thread cannot be made.
    pub fn start(cpus: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (send, receive) = mpsc::channel();
        let threads = (0..cpus).map(|_| {
            let (stop, send) = (Arc::clone(&stop), send.clone());
            thread::spawn(move || {
                let executor = Executor::new(Fifo::new());
                adopt_thread();
                send.send(cpu::id()).expect("the starter waits for all");
                while !stop.load(Ordering::Acquire) {
                    if !run_some(&executor, &stop) {
                        idle(&executor, &stop);
                    }
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        let cpus = (0..cpus)
            .map(|_| receive.recv().expect("every CPU starts"))
            .collect();
        Self {
            cpus,
            threads,
            stop,
        }
    }

    /// The CPUs' numbers.
    pub fn cpus(&self) -> &[u32] {
        &self.cpus
    }

    /// Runs `future` as a task of the first CPU, and waits for it.
    ///
    /// # Panics
    /// If the task is aborted, or panics.
    pub fn block_on<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (send, receive) = mpsc::channel();
        spawn_on(self.cpus[0], "main", async move {
            // The receiver waits below.
            let _ = send.send(future.await);
        })
        .detach();
        receive.recv().expect("the task runs to its end")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for cpu in &self.cpus {
            // As a pend would be: whatever the CPU is about to do, it looks again.
            HostPlatform.pend(*cpu);
        }
        for thread in self.threads.drain(..) {
            let joined = thread.join();
            assert!(joined.is_ok() || thread::panicking(), "a CPU panicked");
        }
    }
}
