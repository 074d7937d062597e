//! The PC's serial ports as terminals: `/dev/ttyS0` and `/dev/ttyS1`.
#![allow(unsafe_code, reason = "port I/O")]

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use conquer_once::noblock::OnceCell;
use drivers::serial::{
    Counters, Line as UpperEnd, ModemControl, ModemStatus, Register, Registers, Uart16550,
};
use drivers::tty::receive::Received;
use drivers::tty::termios::{Cc, ControlFlags, DISABLED_CHAR, InputFlags};
use drivers::tty::{Effects, Termios};
use executor::irq::IrqEvent;
use executor::time::Instant;
use fs::Result;
use x86_64::instructions::port::Port as IoPort;

use super::driver::Driver;
use super::modem::{
    TIOCM_CAR, TIOCM_CTS, TIOCM_DSR, TIOCM_DTR, TIOCM_LOOP, TIOCM_OUT1, TIOCM_OUT2, TIOCM_RNG,
    TIOCM_RTS,
};
use super::{Tty, console, hvc};
use crate::arch::line;
use crate::arch::serial::{COM1, COM2};

/// Major number of `ttyS`.
pub const MAJOR: u32 = 4;
/// Minor number of `ttyS0`.
pub const FIRST_MINOR: u32 = 64;
/// Most ports that are looked for.
pub const PORTS: usize = 2;

/// Base address and ISA interrupt of each port.
const LEGACY: [(u16, u8); PORTS] = [(COM1, 4), (COM2, 3)];

/// What the ports, their interrupts and tasks are called.
const NAMES: [&str; PORTS] = ["ttyS0", "ttyS1"];

/// The ports that were found.
static FOUND: [OnceCell<Arc<Tty>>; PORTS] = [const { OnceCell::uninit() }; PORTS];
/// Raised by the ports' interrupts.
static INTERRUPTS: [IrqEvent; PORTS] = [const { IrqEvent::new() }; PORTS];

/// The registers of a port at a legacy I/O address.
#[derive(Debug)]
struct IoRegisters(u16);

impl Registers for IoRegisters {
    fn read(&self, register: Register) -> u8 {
        // SAFETY: the address is one of a legacy serial port, which nothing else owns; reading has no effect on memory.
        unsafe { IoPort::new(self.0 + register as u16).read() }
    }

    fn write(&self, register: Register, value: u8) {
        // SAFETY: as for `read`; the chip does no DMA.
        unsafe { IoPort::new(self.0 + register as u16).write(value) }
    }
}

/// One serial port.
pub struct SerialPort {
    uart: Uart16550<IoRegisters>,
    index: usize,
}

/// A [`SerialPort`] as the terminal's driver.
struct SerialDriver(Arc<SerialPort>);

/// The terminal as the port's upper end.
struct SerialLine(Arc<Tty>);

/// The terminal of serial port `index`, if that is there.
pub fn terminal(index: usize) -> Option<Arc<Tty>> {
    FOUND.get(index)?.try_get().ok().cloned()
}

