//! Device drivers of Wake, and the logic that sits directly on them.
//!
//! A driver here is an `async fn` that is given its device. It reaches registers, memory and interrupts through small
//! traits with two implementations each: the machine (in `kernel`) and simulated devices ([`simulated`]), so that it runs
//! unchanged in a host test with faults injected. Nothing in this crate knows what a process, a file or an address space is.
//!
//! # Where to start
//!
//! | to | read |
//! | --- | --- |
//! | write a driver, step by step | [`book::tutorial`] |
//! | begin with one that probes | [`book::template`] |
//! | read one | [`power_button`], [`edu`], then [`virtio`] |
//! | know how devices and drivers meet | [`device`] |
//! | reach registers, memory, interrupts | [`io`], [`dma`], [`interrupt`], [`pci`], [`platform`] |
//! | know the terminal line discipline | [`tty`] |
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod block;
#[cfg(not(target_os = "none"))]
pub mod book {
    //! The book for driver authors; the tests compile and run every block of it.

    #[doc = include_str!("../book/template.md")]
    pub mod template {}

    #[doc = include_str!("../book/tutorial.md")]
    pub mod tutorial {}
}
pub mod device;
pub mod dma;
pub mod edu;
pub mod hotplug;
pub mod i8042;
pub mod input;
pub mod interrupt;
pub mod io;
pub mod pci;
pub mod platform;
pub mod power_button;
pub mod serial;
#[cfg(not(target_os = "none"))]
pub mod simulated;
pub mod tty;
pub mod virtio;
