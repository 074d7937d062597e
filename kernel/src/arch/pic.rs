//! The two 8259 interrupt controllers: moved out of the exceptions' way and masked for good.

#![allow(unsafe_code, reason = "port I/O")]

use super::vectors;
use x86_64::instructions::port::Port;

const MASTER: u16 = 0x20;
const SLAVE: u16 = 0xa0;

/// Puts both controllers at vectors 32 to 47 and masks all their lines.
///
/// # Context
/// Boot.
pub fn disable() {
    for (base, vector, wiring) in [
        (MASTER, vectors::PIC_FIRST, 1 << 2),
        (SLAVE, vectors::PIC_FIRST + 8, 2),
    ] {
        // Initialise, four words; vectors; how they are joined; 8086 mode; all lines masked.
        write(base, 0x11);
        write(base + 1, vector);
        write(base + 1, wiring);
        write(base + 1, 0x01);
        write(base + 1, 0xff);
    }
}

fn write(port: u16, value: u8) {
    // SAFETY: the ports are the 8259s', which this module alone uses.
    unsafe { Port::new(port).write(value) }
}
