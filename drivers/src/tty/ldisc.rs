//! The state of a line discipline, and what changes of settings do to it.

use alloc::collections::TryReserveError;

use bitflags::bitflags;

use super::input_queue::{INPUT_SIZE, InputQueue};
use super::ring::ByteRing;
use super::termios::{Cc, DISABLED_CHAR, InputFlags, LocalFlags, OutputFlags, Termios};

/// The device side of a terminal, as the discipline needs it.
///
/// The owner's real queue: the transmit ring of a UART, or the master's read queue of a pty.
pub trait Port {
    /// Bytes [`Port::put`] is sure to take now.
    fn room(&self) -> usize;
    /// Takes bytes for the device; never more than [`Port::room`] at a time.
    fn put(&mut self, bytes: &[u8]);
    /// Forgets what the device has not sent yet.
    fn discard(&mut self);
}

bitflags! {
    /// What the owner has to do after a call, once it has let go of its lock.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[must_use = "signals and wake-ups are the caller's to deliver"]
    pub struct Effects: u32 {
        /// Send SIGINT to the foreground group.
        const SIGINT = 1 << 0;
        /// Send SIGQUIT to the foreground group.
        const SIGQUIT = 1 << 1;
        /// Send SIGTSTP to the foreground group.
        const SIGTSTP = 1 << 2;
        /// Wake those who wait to read.
        const WAKE_READERS = 1 << 3;
        /// Wake those who wait to write.
        const WAKE_WRITERS = 1 << 4;
        /// Output was stopped; the device is to stop sending.
        const STOPPED = 1 << 5;
        /// Output was started again.
        const STARTED = 1 << 6;
        /// Received bytes were thrown away.
        const FLUSHED_INPUT = 1 << 7;
        /// Bytes not yet sent were thrown away.
        const FLUSHED_OUTPUT = 1 << 8;
        /// The queue fills up: ask the other side to pause (the STOP character under `IXOFF`).
        const THROTTLE = 1 << 9;
        /// The queue has room again: ask the other side to go on.
        const UNTHROTTLE = 1 << 10;
        /// The device has new bytes to send.
        const OUTPUT = 1 << 11;
        /// `IXON` with the usual `^Q`/`^S` was switched on or off (packet mode reports it).
        const FLOW_CHANGED = 1 << 12;
    }
}

/// Echo that finds the port full waits here; what does not fit either is lost, as on Linux.
const ECHO_SIZE: usize = 4096;
/// Below this much room the other side is asked to pause, and below this many bytes to go on.
pub(super) const THROTTLE_MARGIN: usize = 128;

/// The line discipline of one terminal.
///
/// # Context
/// Any: bounded work, no allocation after [`LineDiscipline::try_new`]. The owner serialises calls by a lock of its own.
#[derive(Debug)]
pub struct LineDiscipline {
    pub(super) termios: Termios,
    pub(super) input: InputQueue,
    pub(super) echo: ByteRing,
    /// Where the cursor stands, and where it stood when the line being edited began.
    pub(super) column: usize,
    pub(super) canon_column: usize,
    /// Bytes that are more than an ordinary character under these settings.
    pub(super) special: [u64; 4],
    /// No byte is special and nothing is echoed.
    pub(super) raw: bool,
    /// Inside a `\...` of `ECHOPRT`.
    pub(super) erasing: bool,
    /// The next byte is literal.
    pub(super) literal_next: bool,
    stopped: bool,
    stopped_by_ioctl: bool,
    pub(super) throttled: bool,
    /// What the running call has caused so far.
    pub(super) effects: Effects,
}

impl LineDiscipline {
    /// Makes a discipline with empty queues.
    ///
    /// # Errors
    /// When its buffers cannot be allocated.
    pub fn try_new(termios: Termios) -> Result<Self, TryReserveError> {
        let mut new = Self {
            termios,
            input: InputQueue::try_new()?,
            echo: ByteRing::try_new(ECHO_SIZE)?,
            column: 0,
            canon_column: 0,
            special: [0; 4],
            raw: false,
            erasing: false,
            literal_next: false,
            stopped: false,
            stopped_by_ioctl: false,
            throttled: false,
            effects: Effects::empty(),
        };
        new.classify();
        Ok(new)
    }

