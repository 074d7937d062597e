//! The driver of a 16550 UART, or of its FIFO-less ancestors.

use core::sync::atomic::{AtomicU64, Ordering};

use executor::irq::IrqEvent;
use executor::sync::SpinLock;
use executor::yield_now;

use super::registers::{
    FCR_ENABLE, IIR_CAUSE, IIR_FIFO, IIR_MODEM, IIR_NONE, IIR_TRANSMIT, InterruptEnable,
    LineControl, LineStatus, ModemControl, ModemStatus, Register, Registers,
};
use crate::tty::Termios;
use crate::tty::receive::Received;
use crate::tty::termios::ControlFlags;

/// The PC's UART clock after its fixed division by sixteen: the highest speed.
pub const CLOCK_HZ: u32 = 115_200;

/// Depth of the 16550's FIFOs.
const FIFO_LEN: usize = 16;
/// FIFO loads handed to a chip that takes them at once, for one interrupt.
const LOADS: usize = 16;
/// Interrupt causes handled before the task lets others run.
const BUDGET: usize = 64;

/// The terminal at the upper end of a port.
///
/// Called from the driver's task, with none of the driver's locks held.
pub trait Line: Send + Sync {
    /// Takes received bytes.
    fn received(&self, bytes: &[u8]);
    /// Takes a break or a damaged byte.
    fn received_error(&self, error: Received);
    /// Fills `buf` with the next bytes to send and returns how many there were.
    fn next_output(&self, buf: &mut [u8]) -> usize;
    /// Everything handed out has left the FIFO.
    fn output_sent(&self);
    /// The carrier came or went.
    fn carrier_changed(&self, present: bool);
}

/// What happened on the wire, as `TIOCGICOUNT` reports it.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes received.
    pub received: AtomicU64,
    /// Bytes sent.
    pub sent: AtomicU64,
    /// Times that the chip lost bytes.
    pub overruns: AtomicU64,
    /// Bytes with wrong parity.
    pub parity: AtomicU64,
    /// Bytes without a stop bit.
    pub framing: AtomicU64,
    /// Breaks.
    pub breaks: AtomicU64,
}

/// Registers that cannot be read back safely, or whose bits have several owners.
#[derive(Debug, Default)]
struct Shadow {
    interrupts: InterruptEnable,
    line: LineControl,
    modem: ModemControl,
}

/// One serial port.
///
/// # Context
/// Task. `chip` (a leaf lock) serialises register sequences, so that nobody meets the divisor where data should be.
pub struct Uart16550<R> {
    registers: R,
    chip: SpinLock<Shadow>,
    fifo_len: usize,
    /// What happened on the wire.
    pub counters: Counters,
}

impl<R: Registers> Uart16550<R> {
    /// Looks for a chip behind `registers` and, if there is one, takes it with interrupts off.
    ///
    /// # Context
    /// Boot or task.
    pub fn probe(registers: R) -> Option<Self> {
        use Register as Reg;
        // Where no chip is, the bus floats: the four enable bits do not hold what is written to them.
        for pattern in [0, 0xf] {
            registers.write(Reg::InterruptEnable, pattern);
            if registers.read(Reg::InterruptEnable) != pattern {
                return None;
            }
        }
        registers.write(Reg::InterruptEnable, 0);
        registers.write(Reg::InterruptIdent, FCR_ENABLE);
        let fifo = registers.read(Reg::InterruptIdent) & IIR_FIFO == IIR_FIFO;
        Some(Self {
            registers,
            chip: SpinLock::new(Shadow::default()),
            fifo_len: if fifo { FIFO_LEN } else { 1 },
            counters: Counters::default(),
        })
    }

