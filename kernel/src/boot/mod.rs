//! From the loader's hand-over to a machine that the rest of the kernel can run on.
//!
//! `entry` gets the CPU into long mode; `start` reads the start info, builds the kernel's page tables and goes on from
//! there. What the loader told stays readable in [`info`].

#[cfg(target_os = "none")]
pub mod acpi;
pub mod aml;
#[cfg(target_os = "none")]
mod early_alloc;
#[cfg(target_os = "none")]
mod entry;
pub mod list;
pub mod memory_map;
#[cfg(target_os = "none")]
mod paging;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub mod start_info;

#[cfg(target_os = "none")]
use start::map_firmware;
#[cfg(target_os = "none")]
pub use start::{BootInfo, ap_main, ap_prepare, info, kernel_pml4, memory_map};
#[cfg(all(target_os = "none", feature = "ktest"))]
mod tests;