    /// The settings in force.
    pub fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Whether output is stopped, by `^S` or by `TCOOFF`.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Puts new settings in force.
    ///
    /// Leaving canonical mode hands the unfinished line to readers; entering it makes one line of what was waiting.
    pub fn set_termios(&mut self, new: Termios, port: &mut dyn Port) -> Effects {
        let old = core::mem::replace(&mut self.termios, new);
        if (old.lflag ^ new.lflag).intersects(LocalFlags::ICANON | LocalFlags::EXTPROC) {
            self.input.clear_ends();
            if self.is_canonical_flag() && self.input.len() > 0 {
                self.input.set_end(self.input.head.wrapping_sub(1));
                self.input.canon = self.input.head;
            }
            self.erasing = false;
            self.literal_next = false;
        }
        self.classify();
        if old.iflag.contains(InputFlags::IXON)
            && !new.iflag.contains(InputFlags::IXON)
            && !self.stopped_by_ioctl
        {
            // Nobody could send the START character any more.
            self.start(port);
        }
        if Self::usual_flow_control(&old) != Self::usual_flow_control(&new) {
            self.effects |= Effects::FLOW_CHANGED;
        }
        self.effects |= Effects::WAKE_READERS | Effects::WAKE_WRITERS;
        self.take_effects()
    }

    /// Whether `^S` and `^Q` stop and start output: what packet mode tells the master.
    pub fn usual_flow_control(termios: &Termios) -> bool {
        termios.iflag.contains(InputFlags::IXON)
            && termios.cc(Cc::Stop) == 0o23
            && termios.cc(Cc::Start) == 0o21
    }

    /// Throws away what was received (`TCIFLUSH`).
    pub fn flush_input(&mut self) -> Effects {
        self.input.clear();
        self.erasing = false;
        self.literal_next = false;
        self.effects |= Effects::FLUSHED_INPUT;
        self.check_unthrottle();
        self.take_effects()
    }

    /// Throws away what was not sent yet (`TCOFLUSH`).
    pub fn flush_output(&mut self, port: &mut dyn Port) -> Effects {
        port.discard();
        self.effects |= Effects::FLUSHED_OUTPUT | Effects::WAKE_WRITERS;
        self.take_effects()
    }

    /// Stops output on a program's request (`TCOOFF`).
    pub fn suspend_output(&mut self) -> Effects {
        if !self.stopped_by_ioctl {
            self.stopped_by_ioctl = true;
            self.stop();
        }
        self.take_effects()
    }

    /// Starts output that [`LineDiscipline::suspend_output`] stopped (`TCOON`).
    pub fn resume_output(&mut self, port: &mut dyn Port) -> Effects {
        if self.stopped_by_ioctl {
            self.stopped_by_ioctl = false;
            self.start(port);
        }
        self.take_effects()
    }

    /// Tells that the port has room again.
    pub fn port_drained(&mut self, port: &mut dyn Port) -> Effects {
        self.flush_echo(port);
        self.effects |= Effects::WAKE_WRITERS;
        self.take_effects()
    }

    /// Back to the state of a terminal nobody has used, keeping the settings (hang-up, last close).
    pub fn reset(&mut self) -> Effects {
        self.input.clear();
        self.echo.clear();
        self.column = 0;
        self.canon_column = 0;
        self.erasing = false;
        self.literal_next = false;
        self.stopped = false;
        self.stopped_by_ioctl = false;
        self.throttled = false;
        self.effects |= Effects::FLUSHED_INPUT | Effects::WAKE_READERS | Effects::WAKE_WRITERS;
        self.take_effects()
    }

    pub(super) fn stop(&mut self) {
        if !self.stopped {
            self.stopped = true;
            self.effects |= Effects::STOPPED;
        }
    }

    pub(super) fn start(&mut self, port: &mut dyn Port) {
        if self.stopped && !self.stopped_by_ioctl {
            self.stopped = false;
            self.effects |= Effects::STARTED | Effects::WAKE_WRITERS;
        }
        self.flush_echo(port);
    }

    /// Whether `IXANY` lets any byte start output.
    pub(super) fn any_byte_starts(&self) -> bool {
        self.stopped
            && !self.stopped_by_ioctl
            && self.has_i(InputFlags::IXON)
            && self.has_i(InputFlags::IXANY)
    }

