//! Device drivers of Wake, and the logic that sits directly on them.
//!
//! A driver here is an `async fn` over a small register trait with two implementations: the machine (in `kernel`) and a
//! simulated device (in the tests beside the code). Nothing in this crate knows what a process, a file or an address
//! space is. Start reading at [`serial`] for a driver, at [`tty`] for the terminal line discipline.
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod block;
pub mod device;
pub mod dma;
pub mod edu;
pub mod input;
pub mod interrupt;
pub mod io;
pub mod pci;
pub mod serial;
#[cfg(not(target_os = "none"))]
pub mod simulated;
pub mod tty;
pub mod virtio;
