//! Interrupt lines of devices: from a wire to a vector to whoever waits.
//!
//! A device's line is asked for once. An edge raises the driver's event and is over; a level line is held off when it
//! fires, since it stays asserted until the driver has dealt with the device, and let through again by [`Line::done`].

use super::irq::{self, Action, Handler};
use super::percpu;
use super::{ioapic, vectors};
use crate::boot::acpi;
use crate::irq_route::{Route, Wire};
use core::sync::atomic::{AtomicU64, Ordering};
use executor::irq::IrqEvent;

const WORDS: usize = 4;

/// A bit for each vector that is in use; those outside the devices' range are from the start.
static USED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// Why a line was not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// No controller has such a line.
    NoSuchLine,
    /// All vectors are in use.
    NoVector,
}

/// A line that leads to a vector. It stays so until [`Line::release`].
#[derive(Clone, Copy, Debug)]
pub struct Line {
    wire: Wire,
    vector: u8,
}

/// How the legacy interrupt `irq` (0 to 15) is wired: as ACPI says, else high and by edge to the line of its number.
pub fn isa(irq: u8) -> Wire {
    let plain = Wire {
        gsi: u32::from(irq),
        active_low: false,
        level: false,
    };
    let wired = acpi::tables().overrides.iter().find(|wire| wire.irq == irq);
    wired.map_or(plain, |wire| Wire {
        gsi: wire.gsi,
        active_low: wire.active_low,
        level: wire.level,
    })
}

/// How a PCI interrupt that arrives at `gsi` is wired: level and low, unless ACPI has a word on that line.
pub fn pci(gsi: u32) -> Wire {
    let wired = acpi::tables()
        .overrides
        .iter()
        .find(|wire| wire.gsi == gsi && wire.level);
    Wire {
        gsi,
        active_low: wired.is_none_or(|wire| wire.active_low),
        level: true,
    }
}

/// Takes a free vector for a device.
///
/// # Context
/// Any.
pub fn allocate_vector() -> Option<u8> {
    (vectors::DEVICE_FIRST..=vectors::DEVICE_LAST).find(|vector| {
        let bit = 1 << (vector % 64);
        USED[usize::from(vector / 64)].fetch_or(bit, Ordering::AcqRel) & bit == 0
    })
}

/// Gives a vector back, which nothing raises any more.
pub fn free_vector(vector: u8) {
    irq::unregister(vector);
    USED[usize::from(vector / 64)].fetch_and(!(1 << (vector % 64)), Ordering::AcqRel);
}

impl Line {
    /// Routes the line of `wire` to the boot CPU and raises `event` when it fires.
    ///
    /// # Context
    /// Task or boot.
    /// # Errors
    /// [`LineError`] if there is no such line or no vector left.
    pub fn request(
        wire: Wire,
        name: &'static str,
        event: &'static IrqEvent,
    ) -> Result<Self, LineError> {
        let action = if wire.level {
            Action::MaskAndRaise(wire.gsi, event)
        } else {
            Action::Raise(event)
        };
        Self::route(wire, name, action)
    }

    /// Routes the line of `wire`, which is an edge, to the boot CPU and calls `handler` when it fires.
    ///
    /// # Context
    /// Task or boot.
    /// # Errors
    /// [`LineError`] if there is no such line or no vector left.
    /// # Panics
    /// If the line is a level: it would fire again at once.
    pub fn request_handler(
        wire: Wire,
        name: &'static str,
        handler: Handler,
    ) -> Result<Self, LineError> {
        assert!(!wire.level, "a level line wants an event");
        Self::route(wire, name, Action::Call(handler))
    }

    fn route(wire: Wire, name: &'static str, action: Action) -> Result<Self, LineError> {
        if !ioapic::has(wire.gsi) {
            return Err(LineError::NoSuchLine);
        }
        let vector = allocate_vector().ok_or(LineError::NoVector)?;
        irq::register(vector, name, action);
        let line = Self { wire, vector };
        line.aim(0);
        Ok(line)
    }

    /// Sends the line to CPU `cpu` from now on.
    ///
    /// # Context
    /// Task or boot.
    pub fn aim(self, cpu: u32) {
        let target = percpu::of(cpu).map_or(0, |area| area.apic_id.load(Ordering::Relaxed) as u32);
        ioapic::set_route(
            self.wire.gsi,
            Route {
                vector: self.vector,
                target,
                wire: self.wire,
                masked: false,
            },
        );
    }

    /// Lets a level line through again, after the driver has dealt with what the device wanted.
    ///
    /// # Context
    /// Any.
    pub fn done(self) {
        if self.wire.level {
            ioapic::set_masked(self.wire.gsi, false);
        }
    }

    /// Holds the line off, or lets it through.
    ///
    /// # Context
    /// Any.
    pub fn set_masked(self, masked: bool) {
        ioapic::set_masked(self.wire.gsi, masked);
    }

    /// The vector that the line raises.
    pub fn vector(self) -> u8 {
        self.vector
    }

    /// Which line it is.
    pub fn gsi(self) -> u32 {
        self.wire.gsi
    }

    /// Holds the line off for good and frees its vector.
    ///
    /// # Context
    /// Task; the driver's future is gone.
    pub fn release(self) {
        ioapic::set_masked(self.wire.gsi, true);
        free_vector(self.vector);
    }
}
