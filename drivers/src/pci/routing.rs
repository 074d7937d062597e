//! Where the interrupt pins of slots arrive.
//!
//! Pins are wired together a step further at each slot, so that the functions of many slots spread over four lines; a
//! bridge passes its slots' pins on in the same way (PCI-to-PCI Bridge 1.2, 9.1). Which inputs of the I/O APIC the four
//! lines of the root bus lead to is the chipset's affair, told by ACPI's `_PRT` in byte code. The two chipsets that are
//! known here need no interpreter for it.

use super::PinInterrupt;

/// The pin at which pin `pin` of device `device` arrives one bus further up.
pub const fn swizzle(device: u8, pin: u8) -> u8 {
    (device + pin) % 4
}

/// How a chipset wires the lines of its root bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// As the firmware has routed each function for the legacy controllers: right for the PIIX3, which wires the I/O APIC
    /// to the same lines, and a fair guess elsewhere.
    FirmwareLine,
    /// Intel ICH9 (Q35): slots 0 to 24 to inputs 20 to 23 in turn, the chipset's own slots to 16 to 19.
    Ich9,
}

/// Host bridge of the Q35.
const Q35: (u16, u16) = (0x8086, 0x29c0);
/// First slot of the functions inside an ICH9.
const ICH9_OWN: u8 = 25;

impl Router {
    /// The router behind the host bridge with these numbers.
    pub fn of(vendor: u16, device: u16) -> Self {
        match (vendor, device) {
            Q35 => Self::Ich9,
            _ => Self::FirmwareLine,
        }
    }

    /// The input of the I/O APICs where a pin arrives; `None` if it leads nowhere.
    pub fn input(self, pin: PinInterrupt) -> Option<u32> {
        match self {
            Self::Ich9 if pin.root.device < ICH9_OWN => {
                Some(20 + u32::from(swizzle(pin.root.device, pin.pin)))
            }
            Self::Ich9 => Some(16 + u32::from(pin.pin)),
            // 0 and 255 are what the register holds when the firmware has routed nothing.
            Self::FirmwareLine => match pin.firmware_line {
                0 | 16.. => None,
                line => Some(line.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Address;

    fn pin(device: u8, pin: u8, line: u8) -> PinInterrupt {
        PinInterrupt {
            root: Address::new(0, device, 0),
            pin,
            firmware_line: line,
        }
    }

    #[test]
    fn q35_spreads_slots_over_four_inputs() {
        // As QEMU's DSDT has them: LNKE to LNKH, in turn.
        let inputs: std::vec::Vec<_> = (0..5)
            .map(|device| Router::Ich9.input(pin(device, 0, 10)).unwrap())
            .collect();
        assert_eq!(inputs, [20, 21, 22, 23, 20]);
        assert_eq!(Router::Ich9.input(pin(31, 1, 10)), Some(17));
    }

    #[test]
    fn elsewhere_the_firmware_knows() {
        assert_eq!(Router::FirmwareLine.input(pin(3, 0, 11)), Some(11));
        assert_eq!(Router::FirmwareLine.input(pin(3, 0, 0xff)), None);
        assert_eq!(Router::FirmwareLine.input(pin(3, 0, 0)), None);
    }
}
