//! `signalfd(2)`: signals as something to read.
//!
//! Whose signals are read is decided by who reads, not by who made the file: a child that inherits it reads its own.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use executor::sync::SpinLock;
use fs::file::{Positioning, oflag};
use fs::{Errno, File, FileOps, PollEvents, PollTable, Result, Sink, anon};

use super::{Call, Plain, SysResult, fd};
use crate::process;
use crate::signal::info::{CLD_CONTINUED, CLD_EXITED, SI_TIMER};
use crate::signal::{SigInfo, SigSet, Signal, deliver};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(282, signalfd), (289, signalfd4)];

/// The size of `struct signalfd_siginfo`.
const RECORD: usize = 128;

/// The object behind a signalfd.
struct SignalFd {
    /// The signals it is for.
    mask: AtomicU64,
    /// A signal that was taken and whose reader's page was missing.
    undelivered: SpinLock<Option<SigInfo>>,
}

impl SignalFd {
    fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::Relaxed))
    }
}

/// Lays a signal out as `struct signalfd_siginfo`.
fn record(info: &SigInfo) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &info.signo.to_ne_bytes());
    put(4, &info.errno.to_ne_bytes());
    put(8, &info.code.to_ne_bytes());
    let signal = Signal::new(info.signo);
    let faults = signal.is_some_and(|s| SigSet::SYNCHRONOUS.contains(s));
    if info.code == SI_TIMER {
        // Timer and overrun, then the value.
        put(24, &info.pid().to_ne_bytes());
        put(32, &info.uid().to_ne_bytes());
    } else if faults && info.code > 0 {
        put(72, &info.addr().to_ne_bytes());
        return bytes;
    } else {
        put(12, &info.pid().to_ne_bytes());
        put(16, &info.uid().to_ne_bytes());
    }
    if signal == Some(Signal::SIGCHLD) && (CLD_EXITED..=CLD_CONTINUED).contains(&info.code) {
        put(40, &info.status().to_ne_bytes());
        put(56, &info.fields[2].to_ne_bytes());
        put(64, &info.fields[3].to_ne_bytes());
    } else if info.code < 0 {
        put(44, &(info.value() as u32).to_ne_bytes());
        put(48, &info.value().to_ne_bytes());
    }
    bytes
}

impl FileOps for SignalFd {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        if buf.remaining() < RECORD {
            return Err(Errno::EINVAL);
        }
        let thread = process::current();
        let mut done = 0;
        while buf.remaining() >= RECORD {
            let kept = self.undelivered.with(Option::take);
            let Some(info) = kept.or_else(|| deliver::take_pending(&thread, self.mask())) else {
                break;
            };
            if buf.put(&record(&info)) < RECORD {
                *self.undelivered.lock() = Some(info);
                return if done > 0 {
                    Ok(done)
                } else {
                    Err(Errno::EFAULT)
                };
            }
            done += RECORD;
        }
        if done > 0 {
            Ok(done)
        } else {
            Err(Errno::EAGAIN)
        }
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        let thread = process::current();
        if let Some(table) = table {
            table.register(&thread.process().signal_wait);
        }
        let kept = self.undelivered.with(|kept| kept.is_some());
        if kept || !deliver::pending_in(&thread, self.mask()).is_empty() {
            PollEvents::IN
        } else {
            PollEvents::empty()
        }
    }

    fn show_fdinfo(&self, _: &File, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "sigmask:\t{:016x}", self.mask().0)
    }
}

fn make(call: &Call<'_>, flags: u32) -> SysResult {
    if flags & !(oflag::O_CLOEXEC | oflag::O_NONBLOCK) != 0 || call.arg(2) != 8 {
        return Err(Errno::EINVAL.into());
    }
    let mask = usermem::read::<SigSet>(call.arg(1))?.blockable();
    if call.int(0) != -1 {
        let file = call.thread.file(call.int(0))?;
        let signalfd = file.ops_as::<SignalFd>().ok_or(Errno::EINVAL)?;
        signalfd.mask.store(mask.0, Ordering::Relaxed);
        call.thread.process().signal_wait.wake_all();
        return Ok(call.arg(0));
    }
    call.admit_file()?;
    let ops = Arc::new(SignalFd {
        mask: AtomicU64::new(mask.0),
        undelivered: SpinLock::new(None),
    });
    let file = anon::file(
        "[signalfd]",
        ops,
        oflag::O_RDWR | flags & oflag::O_NONBLOCK,
        Positioning::Stream,
    )?;
    fd::install(call, file, flags & oflag::O_CLOEXEC != 0)
}

fn signalfd(call: &mut Call<'_>) -> SysResult {
    make(call, 0)
}

fn signalfd4(call: &mut Call<'_>) -> SysResult {
    make(call, call.arg(3) as u32)
}
