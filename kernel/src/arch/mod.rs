//! The x86-64 machine.

pub mod cpu;
pub mod fixmap;
pub mod layout;
pub mod power;
pub mod rtc;
pub mod serial;

/// Stops this CPU for good.
pub fn halt_forever() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}
