//! A model of a PCI Express port with a slot whose card can be changed, as QEMU's `pcie-root-port`, with faults.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::{Sender, SimulatedFunction, SimulatedPci};
use crate::pci::{Address, capability_id, offset};

/// Where its Express capability is, and in it the registers that change.
const EXPRESS: u8 = 0x40;
const LINK_STATUS: u16 = 0x52;
const SLOT_CONTROL: u16 = 0x58;
const SLOT_STATUS: u16 = 0x5a;
/// Where its MSI capability is.
const MSI: u8 = 0x80;

// Slot control.
const INTERRUPT: u16 = 1 << 5;
const LAMP: u16 = 0b11 << 8;
const LAMP_ON: u16 = 0b01 << 8;
const POWER_OFF: u16 = 1 << 10;
// Slot status.
const BUTTON: u16 = 1 << 0;
const PRESENCE: u16 = 1 << 3;
const COMPLETED: u16 = 1 << 4;
const PRESENT: u16 = 1 << 6;
const LINK: u16 = 1 << 8;
const LINK_IS_UP: u16 = 1 << 13;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlotFaults {
    /// It never says that it has carried out a command.
    pub silent: bool,
    /// The link of a card that is put in does not come up.
    pub no_link: bool,
    /// It does not forget what it has told.
    pub stuck: bool,
}

/// The port, plugged into a simulated machine. The bus behind it has 1 MiB for the registers of its card.
#[derive(Clone)]
pub struct SimulatedSlot {
    machine: Arc<SimulatedPci>,
    port: Arc<SimulatedFunction>,
    sender: Arc<Sender>,
    /// Where its card is.
    card: Address,
    faults: Arc<Mutex<SlotFaults>>,
}

impl SimulatedSlot {
    /// Plugs a port with an empty slot in, which is bus `behind`.
    pub fn plug(machine: &Arc<SimulatedPci>, address: Address, behind: u8) -> Self {
        let port = SimulatedFunction::new(0x1b36, 0x000c, 0x060400);
        port.set(offset::HEADER_TYPE, &[1]);
        port.set(offset::SECONDARY_BUS, &[behind, behind]);
        let (base, limit) = (0xe100_u16 + 0x10 * u16::from(behind), 0xe100_u16);
        let limit = limit + 0x10 * u16::from(behind);
        port.set(offset::MEMORY_BASE, &base.to_le_bytes());
        port.set(offset::MEMORY_LIMIT, &limit.to_le_bytes());
        // A root port with a slot; a link that tells; button, power, lamp, and plugged while the machine runs.
        let mut express = [0; 0x1a];
        express[..2].copy_from_slice(&0x0142_u16.to_le_bytes());
        express[0x0a..0x0e].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        express[0x12..0x16].copy_from_slice(&0x53_u32.to_le_bytes());
        express[0x16..0x18].copy_from_slice(&(POWER_OFF | LAMP).to_le_bytes());
        port.capability(EXPRESS, capability_id::EXPRESS, &express);
        port.capability(MSI, capability_id::MSI, &[0x80, 0]);
        let slot = Self {
            machine: machine.clone(),
            port: machine.plug(address, port),
            sender: Arc::new(Sender::msi(machine, address, MSI.into())),
            card: Address::new(behind, 0, 0),
            faults: Arc::default(),
        };
        let model = slot.clone();
        slot.port
            .set_model(move |register, value| model.write(register, value as u16));
        slot
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: SlotFaults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// Puts in the card that the machine has at the slot's address, and presses the button as QEMU does.
    pub fn insert(&self) {
        let powered = self.control() & POWER_OFF == 0;
        self.set_powered(powered);
        self.change(SLOT_STATUS, PRESENT, PRESENT);
        if !self.faults.lock().unwrap().no_link {
            self.change(LINK_STATUS, LINK_IS_UP, LINK_IS_UP);
        }
        self.tell(PRESENCE | BUTTON);
    }

    /// Pulls the card out.
    pub fn pull(&self) {
        self.take_out();
        self.tell(PRESENCE | LINK);
    }

    /// Presses the button.
    pub fn press(&self) {
        self.tell(BUTTON);
    }

    /// Whether a card is in the slot.
    pub fn has_card(&self) -> bool {
        self.port.get(SLOT_STATUS) & PRESENT != 0
    }

    /// Whether the slot has power.
    pub fn has_power(&self) -> bool {
        self.control() & POWER_OFF == 0
    }

    /// Whether the lamp says that the card is in use.
    pub fn lamp_is_on(&self) -> bool {
        self.control() & LAMP == LAMP_ON
    }

    /// Pulls the port itself out.
    pub fn pull_port(&self) {
        self.port.pull();
    }

    fn control(&self) -> u16 {
        self.port.get(SLOT_CONTROL)
    }

    fn change(&self, register: u16, bits: u16, value: u16) {
        let value = self.port.get(register) & !bits | value;
        self.port.set(register, &value.to_le_bytes());
    }

    fn set_powered(&self, on: bool) {
        if let Some(card) = self.machine.function(self.card) {
            card.presence().store(on, Ordering::SeqCst);
        }
    }

    fn take_out(&self) {
        self.machine.unplug(self.card);
        self.change(SLOT_STATUS, PRESENT, 0);
        self.change(LINK_STATUS, LINK_IS_UP, 0);
    }

    /// Something has happened: interrupts if it was asked to.
    fn tell(&self, what: u16) {
        self.change(SLOT_STATUS, what, what);
        if self.control() & INTERRUPT != 0 {
            self.sender.raise(0);
        }
    }

    /// The driver writes to configuration space. False if that is none of its registers.
    fn write(&self, register: u16, value: u16) -> bool {
        let faults = *self.faults.lock().unwrap();
        match register {
            SLOT_STATUS if faults.stuck => {}
            SLOT_STATUS => {
                let told = BUTTON | PRESENCE | COMPLETED | LINK;
                self.change(SLOT_STATUS, value & told, 0);
            }
            SLOT_CONTROL => {
                let off = |control: u16| control & POWER_OFF != 0 && control & LAMP == LAMP;
                let before = self.control();
                self.change(SLOT_CONTROL, u16::MAX, value);
                if !faults.silent {
                    self.change(SLOT_STATUS, COMPLETED, COMPLETED);
                }
                self.set_powered(value & POWER_OFF == 0);
                if off(value) && !off(before) && self.has_card() {
                    self.take_out();
                    self.tell(PRESENCE | LINK);
                }
            }
            _ => return false,
        }
        true
    }
}