    /// Clears both queues after a signal character without `NOFLSH`.
    pub(super) fn flush_for_signal(&mut self, port: &mut dyn Port) {
        self.echo.clear();
        port.discard();
        self.input.clear();
        self.erasing = false;
        self.literal_next = false;
        self.effects |= Effects::FLUSHED_INPUT | Effects::FLUSHED_OUTPUT | Effects::WAKE_WRITERS;
        self.check_unthrottle();
    }

    pub(super) fn take_effects(&mut self) -> Effects {
        core::mem::take(&mut self.effects)
    }

    pub(super) fn has_i(&self, flag: InputFlags) -> bool {
        self.termios.iflag.contains(flag)
    }

    pub(super) fn has_o(&self, flag: OutputFlags) -> bool {
        self.termios.oflag.contains(flag)
    }

    pub(super) fn has_l(&self, flag: LocalFlags) -> bool {
        self.termios.lflag.contains(flag)
    }

    fn is_canonical_flag(&self) -> bool {
        self.has_l(LocalFlags::ICANON)
    }

    /// Whether reads hand out lines.
    pub(super) fn reads_lines(&self) -> bool {
        self.is_canonical_flag() && !self.has_l(LocalFlags::EXTPROC)
    }

    pub(super) fn is_special(&self, byte: u8) -> bool {
        self.special[usize::from(byte) / 64] & (1 << (byte % 64)) != 0
    }

    /// Works out which bytes are special under the settings.
    fn classify(&mut self) {
        use InputFlags as I;
        use LocalFlags as L;
        let mut map = [0u64; 4];
        let mut add = |byte: u8| map[usize::from(byte) / 64] |= 1 << (byte % 64);
        let t = &self.termios;
        let (i, l) = (t.iflag, t.lflag);
        if i.intersects(I::IGNCR | I::ICRNL) {
            add(b'\r');
        }
        if i.contains(I::INLCR) {
            add(b'\n');
        }
        if l.contains(L::ICANON) {
            [Cc::Erase, Cc::Kill, Cc::Eof, Cc::Eol]
                .iter()
                .for_each(|&cc| add(t.cc(cc)));
            add(b'\n');
            if l.contains(L::IEXTEN) {
                [Cc::Werase, Cc::Lnext, Cc::Eol2]
                    .iter()
                    .for_each(|&cc| add(t.cc(cc)));
                if l.contains(L::ECHO) {
                    add(t.cc(Cc::Reprint));
                }
            }
        }
        if i.contains(I::IXON) {
            [Cc::Start, Cc::Stop].iter().for_each(|&cc| add(t.cc(cc)));
        }
        if l.contains(L::ISIG) {
            [Cc::Intr, Cc::Quit, Cc::Susp]
                .iter()
                .for_each(|&cc| add(t.cc(cc)));
        }
        map[usize::from(DISABLED_CHAR) / 64] &= !(1 << (DISABLED_CHAR % 64));
        self.special = map;
        self.raw = !i.intersects(
            I::ISTRIP | I::IUCLC | I::IGNCR | I::ICRNL | I::INLCR | I::IXON | I::PARMRK,
        ) && !l.intersects(L::ICANON | L::ISIG | L::ECHO);
    }

    /// Bytes a reader could get at, judged for throttling.
    pub(super) fn readable_len(&self) -> usize {
        if self.is_canonical_flag() {
            self.input.canon_len()
        } else {
            self.input.len()
        }
    }

    /// Asks the sender to pause when the queue is nearly full of what readers can take.
    pub(super) fn check_throttle(&mut self) {
        if self.is_canonical_flag() && self.input.canon_len() == 0 {
            return;
        }
        if !self.throttled && INPUT_SIZE - self.input.len() <= THROTTLE_MARGIN {
            self.throttled = true;
            self.effects |= Effects::THROTTLE;
        }
    }

    pub(super) fn check_unthrottle(&mut self) {
        if self.throttled && self.readable_len() <= THROTTLE_MARGIN {
            self.throttled = false;
            self.effects |= Effects::UNTHROTTLE;
        }
    }
}
