//! Terminals: the glue between line discipline, device, processes and files.
//!
//! A [`Tty`] joins a [`LineDiscipline`](drivers::tty::LineDiscipline), the queues around it, and a [`Driver`]: a serial
//! port ([`serial`]), a virtual machine's console ([`hvc`]) or the slave end of a pseudo-terminal ([`pty`]). Programs see it through [`file::TtyFile`].
//!
//! Locks: [`Tty::state`] (queues and settings) and [`Tty::control`] (session and foreground group) are never held together,
//! and neither is held when a signal is sent or a driver called. The task list is taken with neither held. User memory is
//! copied under `state` by copies that never fault in.

pub mod console;
pub mod devpts;
pub mod driver;
pub mod file;
pub mod hangup;
pub mod hvc;
pub mod ioctl;
pub mod job;
pub mod modem;
pub mod pty;
pub mod serial;
pub mod settings;
mod terminal;

pub use driver::Driver;
pub use terminal::Tty;

/// Registers the terminal devices and devpts, and starts the serial ports.
///
/// # Context
/// Task, at the end of the boot, after [`crate::devtmpfs::init`].
pub fn init() {
    console::init();
    if let Err(error) = fs::superblock::register_filesystem(&devpts::DevptsType) {
        log::error!("tty: devpts is not registered: {error}");
    }
    serial::init();
}
