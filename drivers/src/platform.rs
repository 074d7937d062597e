//! Devices that no bus describes: the firmware's tables, or the kind of the machine, say that they are there.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::device::{Describe, DriverError};
use crate::interrupt::Interrupt;
use crate::io::Region;

/// The bus of such devices.
pub type PlatformBus = crate::device::Bus<Platform>;
/// One of them with its driver.
pub type PlatformDevice = crate::device::Device<Platform>;
/// A driver of such devices.
pub type PlatformDriver = crate::device::Driver<Platform>;

/// Routes an interrupt, under the name of who wants it.
type Route = Box<dyn Fn(&'static str) -> Option<Interrupt> + Send + Sync>;

/// What is known of a device: what it is, where its registers are, how it interrupts.
pub struct Platform {
    id: &'static str,
    registers: Vec<Region>,
    interrupts: Vec<Route>,
}

impl Platform {
    /// A device that drivers know as `id`, so far without registers and interrupts.
    pub fn new(id: &'static str) -> Self {
        Self {
            id,
            registers: Vec::new(),
            interrupts: Vec::new(),
        }
    }

    /// With one more block of registers.
    #[must_use]
    pub fn registers(mut self, region: Region) -> Self {
        self.registers.push(region);
        self
    }

    /// With one more interrupt, which `route` asks for when a driver wants it.
    #[must_use]
    pub fn interrupt_by(
        mut self,
        route: impl Fn(&'static str) -> Option<Interrupt> + Send + Sync + 'static,
    ) -> Self {
        self.interrupts.push(Box::new(route));
        self
    }

    /// What drivers know it as.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// Its block of registers number `index`, of at least `len` bytes.
    ///
    /// # Errors
    /// [`DriverError::NoRegisters`].
    pub fn region(&self, index: usize, len: usize) -> Result<Region, DriverError> {
        let region = self.registers.get(index).filter(|all| all.len() >= len);
        region.cloned().ok_or(DriverError::NoRegisters)
    }

    /// Its interrupt number `index`, asked for under the name `name`.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// [`DriverError::NoInterrupt`].
    pub fn interrupt(&self, index: usize, name: &'static str) -> Result<Interrupt, DriverError> {
        let route = self.interrupts.get(index);
        route
            .and_then(|route| route(name))
            .ok_or(DriverError::NoInterrupt)
    }
}

impl Describe for Platform {
    fn attributes(&self) -> Vec<(&'static str, String)> {
        alloc::vec![("modalias", alloc::format!("platform:{}", self.id))]
    }

    fn uevent(&self) -> Vec<String> {
        alloc::vec![alloc::format!("MODALIAS=platform:{}", self.id)]
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
