//! The terminal line discipline: everything between a device's bytes and a program's lines.
//!
//! [`LineDiscipline`] is what Linux calls `n_tty`, as a pure state machine: it is told of received bytes, of bytes to
//! write, of reads and of new [`Termios`] settings; it puts output bytes on a [`Port`] and answers with the [`Effects`]
//! its owner has to carry out (signals for the foreground group, waiters to wake). It holds no lock, knows no time, and
//! works in memory fixed when it is made.
//!
//! | file | idea |
//! | --- | --- |
//! | [`termios`] | the settings, their flags, and the three layouts user programs see |
//! | [`ldisc`] | the state, and what changes of settings do to it |
//! | `receive` | one received byte: flow control, signals, translation |
//! | `edit` | canonical line editing |
//! | `echo` | what the user sees of it |
//! | `output` | `OPOST` processing with column tracking |
//! | `read` | handing lines or bytes to readers |
//! | [`ring`] | the byte ring both directions use |
//!
//! Context: any that may hold the owner's lock. Nothing here allocates after construction.

mod ctype;
mod echo;
mod edit;
mod input_queue;
pub mod ldisc;
mod output;
pub mod read;
pub mod receive;
pub mod ring;
pub mod termios;
#[cfg(test)]
mod tests;

pub use ldisc::{Effects, LineDiscipline, Port};
pub use read::ReadOutcome;
pub use receive::Received;
pub use ring::ByteRing;
pub use termios::Termios;
