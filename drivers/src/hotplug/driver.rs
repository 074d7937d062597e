//! The life of a slot.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use executor::time::timeout;

use super::slot::{Events, Lamp, Slot};
use crate::device::DriverError;
use crate::interrupt::Interrupt;
use crate::pci::{self, PciBus, PciDevice, PciDriver, Window};

/// The driver of ports above slots.
pub static DRIVER: PciDriver = PciDriver {
    name: "pciehp",
    matches: |function| Slot::of(function).is_some(),
    run: |device| Box::pin(run(device)),
};

/// Who has pressed the button may think better of it for so long (6.7.1.5).
const SECOND_THOUGHTS: Duration = Duration::from_secs(5);

async fn run(device: Arc<PciDevice>) -> Result<(), DriverError> {
    let slot = Slot::of(&device).ok_or(DriverError::NotMine)?;
    // Its interrupts are messages.
    device.set_bus_master(true);
    let port = Port {
        bus: device.bus().ok_or(DriverError::Gone)?,
        interrupt: device.interrupt("pciehp")?,
        slot: Silenced(slot),
        device,
    };
    port.slot.0.listen().await?;
    port.device.bound();
    port.serve().await
}

/// A port whose slot is served.
struct Port {
    device: Arc<PciDevice>,
    bus: Arc<PciBus>,
    // Dropped before the interrupt.
    slot: Silenced,
    interrupt: Interrupt,
}

/// A slot that is quiet when its driver goes.
struct Silenced(Slot);

impl Drop for Silenced {
    fn drop(&mut self) {
        self.0.silence();
    }
}

impl Port {
    async fn serve(&self) -> Result<(), DriverError> {
        // What was put in or pulled out while nobody looked.
        let mut happened = Events::PRESENCE;
        loop {
            if happened.contains(Events::POWER_FAULT) {
                log::error!("pciehp {}: the slot's power failed", self.device.name());
            }
            if happened.intersects(Events::PRESENCE | Events::LINK) {
                self.changed().await?;
            } else if happened.contains(Events::BUTTON) {
                happened = self.pressed().await?;
                continue;
            }
            happened = self.events().await?;
        }
    }

    /// Waits until something has happened.
    async fn events(&self) -> Result<Events, DriverError> {
        loop {
            let happened = self.slot.0.take_events();
            self.interrupt.answered();
            match happened? {
                none if none.is_empty() => self.interrupt.wait().await,
                some => return Ok(some),
            };
        }
    }

    /// Whether functions are behind the port, so far as the bus knows.
    fn is_in_use(&self) -> bool {
        !pci::behind(&self.bus, &self.device).is_empty()
    }

    /// A card may have come, or gone, or both.
    async fn changed(&self) -> Result<(), DriverError> {
        let name = self.device.name();
        let has_card = self.slot.0.has_card();
        let functions = pci::behind(&self.bus, &self.device);
        let same = has_card && functions.iter().all(|own| own.is_untouched());
        match (functions.is_empty(), same) {
            (false, true) => return Ok(()),
            (true, _) if !has_card => return Ok(()),
            (true, _) => {}
            (false, false) => {
                log::info!("pciehp {name}: the card is gone");
                pci::remove_behind(&self.bus, &self.device).await;
                self.slot.0.power_off().await?;
            }
        }
        if self.slot.0.has_card() {
            self.plugged().await?;
        }
        Ok(())
    }

    /// The button was pressed: that a card goes, or comes. Gives what has happened meanwhile.
    async fn pressed(&self) -> Result<Events, DriverError> {
        let name = self.device.name();
        let goes = self.is_in_use();
        let what = if goes { "go" } else { "come" };
        log::info!("pciehp {name}: button pressed: the card is to {what}");
        self.slot.0.set_lamp(Lamp::Blinks).await?;
        match timeout(SECOND_THOUGHTS, self.events()).await {
            Err(_) if goes => self.unplugged().await?,
            Err(_) => self.changed().await?,
            Ok(happened) => {
                let happened = happened?;
                log::info!("pciehp {name}: the card is not to {what}");
                let lamp = if goes { Lamp::On } else { Lamp::Off };
                self.slot.0.set_lamp(lamp).await?;
                return Ok(happened.difference(Events::BUTTON));
            }
        }
        Ok(Events::empty())
    }

    /// A card is there that nobody knows: gives it power, places and drivers.
    async fn plugged(&self) -> Result<(), DriverError> {
        let name = self.device.name();
        match self.slot.0.power_on().await {
            Err(DriverError::Silent) => {
                log::error!("pciehp {name}: the card's link does not come up");
                return self.slot.0.power_off().await;
            }
            other => other?,
        }
        let mut functions = pci::scan_behind(&self.device);
        log::info!("pciehp {name}: a card of {} functions", functions.len());
        pci::place(&Window::of(self.device.config()), &mut functions);
        pci::add(&self.bus, functions);
        // Of its own doing.
        self.slot.0.take_events().map(drop)
    }

    /// Takes a card from its drivers in good order, and its power.
    async fn unplugged(&self) -> Result<(), DriverError> {
        pci::remove_behind(&self.bus, &self.device).await;
        self.slot.0.power_off().await?;
        log::info!("pciehp {}: the card may go", self.device.name());
        // Of its own doing, unless somebody was quick: that one is seen to at once.
        let happened = self.slot.0.take_events()?;
        if happened.contains(Events::PRESENCE) && self.slot.0.has_card() {
            self.plugged().await?;
        }
        Ok(())
    }
}
