//! Virtio devices on PCI: the transport, its rings, and the drivers.
//!
//! Own code rather than the crate `virtio-drivers`: that one waits by spinning or leaves tokens to its caller, and trusts what the
//! device writes; here a request is a future that owns its buffer, dropping it is safe at any time, and everything that a device
//! could say is checked: indices, lengths, answers to what was never asked, and silence. What cannot be ends the
//! device with an error to all who wait, and a line in the log.
//!
//! A driver [opens](Transport::open) its device, agrees on features, makes its [`Queue`]s, and says that it is
//! [ready](Transport::ready). A bottom half calls [`Queue::drain`] for each interrupt; that wakes the requests that
//! are done.
//!
//! Source: Virtual I/O Device (VIRTIO) 1.2, by section.

mod block;
mod console;
#[cfg(test)]
mod console_tests;
mod queue;
mod rng;
#[cfg(test)]
mod rng_tests;
#[cfg(test)]
mod tests;
mod transport;

pub use block::{BLOCK, VirtioBlock};
pub use console::CONSOLE;
pub use queue::{Completion, Part, Queue, QueueError, Submitted};
pub use rng::RNG;
pub use transport::{Transport, feature, is_virtio, kind};