    /// Turns the port on with `termios`: DTR and RTS raised, interrupts on, old input dropped.
    pub fn start(&self, termios: &Termios) {
        self.registers.write(Register::InterruptIdent, FCR_ENABLE);
        self.configure(termios);
        let mut chip = self.chip.lock();
        for register in [
            Register::LineStatus,
            Register::Data,
            Register::InterruptIdent,
            Register::ModemStatus,
        ] {
            self.registers.read(register);
        }
        chip.modem = ModemControl::DTR | ModemControl::RTS | ModemControl::OUT2;
        self.registers
            .write(Register::ModemControl, chip.modem.bits());
        chip.interrupts = InterruptEnable::RECEIVED
            | InterruptEnable::LINE_STATUS
            | InterruptEnable::MODEM_STATUS;
        self.registers
            .write(Register::InterruptEnable, chip.interrupts.bits());
    }

    /// Puts speed and character format of `termios` in force. Speed 0 drops DTR and RTS.
    pub fn configure(&self, termios: &Termios) {
        let flags = termios.cflag;
        let mut line = LineControl::from_bits_truncate(termios.char_bits() - 5);
        line.set(LineControl::STOP_2, flags.contains(ControlFlags::CSTOPB));
        line.set(LineControl::PARITY, flags.contains(ControlFlags::PARENB));
        line.set(LineControl::EVEN, !flags.contains(ControlFlags::PARODD));
        line.set(LineControl::STICK, flags.contains(ControlFlags::CMSPAR));
        let baud = termios.output_baud();
        let mut chip = self.chip.lock();
        if let Some(divisor) = CLOCK_HZ.saturating_add(baud / 2).checked_div(baud) {
            let [low, high] = (divisor.clamp(1, 0xffff) as u16).to_le_bytes();
            self.registers
                .write(Register::LineControl, (line | LineControl::DLAB).bits());
            self.registers.write(Register::Data, low);
            self.registers.write(Register::InterruptEnable, high);
        }
        line |= chip.line & LineControl::BREAK;
        self.registers.write(Register::LineControl, line.bits());
        self.registers
            .write(Register::InterruptEnable, chip.interrupts.bits());
        chip.line = line;
        chip.modem
            .set(ModemControl::DTR | ModemControl::RTS, baud > 0);
        self.registers
            .write(Register::ModemControl, chip.modem.bits());
    }

    /// Makes the chip ask for output; its interrupt does the rest.
    ///
    /// # Context
    /// Any but a hard interrupt.
    pub fn start_output(&self) {
        let mut chip = self.chip.lock();
        self.enable_transmit_interrupt(&mut chip, true);
    }

    /// Starts or ends a break.
    pub fn set_break(&self, on: bool) {
        let mut chip = self.chip.lock();
        chip.line.set(LineControl::BREAK, on);
        self.registers
            .write(Register::LineControl, chip.line.bits());
    }

    /// The lines we drive.
    pub fn modem_control(&self) -> ModemControl {
        self.chip.lock().modem
    }

    /// Drives the lines in `set` and drops those in `clear`; `OUT2`, the interrupt's gate, stays.
    pub fn set_modem_control(&self, set: ModemControl, clear: ModemControl) {
        let mut chip = self.chip.lock();
        chip.modem = (chip.modem - (clear - ModemControl::OUT2)) | set;
        self.registers
            .write(Register::ModemControl, chip.modem.bits());
    }

    /// The lines the other side drives.
    pub fn read_modem_status(&self) -> ModemStatus {
        let _chip = self.chip.lock();
        ModemStatus::from_bits_truncate(self.registers.read(Register::ModemStatus))
    }

    /// Whether all that was handed to the chip is on the wire.
    pub fn read_idle(&self) -> bool {
        let _chip = self.chip.lock();
        self.read_line_status().contains(LineStatus::IDLE)
    }

    /// Serves the port for as long as it is polled.
    ///
    /// # Cancel safety
    /// Dropped between interrupts it leaves the chip asking; a next call goes on.
    pub async fn run(&self, interrupt: &IrqEvent, line: &dyn Line) {
        loop {
            // First, not last: the chip may ask since before anybody listened.
            while self.service(line) {
                yield_now().await;
            }
            interrupt.wait().await;
        }
    }

