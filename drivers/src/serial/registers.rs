//! The register file of a 16550 UART.
//!
//! Source: National Semiconductor PC16550D data sheet, section 8.

use bitflags::bitflags;

/// A register by its offset from the port's base. What it is depends on the direction and on [`LineControl::DLAB`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Register {
    /// Received byte, byte to send; low half of the divisor under DLAB.
    Data = 0,
    /// [`InterruptEnable`]; high half of the divisor under DLAB.
    InterruptEnable = 1,
    /// Why it interrupts (read), FIFO control (write).
    InterruptIdent = 2,
    /// [`LineControl`].
    LineControl = 3,
    /// [`ModemControl`].
    ModemControl = 4,
    /// [`LineStatus`]; reading clears the error bits.
    LineStatus = 5,
    /// [`ModemStatus`]; reading clears the change bits.
    ModemStatus = 6,
    /// A byte without meaning.
    Scratch = 7,
}

/// Access to the registers of one chip: port I/O on the machine, a simulated chip in tests.
pub trait Registers: Send + Sync {
    /// Reads a register, with the side effects that has.
    fn read(&self, register: Register) -> u8;
    /// Writes a register.
    fn write(&self, register: Register, value: u8);
}

bitflags! {
    /// Which events interrupt.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InterruptEnable: u8 {
        /// A byte was received, or waits for long.
        const RECEIVED = 1 << 0;
        /// The transmitter takes bytes.
        const TRANSMITTER_EMPTY = 1 << 1;
        /// An error or a break was received.
        const LINE_STATUS = 1 << 2;
        /// A modem line changed.
        const MODEM_STATUS = 1 << 3;
    }
}

bitflags! {
    /// The format of characters.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LineControl: u8 {
        /// Data bits less five.
        const WORD_LENGTH = 0b11;
        /// Two stop bits.
        const STOP_2 = 1 << 2;
        /// A parity bit, odd unless [`LineControl::EVEN`].
        const PARITY = 1 << 3;
        /// Even parity.
        const EVEN = 1 << 4;
        /// The parity bit is constant.
        const STICK = 1 << 5;
        /// Holds the line low.
        const BREAK = 1 << 6;
        /// The first two registers are the divisor.
        const DLAB = 1 << 7;
    }
}

bitflags! {
    /// What we tell the other side.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ModemControl: u8 {
        /// Data terminal ready.
        const DTR = 1 << 0;
        /// Request to send.
        const RTS = 1 << 1;
        /// First user output.
        const OUT1 = 1 << 2;
        /// Second user output: lets the PC's interrupt through.
        const OUT2 = 1 << 3;
        /// Local loopback.
        const LOOP = 1 << 4;
    }
}

bitflags! {
    /// The state of receiver and transmitter.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LineStatus: u8 {
        /// A received byte waits.
        const DATA_READY = 1 << 0;
        /// Received bytes were lost.
        const OVERRUN = 1 << 1;
        /// The waiting byte has wrong parity.
        const PARITY_ERROR = 1 << 2;
        /// The waiting byte has no stop bit.
        const FRAMING_ERROR = 1 << 3;
        /// The waiting byte is a break.
        const BREAK = 1 << 4;
        /// The transmit FIFO is empty.
        const TRANSMIT_EMPTY = 1 << 5;
        /// The transmit FIFO and the shift register are empty.
        const IDLE = 1 << 6;
    }
}

bitflags! {
    /// What the other side tells us.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ModemStatus: u8 {
        /// CTS changed.
        const CTS_CHANGED = 1 << 0;
        /// DSR changed.
        const DSR_CHANGED = 1 << 1;
        /// The ring ended.
        const RING_ENDED = 1 << 2;
        /// The carrier changed.
        const DCD_CHANGED = 1 << 3;
        /// Clear to send.
        const CTS = 1 << 4;
        /// Data set ready.
        const DSR = 1 << 5;
        /// Ring indicator.
        const RING = 1 << 6;
        /// Carrier.
        const DCD = 1 << 7;
    }
}

/// In the identification register: nothing interrupts.
pub(super) const IIR_NONE: u8 = 1;
/// In the identification register: the cause, of several the most urgent.
pub(super) const IIR_CAUSE: u8 = 0xf;
/// A modem line changed.
pub(super) const IIR_MODEM: u8 = 0;
/// The transmitter takes bytes; reading this cause answers it.
pub(super) const IIR_TRANSMIT: u8 = 2;
/// In the identification register: the FIFOs are on and good.
pub(super) const IIR_FIFO: u8 = 0xc0;

/// FIFO control: on, both emptied, interrupt at eight received bytes.
pub(super) const FCR_ENABLE: u8 = 0b1000_0111;
