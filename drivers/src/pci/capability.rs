//! The list of a function's capabilities.

use super::{Config, offset};

/// Identities of capabilities (PCI Code and ID Assignment, 2).
#[expect(missing_docs, reason = "the names are the specification's")]
pub mod id {
    pub const POWER_MANAGEMENT: u8 = 0x01;
    pub const MSI: u8 = 0x05;
    pub const VENDOR: u8 = 0x09;
    pub const EXPRESS: u8 = 0x10;
    pub const MSI_X: u8 = 0x11;
}

/// Bit of the status register: there is a list.
const HAS_LIST: u16 = 1 << 4;
/// The list lies behind the header.
const FIRST: u8 = 0x40;
/// More entries than fit: the list loops.
const MOST: usize = (256 - FIRST as usize) / 4;

/// A capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is, one of [`id`].
    pub id: u8,
    /// Where its registers start.
    pub offset: u16,
}

/// Goes through a function's capabilities; ends where the list does, leaves configuration space, or has gone on for longer
/// than it can be.
#[derive(Debug)]
pub struct Capabilities<'a> {
    config: &'a Config,
    next: u8,
    left: usize,
}

impl<'a> Capabilities<'a> {
    pub(super) fn new(config: &'a Config) -> Self {
        let has_list = config.read::<u16>(offset::STATUS) & HAS_LIST != 0;
        Self {
            config,
            next: if has_list {
                config.read(offset::CAPABILITIES)
            } else {
                0
            },
            left: MOST,
        }
    }
}

impl Iterator for Capabilities<'_> {
    type Item = Capability;

    fn next(&mut self) -> Option<Capability> {
        let at = self.next & !0b11;
        if at < FIRST || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let offset = u16::from(at);
        let id = self.config.read(offset);
        self.next = self.config.read(offset + 1);
        (id != 0xff).then_some(Capability { id, offset })
    }
}
