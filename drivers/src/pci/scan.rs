//! Finding functions.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Address, ConfigSpace, Function, Host, swizzle};

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
                let route = |pin| route(address, bridges, pin);
                let Some(function) = Function::probe(self.space, address, self.host, route) else {
                    if number == 0 {
                        break;
                    }
                    continue;
                };
                let only = number == 0 && !function.is_multifunction();
                let behind = function.secondary_bus();
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

/// Where pin `pin` of the function at `from` arrives on the root bus.
fn route(from: Address, bridges: &[Address], pin: u8) -> (Address, u8) {
    bridges
        .iter()
        .rev()
        .fold((from, pin), |(below, pin), bridge| {
            (*bridge, swizzle(below.device, pin))
        })
}
