//! The registers of a slot, in the Express capability of the port above it.

use core::time::Duration;

use bitflags::bitflags;
use executor::time::{Instant, sleep};

use crate::device::DriverError;
use crate::pci::{Config, Function, capability_id};

// Registers, from the start of the capability.
const FLAGS: u16 = 0x02;
const LINK_CAPABILITIES: u16 = 0x0c;
const LINK_STATUS: u16 = 0x12;
const SLOT_CAPABILITIES: u16 = 0x14;
const SLOT_CONTROL: u16 = 0x18;
const SLOT_STATUS: u16 = 0x1a;

/// A port with a slot, not one that is wired to a device.
const HAS_SLOT: u16 = 1 << 8;
/// Kinds of ports: of the root complex, and of a switch.
const KIND: u16 = 0xf << 4;
const ROOT_PORT: u16 = 4 << 4;
const DOWNSTREAM_PORT: u16 = 6 << 4;
/// The link says whether it is up.
const LINK_TELLS: u32 = 1 << 20;
const LINK_IS_UP: u16 = 1 << 13;
// Slot capabilities.
const HAS_BUTTON: u32 = 1 << 0;
const HAS_POWER: u32 = 1 << 1;
const HOTPLUG: u32 = 1 << 6;
const NO_COMPLETION: u32 = 1 << 18;
// Slot control: what interrupts, the indicator, the power.
const TELL_BUTTON: u16 = 1 << 0;
const TELL_POWER_FAULT: u16 = 1 << 1;
const TELL_PRESENCE: u16 = 1 << 3;
const TELL_COMPLETION: u16 = 1 << 4;
const INTERRUPT: u16 = 1 << 5;
const INDICATOR: u16 = 0b11 << 8;
const POWER_OFF: u16 = 1 << 10;
const TELL_LINK: u16 = 1 << 12;
/// Slot status, besides [`Events`]: a card is in the slot.
const PRESENT: u16 = 1 << 6;
/// A command was carried out.
const COMPLETED: u16 = 1 << 4;

bitflags! {
    /// What has happened at a slot.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u16 {
        /// Its button was pressed.
        const BUTTON = 1 << 0;
        /// Its power has failed.
        const POWER_FAULT = 1 << 1;
        /// A card has come or gone.
        const PRESENCE = 1 << 3;
        /// The link has come up or gone down.
        const LINK = 1 << 8;
    }
}

/// What the slot's lamp says to whoever stands before it.
#[derive(Clone, Copy, Debug)]
pub enum Lamp {
    /// The card is in use: hands off.
    On = 1,
    /// Something is about to happen.
    Blinks = 2,
    /// The card may be taken out.
    Off = 3,
}

/// A command takes no longer than this, nor does a link to come up.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// From when a link is up until what is behind it may be asked.
const SETTLING: Duration = Duration::from_millis(100);
/// Power that was switched off is not switched on sooner.
const DISCHARGING: Duration = Duration::from_secs(1);

/// A slot that can be plugged.
pub struct Slot {
    config: Config,
    at: u16,
    capabilities: u32,
}

impl Slot {
    /// The slot beneath `port`, if it is a port with a slot that can be plugged.
    pub fn of(port: &Function) -> Option<Self> {
        port.secondary_bus()?;
        let at = port.capability(capability_id::EXPRESS)?;
        let config = port.config().clone();
        let flags: u16 = config.read(at + FLAGS);
        let capabilities: u32 = config.read(at + SLOT_CAPABILITIES);
        let is_port = matches!(flags & KIND, ROOT_PORT | DOWNSTREAM_PORT);
        let plugs = is_port && flags & HAS_SLOT != 0 && capabilities & HOTPLUG != 0;
        plugs.then_some(Self {
            config,
            at,
            capabilities,
        })
    }

    fn read(&self, register: u16) -> u16 {
        self.config.read(self.at + register)
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }

