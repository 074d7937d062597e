//! One terminal.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use drivers::tty::ldisc::Port;
use drivers::tty::read::{ReadOutcome, ReadTimeout};
use drivers::tty::receive::Received;
use drivers::tty::termios::TERMIOS_LEN;
use drivers::tty::{ByteRing, Effects, LineDiscipline, Termios};
use executor::sync::{SpinLock, WaitQueue};
use executor::time::Instant;
use fs::{Errno, Result, Sink, Source};

use super::driver::Driver;
use super::job::Control;
use crate::signal::Signal;

/// Bytes that wait for the device (Linux's `UART_XMIT_SIZE`).
pub const OUTPUT_SIZE: usize = 4096;
/// Received bytes that wait for room in the line discipline.
const BACKLOG_SIZE: usize = 4096;
/// With fewer bytes than this left to send, writers are woken and poll says writable.
pub const WRITABLE_BELOW: usize = 256;
/// Bytes copied from user memory at a time.
const CHUNK: usize = 256;

/// Rows, columns, and the size in pixels: `struct winsize`.
pub type WindowSize = [u16; 4];

/// Queues and settings, guarded by [`Tty::state`].
pub struct State {
    /// The line discipline.
    pub ldisc: LineDiscipline,
    /// Processed bytes for the device.
    pub output: ByteRing,
    /// Received bytes that found the line discipline full.
    backlog: ByteRing,
    /// A flow-control character that goes before all else, and although output is stopped.
    pub urgent: Option<u8>,
    /// Bytes were handed to the device and are not all sent.
    pub sending: bool,
    /// What of the settings nobody may change (`TIOCSLCKTRMIOS`).
    pub locked: [u8; TERMIOS_LEN],
    /// The window size.
    pub window: WindowSize,
    /// `TIOCEXCL`.
    pub exclusive: bool,
    /// Files that have it open.
    pub opens: u32,
    /// When input last came, for the time between bytes.
    last_input: Instant,
    /// A break is being sent until then.
    pub break_until: Option<Instant>,
}

/// A terminal, as processes see it.
pub struct Tty {
    device: u64,
    /// The device.
    pub driver: Box<dyn Driver>,
    /// Settings it starts with and, for some devices, goes back to.
    initial: Termios,
    /// Queues and settings.
    pub state: SpinLock<State>,
    /// Who controls it, and whom it controls.
    pub control: SpinLock<Control>,
    /// Those who wait to read.
    pub readers: Arc<WaitQueue>,
    /// Those who wait to write or for output to be sent.
    pub writers: Arc<WaitQueue>,
    /// Counts hang-ups: a file of an earlier generation is dead.
    generation: AtomicU32,
}

/// The output queue as the line discipline sees it.
struct OutputPort<'a> {
    ring: &'a mut ByteRing,
    held: bool,
}

impl Port for OutputPort<'_> {
    fn room(&self) -> usize {
        if self.held { 0 } else { self.ring.room() }
    }
    fn put(&mut self, bytes: &[u8]) {
        let taken = self.ring.push(bytes);
        debug_assert_eq!(taken, bytes.len(), "tty: more put than there is room");
    }
    fn discard(&mut self) {
        self.ring.clear();
    }
}

impl Tty {
    /// Makes a terminal that nobody has open.
    ///
    /// # Errors
    /// When its queues cannot be allocated.
    pub fn try_new(
        device: u64,
        termios: Termios,
        driver: Box<dyn Driver>,
    ) -> core::result::Result<Self, TryReserveError> {
        Ok(Self {
            device,
            driver,
            initial: termios,
            state: SpinLock::new(State {
                ldisc: LineDiscipline::try_new(termios)?,
                output: ByteRing::try_new(OUTPUT_SIZE)?,
                backlog: ByteRing::try_new(BACKLOG_SIZE)?,
                urgent: None,
                sending: false,
                locked: [0; TERMIOS_LEN],
                window: [0; 4],
                exclusive: false,
                opens: 0,
                last_input: Instant::ZERO,
                break_until: None,
            }),
            control: SpinLock::new(Control::default()),
            readers: Arc::new(WaitQueue::new()),
            writers: Arc::new(WaitQueue::new()),
            generation: AtomicU32::new(0),
        })
    }

    /// The device number.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// The count of hang-ups so far.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// The settings in force.
    pub fn termios(&self) -> Termios {
        *self.state.lock().ldisc.termios()
    }

    /// Runs `f` on the line discipline and its port, then carries out the effects.
    pub fn with_ldisc<R>(
        &self,
        f: impl FnOnce(&mut LineDiscipline, &mut dyn Port) -> (R, Effects),
    ) -> R {
        let (result, effects) = self.state.lock().with_ldisc(self, f);
        self.carry_out(effects);
        result
    }

