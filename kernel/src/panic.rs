//! What happens when the kernel cannot go on.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::printk::console::enter_panic();
    log::error!("Kernel panic - not syncing: {}", info.message());
    if let Some(location) = info.location() {
        log::error!("at {location}");
    }
    crate::arch::halt_forever()
}
