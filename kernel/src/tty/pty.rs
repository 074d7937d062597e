//! Pseudo-terminals: a terminal whose device is a program.
//!
//! The slave is a [`Tty`]; what is written to it waits in its output queue until the master reads it, and what is
//! written to the master is the slave's input. A pair lives from the opening of its master to its closing; the slave's
//! terminal then lives on, hung up, as long as files have it open.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use drivers::tty::termios::LocalFlags;
use drivers::tty::{Effects, LineDiscipline, Termios};
use executor::sync::WaitQueue;
use fs::{Errno, File, FileOps, PollEvents, PollTable, Result, Sink, Source, UserMemory};

use super::driver::Driver;
use super::{Tty, devpts, ioctl};
use crate::process::current;
use crate::process::rlimit::Resource;
use crate::signal::Signal;

/// Major number of the slaves.
pub const SLAVE_MAJOR: u32 = 136;

const TIOCPKT: u32 = 0x5420;
const TIOCGPTN: u32 = 0x8004_5430;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCSIG: u32 = 0x4004_5436;
const TIOCGPKT: u32 = 0x8004_5438;
const TIOCGPTLCK: u32 = 0x8004_5439;
const TIOCGPTPEER: u32 = 0x5441;
const TIOCNOTTY: u32 = 0x5422;

/// What packet mode reports, each in a byte of its own before the next data (`TIOCPKT_*`).
mod packet {
    pub const FLUSHREAD: u8 = 1;
    pub const FLUSHWRITE: u8 = 2;
    pub const STOP: u8 = 4;
    pub const START: u8 = 8;
    pub const NOSTOP: u8 = 16;
    pub const DOSTOP: u8 = 32;
    pub const IOCTL: u8 = 64;
}

/// What both ends share.
struct Pair {
    index: u32,
    /// Nobody may open the slave yet (`TIOCSPTLCK`).
    locked: AtomicBool,
    /// The slave was open and is not any more.
    slave_closed: AtomicBool,
    packet_mode: AtomicBool,
    /// Reports that wait for the master.
    packet_status: AtomicU8,
    readers: Arc<WaitQueue>,
    writers: Arc<WaitQueue>,
}

impl Pair {
    fn report(&self, set: u8, clear: u8) {
        if self.packet_mode.load(Ordering::Acquire) {
            self.packet_status.fetch_and(!clear, Ordering::AcqRel);
            self.packet_status.fetch_or(set, Ordering::AcqRel);
            self.readers.wake_all();
        }
    }
}

/// The slave's device: the master.
struct SlaveDriver(Arc<Pair>);

impl Driver for SlaveDriver {
    fn name(&self) -> String {
        format!("pts/{}", self.0.index)
    }

    fn react(&self, _: &Tty, effects: Effects) {
        for (effect, set, clear) in [
            (Effects::FLUSHED_INPUT, packet::FLUSHREAD, 0),
            (Effects::FLUSHED_OUTPUT, packet::FLUSHWRITE, 0),
            (Effects::STOPPED, packet::STOP, packet::START),
            (Effects::STARTED, packet::START, packet::STOP),
        ] {
            if effects.contains(effect) {
                self.0.report(set, clear);
            }
        }
        if effects.contains(Effects::OUTPUT) {
            self.0.readers.wake_all();
        }
        if effects.intersects(Effects::UNTHROTTLE | Effects::FLUSHED_INPUT) {
            self.input_room();
        }
    }

    fn input_room(&self) {
        if !self.0.writers.is_empty() {
            self.0.writers.wake_all();
        }
    }

    fn configure(&self, old: &Termios, new: &Termios) {
        if (old.lflag ^ new.lflag).contains(LocalFlags::EXTPROC)
            || new.lflag.contains(LocalFlags::EXTPROC)
        {
            self.0.report(packet::IOCTL, 0);
        }
        let (before, after) = (
            LineDiscipline::usual_flow_control(old),
            LineDiscipline::usual_flow_control(new),
        );
        match (before, after) {
            (false, true) => self.0.report(packet::DOSTOP, packet::NOSTOP),
            (true, false) => self.0.report(packet::NOSTOP, packet::DOSTOP),
            _ => {}
        }
    }

    fn opened(&self, _: &Termios) {
        self.0.slave_closed.store(false, Ordering::Release);
    }

    fn closed(&self) {
        self.0.slave_closed.store(true, Ordering::Release);
        self.0.readers.wake_all();
        self.0.writers.wake_all();
    }

    fn is_pty(&self) -> bool {
        true
    }
}

/// The file that has a master open.
pub struct Master {
    slave: Arc<Tty>,
    pair: Arc<Pair>,
}

/// Opens a new pair, as opening `/dev/ptmx` does.
///
/// # Errors
/// `ENOSPC` if there are too many; `ENOMEM`.
pub fn open_master() -> Result<Arc<Master>> {
    devpts::allocate(|index| {
        let pair = Arc::new(Pair {
            index,
            locked: AtomicBool::new(true),
            slave_closed: AtomicBool::new(false),
            packet_mode: AtomicBool::new(false),
            packet_status: AtomicU8::new(0),
            readers: Arc::new(WaitQueue::new()),
            writers: Arc::new(WaitQueue::new()),
        });
        let device = fs::inode::make_dev(SLAVE_MAJOR, index);
        let slave = Tty::try_new(device, Termios::pty(), Box::new(SlaveDriver(pair.clone())))
            .map_err(|_| Errno::ENOMEM)?;
        Ok(Arc::new(Master {
            slave: Arc::new(slave),
            pair,
        }))
    })
}

