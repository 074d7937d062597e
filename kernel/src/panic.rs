//! What happens when the kernel cannot go on.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::arch::smp::stop_others();
    crate::printk::console::enter_panic();
    log::error!("Kernel panic - not syncing: {}", info.message());
    if let Some(location) = info.location() {
        log::error!("at {location}");
    }
    crate::arch::halt_forever()
}

/// Reports an exception that kernel code caused and that nothing expected, and stops.
pub fn exception(frame: &crate::arch::trap::TrapFrame) -> ! {
    panic!("unexpected exception: {frame:x?}")
}

/// Handles a non-maskable interrupt.
pub fn nmi(_frame: &crate::arch::trap::TrapFrame) {
    if crate::arch::smp::is_stopping() {
        crate::arch::halt_forever();
    }
    log::warn!("NMI received for unknown reason");
}