    /// Carries out what the line discipline asks for.
    pub fn carry_out(&self, effects: Effects) {
        if effects.is_empty() {
            return;
        }
        for (effect, signal) in [
            (Effects::SIGINT, Signal::SIGINT),
            (Effects::SIGQUIT, Signal::SIGQUIT),
            (Effects::SIGTSTP, Signal::SIGTSTP),
        ] {
            if effects.contains(effect) {
                self.signal_foreground(signal);
            }
        }
        if effects.contains(Effects::WAKE_READERS) {
            self.readers.wake_all();
        }
        if effects.contains(Effects::WAKE_WRITERS) {
            self.writers.wake_all();
        }
        self.driver.react(self, effects);
    }

    /// Takes bytes from the device and returns how many; the rest is to be offered again when there is room.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let (taken, effects) = {
            let mut state = self.state.lock();
            state.last_input = Instant::now();
            let mut effects = state.drain_backlog(self);
            let mut taken = 0;
            if state.backlog.is_empty() {
                let (n, more) = state.with_ldisc(self, |ldisc, port| ldisc.receive(bytes, port));
                taken = n;
                effects |= more;
            }
            (taken + state.backlog.push(&bytes[taken..]), effects)
        };
        self.carry_out(effects);
        taken
    }

    /// As [`Tty::receive`], from a file's writer: takes what there is room for.
    pub fn receive_from(&self, src: &mut dyn Source) -> usize {
        let mut chunk = [0; CHUNK];
        let mut done = 0;
        let mut effects = Effects::empty();
        {
            let mut state = self.state.lock();
            state.last_input = Instant::now();
            loop {
                effects |= state.drain_backlog(self);
                let room = state.backlog.room().min(CHUNK);
                let n = src.take(&mut chunk[..room]);
                if n == 0 {
                    break;
                }
                state.backlog.push(&chunk[..n]);
                done += n;
            }
        }
        self.carry_out(effects);
        done
    }

    /// Bytes [`Tty::receive`] would take at least.
    pub fn receive_room(&self) -> usize {
        self.state.lock().backlog.room()
    }

    /// Takes a break or damaged byte from the device.
    pub fn receive_error(&self, error: Received) {
        self.with_ldisc(|ldisc, port| ldisc.receive_error(error, port));
    }

    /// Fills `buf` with bytes to send.
    pub fn take_output(&self, buf: &mut [u8]) -> usize {
        let (n, low, echo) = {
            let mut state = self.state.lock();
            let mut n = 0;
            if let Some(urgent) = state.urgent.take() {
                buf[0] = urgent;
                n = 1;
            }
            if !state.ldisc.is_stopped() {
                n += state.output.pop(&mut buf[n..]);
            }
            state.sending |= n > 0;
            (
                n,
                state.output.len() < WRITABLE_BELOW,
                state.ldisc.echo_waits(),
            )
        };
        if n > 0 && echo {
            self.with_ldisc(|ldisc, port| ((), ldisc.port_drained(port)));
        } else if n > 0 && low && !self.writers.is_empty() {
            self.writers.wake_all();
        }
        n
    }

    /// The device has sent everything it was given.
    pub fn output_sent(&self) {
        self.state.lock().sending = false;
        self.writers.wake_all();
    }

    /// Bytes that are not sent yet (`TIOCOUTQ`).
    pub fn unsent(&self) -> usize {
        if self.driver.is_pty() {
            0
        } else {
            self.state.lock().output.len()
        }
    }

    /// Whether all output has been sent.
    pub fn is_drained(&self) -> bool {
        let state = self.state.lock();
        self.driver.is_pty()
            || (state.output.is_empty() && !state.sending && !state.ldisc.echo_waits())
    }

    /// Reads into `buf`; `eager` takes what there is, however little.
    ///
    /// # Errors
    /// `EAGAIN` if there is nothing, or less than VMIN asks for; `EFAULT`.
    pub fn read(&self, eager: bool, buf: &mut dyn Sink) -> Result<usize> {
        let want = buf.remaining();
        let (outcome, effects, at_once) = {
            let mut state = self.state.lock();
            let at_once = state.ldisc.read_timeout() == Some(ReadTimeout::FromStart { tenths: 0 });
            let (outcome, mut effects) = state.with_ldisc(self, |ldisc, _| {
                ldisc.read(want, eager, &mut |run| buf.put(run))
            });
            if !effects.is_empty() || !state.backlog.is_empty() {
                effects |= state.drain_backlog(self);
            }
            (outcome, effects, at_once)
        };
        self.carry_out(effects);
        match outcome {
            ReadOutcome::Done(0) if want > 0 && buf.faulted() => Err(Errno::EFAULT),
            ReadOutcome::Done(n) => {
                if n > 0 {
                    self.driver.input_room();
                }
                Ok(n)
            }
            ReadOutcome::NotYet if at_once => Ok(0),
            ReadOutcome::NotYet => Err(Errno::EAGAIN),
        }
    }

    /// When a read that began to wait at `started` ends although there is not enough.
    pub fn read_deadline(&self, started: Instant) -> Option<Instant> {
        let state = self.state.lock();
        let (from, tenths) = match state.ldisc.read_timeout()? {
            ReadTimeout::FromStart { tenths } => (started, tenths),
            ReadTimeout::BetweenBytes { tenths } => (started.max(state.last_input), tenths),
        };
        Some(from + core::time::Duration::from_millis(u64::from(tenths) * 100))
    }

    /// Writes from `src`.
    ///
    /// # Errors
    /// `EAGAIN` if there is no room; `EFAULT`.
    pub fn write(&self, src: &mut dyn Source) -> Result<usize> {
        let mut chunk = [0; CHUNK];
        let mut done = 0;
        let mut effects = Effects::empty();
        {
            let mut state = self.state.lock();
            if state.ldisc.echo_waits() {
                effects |= state
                    .with_ldisc(self, |ldisc, port| ((), ldisc.port_drained(port)))
                    .1;
            }
            while src.remaining() > 0 {
                let limit = state.write_limit(self).min(CHUNK);
                if limit == 0 {
                    break;
                }
                let n = src.take(&mut chunk[..limit]);
                if n == 0 {
                    break;
                }
                effects |= state
                    .with_ldisc(self, |ldisc, port| ((), ldisc.write(&chunk[..n], port)))
                    .1;
                done += n;
            }
        }
        self.carry_out(effects);
        match done {
            0 if src.faulted() => Err(Errno::EFAULT),
            0 if src.remaining() > 0 => Err(Errno::EAGAIN),
            _ => Ok(done),
        }
    }

    /// Whether a read would be answered at once, as `poll(2)` sees it.
    pub fn is_readable(&self) -> bool {
        self.state.lock().ldisc.readable(true)
    }

    /// Whether poll says that there is room to write.
    pub fn is_writable(&self) -> bool {
        let state = self.state.lock();
        let low = self.driver.is_pty() || state.output.len() < WRITABLE_BELOW;
        low && !state.ldisc.echo_waits() && state.write_limit(self) > 0
    }

    /// Makes every open file of it dead, and forgets what is under way. Part of hanging up.
    pub(super) fn kill_files(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.reset();
    }

    /// Back to the state of a terminal that nobody has used.
    pub(super) fn reset(&self) {
        let effects = {
            let mut state = self.state.lock();
            let mut effects = state.ldisc.reset();
            if self.driver.is_pty() {
                effects |= state
                    .with_ldisc(self, |ldisc, port| {
                        ((), ldisc.set_termios(self.initial, port))
                    })
                    .1;
            }
            state.backlog.clear();
            state.exclusive = false;
            state.locked = [0; TERMIOS_LEN];
            state.window = [0; 4];
            state.urgent = None;
            state.break_until = None;
            effects
        };
        self.carry_out(effects);
    }
}

