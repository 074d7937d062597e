//! Running programs: execve(2).
//!
//! - [`elf`] and [`script`] take files apart, without touching anything; the host tests them.
//! - [`strings`] carries arguments and environment from the old memory to the new, [`auxv`] adds what the kernel tells.
//! - `load` maps a program into a new address space; `replace` swaps it in, past the point of no return.

#[cfg(target_os = "none")]
pub mod auxv;
#[cfg(target_os = "none")]
mod call;
pub mod elf;
#[cfg(target_os = "none")]
mod load;
#[cfg(target_os = "none")]
mod replace;
pub mod script;
#[cfg(target_os = "none")]
mod strings;

#[cfg(target_os = "none")]
pub use call::{Request, execute};
#[cfg(target_os = "none")]
pub use strings::Vector;
