//! From the loader's hand-over to a machine that the rest of the kernel can run on.
//!
//! [`entry`] gets the CPU into long mode; [`kmain`] goes on from there.

mod entry;

/// Continues the boot in Rust, on the boot CPU, with interrupts off, on the boot stack and the boot page tables.
///
/// `start_info` is the physical address that the loader left in `ebx`.
extern "C" fn kmain(start_info: u64) -> ! {
    crate::printk::init();
    log::info!(
        "Wake {}: start info at {start_info:#x}",
        env!("CARGO_PKG_VERSION")
    );
    panic!("nothing to run");
}
