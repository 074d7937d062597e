//! The locks this crate uses, from one place.

pub use executor::sync::{SpinLock, SpinLockGuard, SpinLockIrq, WaitQueue};
