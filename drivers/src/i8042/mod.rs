//! The PC's keyboard controller, and the keyboard on its first port.
//!
//! The mouse port is switched off. Bytes come from the controller one by one, by interrupt; [`Decoder`] makes keys of them.

mod controller;
mod driver;
mod keys;
#[cfg(test)]
mod tests;

pub use driver::{DRIVER, ID};
pub use keys::{Decoder, Key};
