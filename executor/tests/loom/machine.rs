//! The machine of a model, and how to go on in it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake},
};

use executor::{Executor, Fifo, JoinHandle, NoHooks, Platform, platform, spawn, time::Instant};
use loom::sync::{
    Notify,
    atomic::{AtomicBool, Ordering},
};

/// Tries every interleaving of `f` with up to three preemptions.
pub fn model(f: impl Fn() + Sync + Send + 'static) {
    model_within(3, f);
}

/// As [`model`], with as many preemptions: fewer where three threads each take many steps.
pub fn model_within(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// A platform whose interrupt is a loom notification.
pub struct Interrupts(Notify);

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
pub fn boot() -> &'static Interrupts {
    let interrupts: &'static Interrupts = Box::leak(Box::new(Interrupts(Notify::new())));
    join_machine(interrupts);
    interrupts
}

/// Makes the calling thread one of the machine's.
pub fn join_machine(interrupts: &'static Interrupts) {
    platform::register(Box::leak(Box::new(interrupts as &'static dyn Platform)));
}

/// The kernel's loop: turns, then idle, until `done`. A lost wake-up is a deadlock, which the model finds.
pub fn run_until(ex: &Executor<Fifo>, interrupts: &Interrupts, done: impl Fn() -> bool) {
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
pub fn block_on<F: Future>(future: F) -> F::Output {
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

/// A future that is ready once `flag` is set, and checks that it is polled by one CPU at a time.
pub fn flag_set(flag: Arc<AtomicBool>) -> impl Future<Output = ()> + Send {
    let polling = std::sync::atomic::AtomicBool::new(false);
    poll_fn(move |_| {
        assert!(!polling.swap(true, std::sync::atomic::Ordering::SeqCst));
        let ready = flag.load(Ordering::Acquire);
        polling.store(false, std::sync::atomic::Ordering::SeqCst);
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
}

/// A task of [`flag_set`].
pub fn flag_task(flag: Arc<AtomicBool>) -> JoinHandle<()> {
    spawn("flag", flag_set(flag))
}

/// Polls once.
pub fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(std::task::Waker::noop()))
}