impl State {
    fn with_ldisc<R>(
        &mut self,
        tty: &Tty,
        f: impl FnOnce(&mut LineDiscipline, &mut dyn Port) -> (R, Effects),
    ) -> (R, Effects) {
        let mut port = OutputPort {
            held: self.holds_output(tty),
            ring: &mut self.output,
        };
        let (result, mut effects) = f(&mut self.ldisc, &mut port);
        if effects.contains(Effects::STARTED) && port.held {
            // The port looked full for as long as output was stopped.
            port.held = false;
            effects |= self.ldisc.port_drained(&mut port);
        }
        (result, effects)
    }

    /// Drops received bytes that the line discipline has not seen.
    pub(super) fn forget_backlog(&mut self) {
        self.backlog.clear();
    }

    /// The device took bytes out of the output queue itself.
    pub(super) fn output_taken(&mut self, tty: &Tty) -> Effects {
        if self.ldisc.echo_waits() {
            self.with_ldisc(tty, |ldisc, port| ((), ldisc.port_drained(port)))
                .1
        } else {
            Effects::WAKE_WRITERS
        }
    }

    fn holds_output(&self, tty: &Tty) -> bool {
        self.ldisc.is_stopped() && tty.driver.is_pty()
    }

    fn write_limit(&self, tty: &Tty) -> usize {
        if self.holds_output(tty) {
            0
        } else {
            self.ldisc.write_limit(self.output.room())
        }
    }

    /// Hands waiting bytes to the line discipline as far as it takes them.
    fn drain_backlog(&mut self, tty: &Tty) -> Effects {
        let mut effects = Effects::empty();
        while !self.backlog.is_empty() {
            let mut port = OutputPort {
                held: self.holds_output(tty),
                ring: &mut self.output,
            };
            let (n, more) = self.ldisc.receive(self.backlog.front(), &mut port);
            effects |= more;
            if n == 0 {
                break;
            }
            self.backlog.consume(n);
        }
        effects
    }
}

impl core::fmt::Debug for Tty {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Tty({})", self.driver.name())
    }
}
