//! The locks and guards of this module, from one place.

pub use executor::sync::SpinLock;