impl Master {
    /// The slave's terminal.
    pub fn slave(&self) -> &Arc<Tty> {
        &self.slave
    }

    /// Whether the slave may not be opened yet.
    pub fn is_locked(&self) -> bool {
        self.pair.locked.load(Ordering::Acquire)
    }

    /// Bytes that a read would find.
    pub fn readable_len(&self) -> usize {
        self.slave.state.lock().output.len()
    }

    fn reports_wait(&self) -> bool {
        self.pair.packet_mode.load(Ordering::Acquire)
            && self.pair.packet_status.load(Ordering::Acquire) != 0
    }

    fn set_packet_mode(&self, on: bool) {
        if on {
            if !self.pair.packet_mode.load(Ordering::Acquire) {
                self.pair.packet_status.store(0, Ordering::Release);
            }
            self.pair.packet_mode.store(true, Ordering::Release);
        } else {
            self.pair.packet_mode.store(false, Ordering::Release);
        }
    }

    /// `TIOCGPTPEER`: opens the slave whatever its name is now.
    fn open_peer(&self, flags: u32) -> Result<u64> {
        let file = devpts::open_slave(self.pair.index, flags)?;
        let thread = current();
        let cloexec = flags & fs::file::oflag::O_CLOEXEC != 0;
        let limit = thread.process().limit(Resource::Files);
        thread
            .files()
            .install(file, cloexec, limit)
            .map(|fd| fd as u64)
    }
}

impl FileOps for Master {
    fn splices(&self) -> bool {
        true
    }

    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        if buf.remaining() == 0 {
            return Ok(0);
        }
        if self.reports_wait() {
            let status = self.pair.packet_status.swap(0, Ordering::AcqRel);
            return match buf.put(&[status]) {
                1 => Ok(1),
                _ => {
                    self.pair.packet_status.fetch_or(status, Ordering::AcqRel);
                    Err(Errno::EFAULT)
                }
            };
        }
        let (done, effects) = {
            let mut state = self.slave.state.lock();
            if state.output.is_empty() {
                drop(state);
                let gone = self.pair.slave_closed.load(Ordering::Acquire);
                return Err(if gone { Errno::EIO } else { Errno::EAGAIN });
            }
            let mut done = 0;
            if self.pair.packet_mode.load(Ordering::Acquire) {
                done = buf.put(&[0]);
            }
            while !state.output.is_empty() && buf.remaining() > 0 {
                let run = state.output.front();
                let (offered, took) = (run.len(), buf.put(run));
                state.output.consume(took);
                done += took;
                if took < offered {
                    break;
                }
            }
            (done, state.output_taken(&self.slave))
        };
        self.slave.carry_out(effects);
        if done == 0 && buf.faulted() {
            Err(Errno::EFAULT)
        } else {
            Ok(done)
        }
    }

    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        match self.slave.receive_from(buf) {
            0 if buf.faulted() => Err(Errno::EFAULT),
            0 if buf.remaining() > 0 => Err(Errno::EAGAIN),
            n => Ok(n),
        }
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register_rw(&self.pair.readers, &self.pair.writers);
        }
        let mut events = PollEvents::empty();
        if self.readable_len() > 0 {
            events |= PollEvents::READ;
        }
        if self.reports_wait() {
            events |= PollEvents::READ | PollEvents::PRI;
        }
        if self.pair.slave_closed.load(Ordering::Acquire) {
            events |= PollEvents::HUP;
        }
        if self.slave.receive_room() > 0 {
            events |= PollEvents::WRITE;
        }
        events
    }

    fn ioctl(&self, file: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        let thread = &current();
        let request = ioctl::Request {
            tty: &self.slave,
            thread,
            file,
            cmd,
            arg,
            mem,
            master: Some(self),
        };
        let flag = |flag: &AtomicBool| i32::from(flag.load(Ordering::Acquire));
        match cmd {
            TIOCGPTN => request.put_int(self.pair.index as i32),
            TIOCSPTLCK => {
                self.pair
                    .locked
                    .store(request.get_int()? != 0, Ordering::Release);
                Ok(0)
            }
            TIOCGPTLCK => request.put_int(flag(&self.pair.locked)),
            TIOCPKT => {
                self.set_packet_mode(request.get_int()? != 0);
                Ok(0)
            }
            TIOCGPKT => request.put_int(flag(&self.pair.packet_mode)),
            TIOCSIG => {
                let signal = Signal::new(arg as i32).ok_or(Errno::EINVAL)?;
                self.slave.signal_foreground(signal);
                Ok(0)
            }
            TIOCGPTPEER => self.open_peer(arg as u32),
            TIOCNOTTY => Err(Errno::ENOTTY),
            _ => request.run(),
        }
    }

    fn release(&self, _: &File) {
        devpts::remove(self.pair.index);
        self.pair.packet_mode.store(false, Ordering::Release);
        self.slave.hang_up();
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Master({})", self.pair.index)
    }
}
