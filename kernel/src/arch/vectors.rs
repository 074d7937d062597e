//! Who has which interrupt vector.
//!
//! | vectors | use |
//! | --- | --- |
//! | 0-31 | exceptions |
//! | 32-47 | where the 8259s are parked: only their spurious interrupts come here |
//! | 48-239 | interrupt lines and messages of devices |
//! | 240-255 | the local APIC and messages among CPUs, the most urgent |

/// First of the 16 vectors of the (masked) 8259s.
pub const PIC_FIRST: u8 = 0x20;
/// First vector for devices.
pub const DEVICE_FIRST: u8 = 0x30;
/// Last vector for devices.
pub const DEVICE_LAST: u8 = 0xef;
/// The local APIC's timer.
pub const TIMER: u8 = 0xf0;
/// Another CPU wants a stop, for a panic or the end.
pub const STOP: u8 = 0xf8;
/// Another CPU wants a function called.
pub const CALL: u8 = 0xfc;
/// Another CPU has woken a task here.
pub const RESCHEDULE: u8 = 0xfd;
/// The local APIC found an error.
pub const APIC_ERROR: u8 = 0xfe;
/// An interrupt that went away before it was taken; it gets no end of interrupt.
pub const SPURIOUS: u8 = 0xff;

/// The machine's own vectors, in the order of `/proc/interrupts`.
pub const NAMED: [u8; 6] = [TIMER, SPURIOUS, RESCHEDULE, CALL, STOP, APIC_ERROR];

/// What `/proc/interrupts` calls the machine's own vectors.
pub const fn name(vector: u8) -> &'static str {
    match vector {
        TIMER => "Local timer interrupts",
        STOP => "Stop interrupts",
        CALL => "Function call interrupts",
        RESCHEDULE => "Rescheduling interrupts",
        APIC_ERROR => "APIC errors",
        SPURIOUS => "Spurious interrupts",
        _ => "device",
    }
}

/// The three letters before their counts; Linux's, where it has them.
pub const fn label(vector: u8) -> &'static str {
    match vector {
        TIMER => "LOC",
        STOP => "STP",
        CALL => "CAL",
        RESCHEDULE => "RES",
        APIC_ERROR => "APE",
        SPURIOUS => "SPU",
        _ => "???",
    }
}
