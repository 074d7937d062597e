//! One of a thing for each CPU, and a counter made of them.

use alloc::boxed::Box;
use core::{fmt, sync::atomic::Ordering};

use crate::{cpu, facade::AtomicI64};

/// Keeps neighbours from sharing a cache line, and the line that the CPU fetches along with it.
#[repr(align(128))]
struct Apart<T>(T);

/// A value for each CPU.
///
/// It is shared all the same: code may move to another CPU at any moment, so [`PerCpu::here`] only says whose value is the
/// likely one to be at hand, and a value is of a kind that may be shared.
pub struct PerCpu<T>(Box<[Apart<T>]>);

impl<T> PerCpu<T> {
    /// Makes a value for each of `cpus` CPUs.
    ///
    /// # Context
    /// Task or boot: allocates.
    /// # Panics
    /// If there is no CPU.
    pub fn new(cpus: usize, make: impl FnMut(usize) -> T) -> Self {
        assert!(cpus > 0, "there is a CPU");
        Self((0..cpus).map(make).map(Apart).collect())
    }

    /// The value of the CPU that this runs on. CPUs beyond those it was made for share.
    #[inline]
    pub fn here(&self) -> &T {
        &self.0[cpu::id() as usize % self.0.len()].0
    }

    /// The value of CPU `cpu`.
    pub fn of(&self, cpu: u32) -> Option<&T> {
        self.0.get(cpu as usize).map(|apart| &apart.0)
    }

    /// All values, in the order of the CPUs.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|apart| &apart.0)
    }
}

impl<T: fmt::Debug> fmt::Debug for PerCpu<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A counter that many CPUs change often and few read: Linux's `percpu_counter`.
///
/// Each CPU counts for itself, and adds what it has to the total when that gets to `batch`. So [`read`](Self::read) is off by
/// less than `batch` for each CPU; [`sum`](Self::sum) looks at all of them.
#[derive(Debug)]
pub struct PerCpuCounter {
    total: AtomicI64,
    deltas: PerCpu<AtomicI64>,
    batch: i64,
}

impl PerCpuCounter {
    /// A counter at zero for `cpus` CPUs, which keep less than `batch` each to themselves.
    ///
    /// # Context
    /// Task or boot: allocates.
    /// # Panics
    /// If there is no CPU, or `batch` is not positive.
    pub fn new(cpus: usize, batch: i64) -> Self {
        assert!(batch > 0, "something is kept back");
        Self {
            total: AtomicI64::new(0),
            deltas: PerCpu::new(cpus, |_| AtomicI64::new(0)),
            batch,
        }
    }

    /// Adds `n`.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn add(&self, n: i64) {
        // In one step: an interrupt may add here as well.
        let delta = self.deltas.here();
        if (delta.fetch_add(n, Ordering::Relaxed) + n).abs() >= self.batch {
            self.fold(delta);
        }
    }

    #[cold]
    fn fold(&self, delta: &AtomicI64) {
        let kept = delta.swap(0, Ordering::Relaxed);
        self.total.fetch_add(kept, Ordering::Relaxed);
    }

    /// The count, off by less than `batch` times the number of CPUs.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn read(&self) -> i64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The count, exact if nobody changes it meanwhile. It looks at every CPU's part.
    pub fn sum(&self) -> i64 {
        let kept = |delta: &AtomicI64| delta.load(Ordering::Relaxed);
        self.read() + self.deltas.iter().map(kept).sum::<i64>()
    }

    /// How the count compares with `n`: by the quick answer where that is far enough off, else by the exact one.
    pub fn compare(&self, n: i64) -> core::cmp::Ordering {
        let error = self.batch * self.deltas.0.len() as i64;
        match self.read() {
            quick if (quick - n).abs() > error => quick.cmp(&n),
            _ => self.sum().cmp(&n),
        }
    }
}
