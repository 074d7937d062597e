//! A simulated 16550: registers with their side effects, and an interrupt output.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use executor::irq::IrqEvent;

use super::registers::{InterruptEnable as Ie, LineControl, LineStatus, Register, Registers};

#[derive(Default)]
pub(super) struct Chip {
    pub(super) enabled: u8,
    pub(super) line_control: u8,
    pub(super) modem_control: u8,
    pub(super) modem_status: u8,
    pub(super) divisor: u16,
    /// Received bytes with the status bits that come with each.
    received: VecDeque<(u8, u8)>,
    overrun: bool,
    /// In the transmit FIFO, and on the wire.
    pub(super) sending: VecDeque<u8>,
    pub(super) wire: Vec<u8>,
    transmit_pending: bool,
    /// The level of the interrupt output.
    level: bool,
    /// Bytes that the driver wrote into a full FIFO.
    pub(super) lost_output: usize,
    pub(super) absent: bool,
}

impl Chip {
    fn cause(&self) -> u8 {
        let enabled = Ie::from_bits_truncate(self.enabled);
        let errors = self.received.front().is_some_and(|&(_, s)| s != 0) || self.overrun;
        if enabled.contains(Ie::LINE_STATUS) && errors {
            6
        } else if enabled.contains(Ie::RECEIVED) && !self.received.is_empty() {
            4
        } else if enabled.contains(Ie::TRANSMITTER_EMPTY) && self.transmit_pending {
            2
        } else if enabled.contains(Ie::MODEM_STATUS) && self.modem_status & 0xf != 0 {
            0
        } else {
            1
        }
    }
}

/// A chip with its interrupt line, which is edge triggered as on a PC.
#[derive(Clone)]
pub(super) struct SimulatedUart {
    pub(super) chip: Arc<Mutex<Chip>>,
    pub(super) interrupt: Arc<IrqEvent>,
}

impl SimulatedUart {
    pub(super) fn new() -> Self {
        SimulatedUart {
            chip: Arc::default(),
            interrupt: Arc::new(IrqEvent::new()),
        }
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Chip) -> T) -> T {
        let mut chip = self.chip.lock().unwrap();
        let result = f(&mut chip);
        let level = chip.cause() != 1 && chip.modem_control & 8 != 0;
        let edge = level && !core::mem::replace(&mut chip.level, level);
        chip.level = level;
        drop(chip);
        if edge {
            self.interrupt.raise();
        }
        result
    }

    /// The wire delivers a byte with error bits.
    pub(super) fn deliver(&self, byte: u8, status: LineStatus) {
        self.with(|chip| {
            if chip.received.len() == 16 {
                chip.overrun = true;
            } else {
                chip.received.push_back((byte, status.bits()));
            }
        });
    }

    /// The wire takes up to `n` bytes.
    pub(super) fn take_from_fifo(&self, n: usize) {
        self.with(|chip| {
            let n = n.min(chip.sending.len());
            chip.wire
                .extend(chip.sending.drain(..n).collect::<Vec<_>>());
            chip.transmit_pending |= n > 0 && chip.sending.is_empty();
        });
    }
}

impl Registers for SimulatedUart {
    fn read(&self, register: Register) -> u8 {
        self.with(|chip| {
            let divisor_open =
                LineControl::from_bits_truncate(chip.line_control).contains(LineControl::DLAB);
            match register {
                _ if chip.absent => 0xff,
                Register::Data if divisor_open => chip.divisor as u8,
                Register::Data => chip.received.pop_front().map_or(0, |(byte, _)| byte),
                Register::InterruptEnable if divisor_open => (chip.divisor >> 8) as u8,
                Register::InterruptEnable => chip.enabled,
                Register::InterruptIdent => {
                    let cause = chip.cause();
                    if cause == 2 {
                        chip.transmit_pending = false;
                    }
                    0xc0 | cause
                }
                Register::LineControl => chip.line_control,
                Register::ModemControl => chip.modem_control,
                Register::LineStatus => {
                    let mut status = chip.received.front().map_or(0, |&(_, s)| s | 1);
                    if let Some(front) = chip.received.front_mut() {
                        front.1 = 0;
                    }
                    if core::mem::take(&mut chip.overrun) {
                        status |= LineStatus::OVERRUN.bits();
                    }
                    if chip.sending.is_empty() {
                        status |= (LineStatus::TRANSMIT_EMPTY | LineStatus::IDLE).bits();
                    }
                    status
                }
                Register::ModemStatus => {
                    let status = chip.modem_status;
                    chip.modem_status &= 0xf0;
                    status
                }
                Register::Scratch => 0,
            }
        })
    }

    fn write(&self, register: Register, value: u8) {
        self.with(|chip| {
            let divisor_open =
                LineControl::from_bits_truncate(chip.line_control).contains(LineControl::DLAB);
            match register {
                Register::Data if divisor_open => {
                    chip.divisor = chip.divisor & 0xff00 | u16::from(value)
                }
                Register::Data if chip.sending.len() == 16 => chip.lost_output += 1,
                Register::Data => {
                    chip.transmit_pending = false;
                    chip.sending.push_back(value);
                }
                Register::InterruptEnable if divisor_open => {
                    chip.divisor = chip.divisor & 0xff | u16::from(value) << 8;
                }
                Register::InterruptEnable => {
                    let newly = value & !chip.enabled & Ie::TRANSMITTER_EMPTY.bits() != 0;
                    chip.transmit_pending |= newly && chip.sending.is_empty();
                    chip.enabled = value & 0xf;
                }
                Register::LineControl => chip.line_control = value,
                Register::ModemControl => chip.modem_control = value,
                _ => {}
            }
        });
    }
}
