//! The host as a platform: `std`'s clock, threads as CPUs, parking as sleep.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock},
    thread::{self, Thread},
    time,
};

use super::Platform;
use crate::{cpu, time::Instant};

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

/// Makes the calling thread CPU `cpu`, so that [`HostPlatform::pend`] finds it.
pub fn adopt_thread(cpu: u32) {
    cpu::set_cpu(cpu);
    THREADS
        .lock()
        .expect("no holder panics")
        .insert(cpu, thread::current());
}
