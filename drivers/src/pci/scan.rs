//! Finding functions.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Address, ConfigSpace, Function, Host, offset};

/// Bridges behind bridges that are followed.
const MAX_DEPTH: usize = 16;

/// Finds all functions on `bus` of `segment` and on the buses behind its bridges, as the firmware has numbered them, a
/// bridge before what is behind it.
///
/// # Context
/// Task, before the functions are in use.
pub fn scan(
    space: &Arc<dyn ConfigSpace>,
    host: &Arc<dyn Host>,
    segment: u16,
    bus: u8,
) -> Vec<Function> {
    let mut scan = Scan {
        space,
        host,
        segment,
        seen: [false; 256],
        found: Vec::new(),
    };
    scan.bus(bus, &mut Vec::new());
    scan.found
}

/// Finds the functions behind `bridge`, whose bus was empty so far. A bridge among them that has no number for its bus yet is
/// found, but not what is behind it.
///
/// # Context
/// Task.
pub fn scan_behind(bridge: &Function) -> Vec<Function> {
    let config = bridge.config();
    let (first, last): (u8, u8) = (
        config.read(offset::SECONDARY_BUS),
        config.read(offset::SUBORDINATE_BUS),
    );
    let mut seen = [true; 256];
    for bus in first.max(1)..=last {
        seen[usize::from(bus)] = false;
    }
    let mut scan = Scan {
        space: config.space(),
        host: bridge.host(),
        segment: bridge.address().segment,
        seen,
        found: Vec::new(),
    };
    let mut bridges = bridge.bridges().to_vec();
    bridges.push(bridge.address());
    scan.bus(first, &mut bridges);
    scan.found
}

struct Scan<'a> {
    space: &'a Arc<dyn ConfigSpace>,
    host: &'a Arc<dyn Host>,
    segment: u16,
    /// Buses that were looked at: bridges may say what they like.
    seen: [bool; 256],
    found: Vec<Function>,
}

impl Scan<'_> {
    /// Looks at a bus that is reached through `bridges`, the one on the root bus first.
    fn bus(&mut self, bus: u8, bridges: &mut Vec<Address>) {
        if core::mem::replace(&mut self.seen[usize::from(bus)], true) || bridges.len() > MAX_DEPTH {
            return;
        }
        self.space.open_bus(bus);
        for device in 0..32 {
            for number in 0..8 {
                let address = Address {
                    segment: self.segment,
                    ..Address::new(bus, device, number)
                };
                let Some(function) = Function::probe(self.space, address, self.host, bridges)
                else {
                    if number == 0 {
                        break;
                    }
                    continue;
                };
                let only = number == 0 && !function.is_multifunction();
                let behind = function.secondary_bus();
                if behind.is_some() {
                    function.open_bridge();
                }
                self.found.push(function);
                if let Some(behind) = behind {
                    bridges.push(address);
                    self.bus(behind, bridges);
                    bridges.pop();
                }
                if only {
                    break;
                }
            }
        }
    }
}