    /// Has the slot interrupt for what happens from now on. What happened before is forgotten: look for yourself.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub async fn listen(&self) -> Result<(), DriverError> {
        self.take_events()?;
        let button = if self.has(HAS_BUTTON) { TELL_BUTTON } else { 0 };
        let fault = if self.has(HAS_POWER) {
            TELL_POWER_FAULT
        } else {
            0
        };
        // Commands are looked after by who gives them.
        let told = button | fault | TELL_PRESENCE | TELL_LINK;
        let all = INTERRUPT | TELL_COMPLETION | told;
        self.command(all, INTERRUPT | told).await
    }

    /// No longer interrupts.
    pub fn silence(&self) {
        let control = self.read(SLOT_CONTROL) & !INTERRUPT;
        self.config.write(self.at + SLOT_CONTROL, control);
    }

    /// What has happened since this was last asked. It can be nothing.
    ///
    /// # Errors
    /// [`DriverError::Gone`]; [`DriverError::Lied`] if the slot does not forget what it has told.
    pub fn take_events(&self) -> Result<Events, DriverError> {
        let mut all = Events::empty();
        // What comes while others are forgotten would not interrupt again.
        for _ in 0..16 {
            let status = self.read(SLOT_STATUS);
            if status == u16::MAX {
                return Err(DriverError::Gone);
            }
            let new = Events::from_bits_truncate(status);
            if new.is_empty() {
                return Ok(all);
            }
            all |= new;
            self.config.write(self.at + SLOT_STATUS, new.bits());
        }
        Err(DriverError::Lied("its slot's status does not go away"))
    }

    /// Whether a card is in the slot.
    pub fn has_card(&self) -> bool {
        let status = self.read(SLOT_STATUS);
        status != u16::MAX && status & PRESENT != 0
    }

    /// Sets the lamp.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub async fn set_lamp(&self, lamp: Lamp) -> Result<(), DriverError> {
        self.command(INDICATOR, (lamp as u16) << 8).await
    }

    /// Gives the card power and waits until it can be asked.
    ///
    /// # Errors
    /// [`DriverError::Silent`] if its link does not come up; [`DriverError::Gone`].
    pub async fn power_on(&self) -> Result<(), DriverError> {
        let on = (Lamp::On as u16) << 8;
        self.command(POWER_OFF | INDICATOR, on).await?;
        let link: u32 = self.config.read(self.at + LINK_CAPABILITIES);
        if link & LINK_TELLS == 0 {
            sleep(PATIENCE).await;
            return Ok(());
        }
        let begin = Instant::now();
        while self.read(LINK_STATUS) & LINK_IS_UP == 0 {
            if begin.elapsed() > PATIENCE {
                return Err(DriverError::Silent);
            }
            sleep(PAUSE).await;
        }
        sleep(SETTLING).await;
        Ok(())
    }

    /// Takes the card's power: it may be taken out then.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub async fn power_off(&self) -> Result<(), DriverError> {
        let off = (Lamp::Off as u16) << 8;
        let power = if self.has(HAS_POWER) { POWER_OFF } else { 0 };
        self.command(power | INDICATOR, power | off).await?;
        sleep(DISCHARGING).await;
        Ok(())
    }

    /// Changes `bits` of the control register to `value`, and waits until that is done.
    ///
    /// # Errors
    /// [`DriverError::Gone`]. A slot that does not say that it is done is taken to be.
    async fn command(&self, bits: u16, value: u16) -> Result<(), DriverError> {
        let before = self.read(SLOT_CONTROL);
        if before == u16::MAX {
            return Err(DriverError::Gone);
        }
        self.config.write(self.at + SLOT_STATUS, COMPLETED);
        let control = before & !bits | value;
        self.config.write(self.at + SLOT_CONTROL, control);
        if self.has(NO_COMPLETION) {
            return Ok(());
        }
        let begin = Instant::now();
        loop {
            let status = self.read(SLOT_STATUS);
            if status == u16::MAX {
                return Err(DriverError::Gone);
            }
            if status & COMPLETED != 0 {
                self.config.write(self.at + SLOT_STATUS, COMPLETED);
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                let port = self.config.address();
                log::warn!("pciehp {port}: command {control:#06x} is not said to be done");
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }
}
