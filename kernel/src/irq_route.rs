//! Where interrupts go: the layout of an I/O APIC's redirection entry, and of a message.
//!
//! Source: Intel 82093AA data sheet, 3.2.4; Intel SDM 3A, 11.11.

/// Where a line goes and how it is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The vector it raises.
    pub vector: u8,
    /// APIC identity of the CPU it goes to.
    pub target: u32,
    /// How the device drives it.
    pub wire: Wire,
    /// Whether it is held off.
    pub masked: bool,
}

/// How a device drives its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Which line.
    pub gsi: u32,
    /// Asserted by a low level rather than a high one.
    pub active_low: bool,
    /// Asserted as long as the device wants something, rather than once.
    pub level: bool,
}

impl Route {
    /// The bit of the lower half that holds the line off.
    pub const MASKED: u32 = 1 << 16;
    const ACTIVE_LOW: u32 = 1 << 13;
    const LEVEL: u32 = 1 << 15;

    const fn flag(on: bool, bit: u32) -> u32 {
        if on { bit } else { 0 }
    }

    /// The lower and the upper half of the redirection entry: fixed delivery to one CPU by its identity.
    pub const fn encode(self) -> [u32; 2] {
        let low = self.vector as u32
            | Self::flag(self.wire.active_low, Self::ACTIVE_LOW)
            | Self::flag(self.wire.level, Self::LEVEL)
            | Self::flag(self.masked, Self::MASKED);
        [low, self.target << 24]
    }
}

/// What a device writes, and where, to interrupt a CPU without a line (MSI, MSI-X).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it is written.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

impl Message {
    const BASE: u64 = 0xfee0_0000;

    /// The message that raises `vector`, as an edge, on the CPU with APIC identity `target` (below 256).
    pub const fn new(target: u32, vector: u8) -> Self {
        Self {
            address: Self::BASE | (target as u64 & 0xff) << 12,
            data: vector as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_cpu_and_the_vector() {
        let message = Message::new(5, 0x41);
        assert_eq!((message.address, message.data), (0xfee0_5000, 0x41));
    }

    #[test]
    fn entries_as_the_data_sheet_has_them() {
        let wire = Wire {
            gsi: 9,
            active_low: true,
            level: true,
        };
        let route = Route {
            vector: 0x31,
            target: 3,
            wire,
            masked: true,
        };
        assert_eq!(route.encode(), [0x0001_a031, 0x0300_0000]);
        let wire = Wire {
            gsi: 4,
            active_low: false,
            level: false,
        };
        assert_eq!(
            Route {
                vector: 0xef,
                target: 0,
                wire,
                masked: false
            }
            .encode(),
            [0xef, 0]
        );
    }
}