/// Waits until all output is on the wire, or for a second: the machine is about to stop.
///
/// # Cancel safety
/// Nothing is lost.
pub async fn drain() {
    const PATIENCE: Duration = Duration::from_secs(1);
    const LOOK_EVERY: Duration = Duration::from_millis(1);
    let end = Instant::now() + PATIENCE;
    let sent = || {
        FOUND
            .iter()
            .filter_map(|port| port.try_get().ok())
            .cloned()
            .chain((0..hvc::LINES).filter_map(hvc::terminal))
            .all(|tty| tty.is_drained() && tty.driver.serial().is_none_or(SerialPort::is_idle))
    };
    while !sent() && Instant::now() < end {
        executor::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks for the ports, and starts a task that serves each one found.
///
/// The settings of a port, and which one is `/dev/console`, are those of the last `console=` that names it.
///
/// # Context
/// Boot, once the executor takes tasks and interrupts can be requested.
pub fn init() {
    let mut settings = [Termios::serial(); PORTS];
    for value in crate::boot::info().cmdline().values("console") {
        let (name, options) = value.split_once(',').unwrap_or((value, ""));
        let port = NAMES.iter().position(|own| *own == name);
        if let Some(port) = port {
            settings[port].set_line_options(options);
        }
        console::set_console(name, port);
    }
    for (index, termios) in settings.into_iter().enumerate() {
        if let Some(uart) = Uart16550::probe(IoRegisters(LEGACY[index].0)) {
            start(Arc::new(SerialPort { uart, index }), termios);
        }
    }
}

/// Makes the terminal of a port that was found.
fn start(port: Arc<SerialPort>, termios: Termios) {
    let index = port.index;
    let (base, irq) = LEGACY[index];
    let name = NAMES[index];
    let number = (MAJOR, FIRST_MINOR + index as u32);
    let device = fs::inode::make_dev(number.0, number.1);
    let Ok(tty) = Tty::try_new(device, termios, Box::new(SerialDriver(port.clone()))) else {
        log::error!("serial: no memory for {name}");
        return;
    };
    let tty = Arc::new(tty);
    if FOUND[index].try_init_once(|| tty.clone()).is_err() {
        return;
    }
    let line = match line::request_event(line::isa(irq), name, &INTERRUPTS[index]) {
        Ok(line) => line,
        Err(error) => {
            log::error!("serial: no interrupt for {name}: {error:?}");
            return;
        }
    };
    port.uart.start(&termios);
    console::add_node(name, 0o600, number);
    log::info!("serial: {name} at {base:#x} irq={irq}");
    executor::spawn(name, async move {
        let _line = line;
        let upper = SerialLine(tty);
        port.uart.run(&INTERRUPTS[index], &upper).await;
    })
    .detach();
}

impl SerialPort {
    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its I/O address.
    pub fn base(&self) -> u16 {
        LEGACY[self.index].0
    }

    /// Its ISA interrupt.
    pub fn irq(&self) -> u8 {
        LEGACY[self.index].1
    }

    /// What happened on the wire.
    pub fn counters(&self) -> &Counters {
        &self.uart.counters
    }

    /// Whether all that it was given is on the wire.
    pub fn is_idle(&self) -> bool {
        self.uart.read_idle()
    }
}

impl Driver for SerialDriver {
    fn name(&self) -> String {
        format!("ttyS{}", self.0.index)
    }

    fn react(&self, tty: &Tty, effects: Effects) {
        let termios = tty.termios();
        if effects.intersects(Effects::THROTTLE | Effects::UNTHROTTLE) {
            let stop = effects.contains(Effects::THROTTLE);
            if termios.iflag.contains(InputFlags::IXOFF) {
                let byte = termios.cc(if stop { Cc::Stop } else { Cc::Start });
                if byte != DISABLED_CHAR {
                    tty.state.lock().urgent = Some(byte);
                    self.0.uart.start_output();
                }
            }
            if termios.cflag.contains(ControlFlags::CRTSCTS) {
                let (set, clear) = if stop { (0, TIOCM_RTS) } else { (TIOCM_RTS, 0) };
                self.0
                    .uart
                    .set_modem_control(to_control(set), to_control(clear));
            }
        }
        if effects.intersects(Effects::OUTPUT | Effects::STARTED) {
            self.0.uart.start_output();
        }
    }

    fn configure(&self, old: &Termios, new: &Termios) {
        if old.cflag != new.cflag || old.ospeed != new.ospeed {
            self.0.uart.configure(new);
        }
    }

    fn set_break(&self, on: bool) -> Result<()> {
        self.0.uart.set_break(on);
        Ok(())
    }

    fn modem_lines(&self) -> Result<u32> {
        let (control, status) = (self.0.uart.modem_control(), self.0.uart.read_modem_status());
        let control = CONTROL_LINES
            .into_iter()
            .filter(|(flag, _)| control.contains(*flag))
            .map(|(_, bit)| bit);
        let status = STATUS_LINES
            .into_iter()
            .filter(|(flag, _)| status.contains(*flag))
            .map(|(_, bit)| bit);
        Ok(control.chain(status).fold(0, |all, bit| all | bit))
    }

    fn set_modem_lines(&self, set: u32, clear: u32) -> Result<()> {
        self.0
            .uart
            .set_modem_control(to_control(set), to_control(clear));
        Ok(())
    }

    fn serial(&self) -> Option<&SerialPort> {
        Some(&self.0)
    }
}

const CONTROL_LINES: [(ModemControl, u32); 5] = [
    (ModemControl::DTR, TIOCM_DTR),
    (ModemControl::RTS, TIOCM_RTS),
    (ModemControl::OUT1, TIOCM_OUT1),
    (ModemControl::OUT2, TIOCM_OUT2),
    (ModemControl::LOOP, TIOCM_LOOP),
];
const STATUS_LINES: [(ModemStatus, u32); 4] = [
    (ModemStatus::CTS, TIOCM_CTS),
    (ModemStatus::DSR, TIOCM_DSR),
    (ModemStatus::RING, TIOCM_RNG),
    (ModemStatus::DCD, TIOCM_CAR),
];

fn to_control(lines: u32) -> ModemControl {
    let named = CONTROL_LINES
        .into_iter()
        .filter(|(_, bit)| lines & bit != 0);
    named.fold(ModemControl::empty(), |all, (flag, _)| all | flag)
}

impl UpperEnd for SerialLine {
    fn received(&self, bytes: &[u8]) {
        // What nobody reads is lost, as on a line that nobody listens to.
        if self.0.state.lock().opens > 0 {
            self.0.receive(bytes);
        }
    }

    fn received_error(&self, error: Received) {
        if self.0.state.lock().opens > 0 {
            self.0.receive_error(error);
        }
    }

    fn next_output(&self, buf: &mut [u8]) -> usize {
        self.0.take_output(buf)
    }

    fn output_sent(&self) {
        self.0.output_sent();
    }

    fn carrier_changed(&self, present: bool) {
        let termios = self.0.termios();
        if !present && !termios.cflag.contains(ControlFlags::CLOCAL) {
            self.0.hang_up();
        }
    }
}
