//! The locks this crate uses, from one place.

pub use spin::{Mutex as SpinLock, MutexGuard as SpinLockGuard};
