//! The one place that says whether atomics and cells are the machine's or the model checker's.
//!
//! Under `--cfg loom` everything lock-free in this crate runs on `loom`'s types, so that `tests/loom` can try every
//! interleaving. `loom`'s constructors are not `const`: [`const_fn!`] hides that difference.

/// Declares a function that is `const`, save under `loom`.
macro_rules! const_fn {
    ($(#[$m:meta])* $v:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty $body:block) => {
        $(#[$m])*
        #[cfg(not(loom))]
        #[inline]
        $v const fn $name($($arg: $ty),*) -> $ret $body

        $(#[$m])*
        #[cfg(loom)]
        $v fn $name($($arg: $ty),*) -> $ret $body
    };
}
pub(crate) use const_fn;

/// Tells the tracer of what happens to a task that the caller holds a reference to, or polls.
macro_rules! traced {
    ($event:ident, $task:expr) => {
        #[cfg(feature = "trace")]
        // SAFETY: the task lives for the call, as whoever says so sees to.
        unsafe {
            crate::trace::tell(crate::trace::Event::$event, $task)
        };
    };
}
pub(crate) use traced;

/// Names a mistake that the models must find: false, save in a model that made it.
#[cfg(not(loom))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

#[cfg(loom)]
macro_rules! mutant {
    ($name:ident) => {
        crate::mutants::Mutant::$name.is_made()
    };
}
pub(crate) use mutant;

#[cfg(not(loom))]
pub(crate) use core::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    },
};

#[cfg(loom)]
use core::sync::atomic::Ordering;
#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;
#[cfg(loom)]
pub(crate) use points::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
};

/// The models' atomics, each use of which is a place where an interrupt may come ([`crate::model`]).
#[cfg(loom)]
pub(crate) mod points {
    use core::{ops::Deref, sync::atomic::Ordering};

    use loom::sync::atomic;

    use crate::model::point;

    macro_rules! pointed {
        ($($name:ident $(<$param:ident>)?: $value:ty),* $(,)?) => {$(
            /// The model's atomic.
            #[derive(Debug)]
            pub struct $name $(<$param>)? (atomic::$name $(<$param>)?);

            impl $(<$param>)? $name $(<$param>)? {
                /// Makes one with this value.
                #[track_caller]
                pub fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }
            }

            impl $(<$param>)? Deref for $name $(<$param>)? {
                type Target = atomic::$name $(<$param>)?;

                fn deref(&self) -> &Self::Target {
                    point();
                    &self.0
                }
            }
        )*};
    }
    pointed!(
        AtomicBool: bool,
        AtomicI64: i64,
        AtomicPtr<T>: *mut T,
        AtomicU8: u8,
        AtomicU32: u32,
        AtomicU64: u64,
        AtomicUsize: usize,
    );

    pub(crate) fn fence(ordering: Ordering) {
        point();
        atomic::fence(ordering);
    }
}

/// What `core`'s atomics have: `loom`'s still call it `fetch_update`.
#[cfg(loom)]
pub(crate) trait TryUpdate<T> {
    fn try_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        change: impl FnMut(T) -> Option<T>,
    ) -> Result<T, T>;
}

#[cfg(loom)]
macro_rules! try_update {
    ($($atomic:ty: $value:ty),*) => {
        $(impl TryUpdate<$value> for $atomic {
            fn try_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                self.fetch_update(set, fetch, change)
            }
        })*
    };
}
#[cfg(loom)]
try_update!(AtomicU32: u32, AtomicUsize: usize);

/// Tells the CPU, or the model checker, that this loop waits for another CPU. On the host that is a thread, which perhaps
/// does not run because this one does: it is given the time.
#[inline(always)]
pub(crate) fn spin_loop() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(any(loom, target_os = "none")))]
    std::thread::yield_now();
    #[cfg(target_os = "none")]
    core::hint::spin_loop();
}

/// A cell whose accesses `loom` checks for data races; a plain `UnsafeCell` otherwise.
pub(crate) struct Cell<T: ?Sized>(UnsafeCell<T>);

impl<T> Cell<T> {
    const_fn! {
        /// Wraps `value`.
        pub(crate) fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Cell<T> {
    /// Calls `f` with the address, noted as a write.
    #[inline(always)]
    #[cfg(not(loom))]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with the address, noted as a write.
    #[cfg(loom)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(f)
    }
}

impl<T: ?Sized> Cell<T> {
    /// Calls `f` with the address, noted as a read.
    #[inline(always)]
    #[cfg(not(loom))]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with the address, noted as a read.
    #[cfg(loom)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.0.with(f)
    }
}
