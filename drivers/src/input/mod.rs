//! Input devices: keys and buttons, as streams of events that many may read.
//!
//! Source: Linux's Documentation/input, `linux/input-event-codes.h`.

mod events;

pub use events::{Connected, Event, Identity, Input, Reader, code};