    /// Answers what the chip asks for; true if it may ask for more.
    fn service(&self, line: &dyn Line) -> bool {
        for _ in 0..BUDGET {
            let cause = self.registers.read(Register::InterruptIdent);
            if cause & IIR_NONE != 0 {
                return false;
            }
            match cause & IIR_CAUSE {
                IIR_MODEM => self.modem(line),
                IIR_TRANSMIT => self.transmit(line),
                // Received bytes, received bytes that wait for long, an error among them.
                _ => self.receive(line),
            }
        }
        true
    }

    fn receive(&self, line: &dyn Line) {
        let mut good = [0; FIFO_LEN * 2];
        let mut len = 0;
        let mut error = None;
        {
            let _chip = self.chip.lock();
            while len < good.len() {
                let status = self.read_line_status();
                if status.contains(LineStatus::OVERRUN) {
                    self.counters.overruns.fetch_add(1, Ordering::Relaxed);
                }
                if !status.contains(LineStatus::DATA_READY) {
                    break;
                }
                let byte = self.registers.read(Register::Data);
                self.counters.received.fetch_add(1, Ordering::Relaxed);
                error = self.classify(status, byte);
                if error.is_some() {
                    break;
                }
                good[len] = byte;
                len += 1;
            }
        }
        if len > 0 {
            line.received(&good[..len]);
        }
        if let Some(error) = error {
            line.received_error(error);
        }
    }

    fn classify(&self, status: LineStatus, byte: u8) -> Option<Received> {
        let (counter, what) = if status.contains(LineStatus::BREAK) {
            (&self.counters.breaks, Received::Break)
        } else if status.contains(LineStatus::PARITY_ERROR) {
            (&self.counters.parity, Received::Damaged(byte))
        } else if status.contains(LineStatus::FRAMING_ERROR) {
            (&self.counters.framing, Received::Damaged(byte))
        } else {
            return None;
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Some(what)
    }

    fn modem(&self, line: &dyn Line) {
        let status = {
            let _chip = self.chip.lock();
            ModemStatus::from_bits_truncate(self.registers.read(Register::ModemStatus))
        };
        if status.contains(ModemStatus::DCD_CHANGED) {
            line.carrier_changed(status.contains(ModemStatus::DCD));
        }
    }

    fn transmit(&self, line: &dyn Line) {
        // Off while the FIFO is filled: a chip that sends at once, as emulated ones do, would interrupt for every byte.
        self.enable_transmit_interrupt(&mut self.chip.lock(), false);
        for _ in 0..LOADS {
            let empty = {
                let _chip = self.chip.lock();
                self.read_line_status().contains(LineStatus::TRANSMIT_EMPTY)
            };
            if !empty {
                break;
            }
            if !self.refill(line) {
                // Whoever adds output from now on finds the interrupt off, and switches it on.
                line.output_sent();
                return;
            }
        }
        self.enable_transmit_interrupt(&mut self.chip.lock(), true);
    }

    /// Fills the empty transmit FIFO; false if there is nothing to send.
    fn refill(&self, line: &dyn Line) -> bool {
        let mut bytes = [0; FIFO_LEN];
        let n = line.next_output(&mut bytes[..self.fifo_len]);
        if n == 0 {
            return false;
        }
        let _chip = self.chip.lock();
        for &byte in &bytes[..n] {
            self.registers.write(Register::Data, byte);
        }
        self.counters.sent.fetch_add(n as u64, Ordering::Relaxed);
        true
    }

    fn enable_transmit_interrupt(&self, chip: &mut Shadow, on: bool) {
        if chip.interrupts.contains(InterruptEnable::TRANSMITTER_EMPTY) != on {
            chip.interrupts.set(InterruptEnable::TRANSMITTER_EMPTY, on);
            self.registers
                .write(Register::InterruptEnable, chip.interrupts.bits());
        }
    }

    fn read_line_status(&self) -> LineStatus {
        LineStatus::from_bits_truncate(self.registers.read(Register::LineStatus))
    }
}

impl<R> core::fmt::Debug for Uart16550<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Uart16550")
            .field("fifo_len", &self.fifo_len)
            .finish_non_exhaustive()
    }
}
