//! A platform for tests: time stands still until it is told to go on, and everything asked of it is written down.

use alloc::{boxed::Box, vec::Vec};
use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use super::Platform;
use crate::time::{Instant, run_expired};

/// A clock that a test moves, and a record of what was asked.
#[derive(Debug)]
pub struct VirtualTime {
    now: AtomicU64,
    timer: AtomicU64,
    pended: Mutex<Vec<u32>>,
}

/// What lives for ever is found from here, so that leak checkers see that it is meant to.
static INSTALLED: Mutex<Vec<&'static &'static dyn Platform>> = Mutex::new(Vec::new());

impl VirtualTime {
    /// A clock at zero, in use as the calling thread's platform from now on.
    pub fn install() -> &'static Self {
        let clock: &'static Self = Box::leak(Box::new(Self {
            now: AtomicU64::new(0),
            timer: AtomicU64::new(u64::MAX),
            pended: Mutex::new(Vec::new()),
        }));
        clock.share();
        clock
    }

    /// Makes this the calling thread's platform as well.
    pub fn share(&'static self) {
        let platform: &'static &'static dyn Platform =
            Box::leak(Box::new(self as &'static dyn Platform));
        INSTALLED.lock().expect("no holder panics").push(platform);
        super::register(platform);
    }

    /// Moves the clock to `to`, with a timer interrupt at each moment that one was asked for.
    pub fn advance_to(&self, to: Instant) {
        loop {
            let next = self.timer.load(Ordering::Relaxed);
            if next > to.as_ns() || next == u64::MAX {
                break;
            }
            self.now.fetch_max(next, Ordering::Relaxed);
            run_expired(self.now());
        }
        self.now.fetch_max(to.as_ns(), Ordering::Relaxed);
    }

    /// Moves the clock to the next moment that an interrupt was asked for. False if there is none.
    pub fn advance_to_next(&self) -> bool {
        let next = self.timer.load(Ordering::Relaxed);
        if next == u64::MAX {
            return false;
        }
        self.advance_to(Instant::from_ns(next));
        true
    }

    /// When the next timer interrupt is due, if one was asked for.
    pub fn timer(&self) -> Option<Instant> {
        let at = self.timer.load(Ordering::Relaxed);
        (at != u64::MAX).then_some(Instant::from_ns(at))
    }

    /// The CPUs that were to be interrupted since this was last asked.
    pub fn take_pended(&self) -> Vec<u32> {
        core::mem::take(&mut *self.pended.lock().expect("no holder panics"))
    }
}

impl Platform for VirtualTime {
    fn now(&self) -> Instant {
        Instant::from_ns(self.now.load(Ordering::Relaxed))
    }

    fn pend(&self, cpu: u32) {
        self.pended.lock().expect("no holder panics").push(cpu);
    }

    fn set_timer(&self, deadline: Instant) {
        self.timer.store(deadline.as_ns(), Ordering::Relaxed);
    }
}
