//! System calls: what a number does.
//!
//! Every call is a plain function that answers at once where it can. Where it must wait it says so by a [`Stop`], and
//! [`wait`] waits on its behalf and calls it again: a call that does not wait makes no future, and a thread that waits
//! keeps no stack, only the few words that the retry needs.
//!
//! The areas list their calls in tables of their own (`CALLS`); they are merged at compile time.

pub mod attr;
pub mod clone;
pub mod cwd;
pub mod epoll;
pub mod event;
pub mod exec;
pub mod fcntl;
pub mod fd;
pub mod futex;
pub mod ids;
pub mod ioprio;
pub mod ipc;
pub mod limit;
pub mod lock;
pub mod log;
pub mod mm;
pub mod mount;
pub mod mq;
pub mod names;
pub mod open;
pub mod path;
pub mod peek;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod process;
pub mod ptrace;
pub mod reap;
pub mod rseq;
pub mod rw;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod signalfd;
pub mod slow;
pub mod socket;
pub mod splice;
pub mod stat;
pub mod sysinfo;
pub mod thread;
pub mod time;
pub mod timer;
pub mod transfer;
pub mod usage;
pub mod utime;
pub mod wait;
pub mod watched;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use executor::time::Instant;
use fs::{Cap, Errno, File, PollEvents};

use crate::arch::user::UserRegs;
use crate::process::Thread;

/// A system call under way.
pub struct Call<'a> {
    /// Who calls.
    pub thread: &'a Arc<Thread>,
    /// The caller's registers.
    pub regs: &'a mut UserRegs,
    /// Bytes that earlier attempts of this call have moved; see [`Stop::NotReady`].
    pub done: usize,
    /// A file that an earlier attempt of this call has opened, and whose other end it waits for.
    pub opening: Option<Arc<File>>,
    /// When waiting ends, where the call has such a time: set by the first attempt, kept for the later ones.
    pub deadline: Option<Instant>,
}

impl Call<'_> {
    /// The number of the call.
    #[inline]
    pub fn number(&self) -> usize {
        self.regs.error as usize
    }

    /// Argument `n`, 0 to 5.
    #[inline(always)]
    pub fn arg(&self, n: usize) -> u64 {
        match n {
            0 => self.regs.rdi,
            1 => self.regs.rsi,
            2 => self.regs.rdx,
            3 => self.regs.r10,
            4 => self.regs.r8,
            _ => self.regs.r9,
        }
    }

    /// Argument `n` as the 32-bit integer that many calls take.
    #[inline(always)]
    pub fn int(&self, n: usize) -> i32 {
        self.arg(n) as i32
    }

    /// Whether the call may open a file.
    ///
    /// # Errors
    /// `ENOMEM` where memory is short, `ENFILE` where there are too many files for the unprivileged.
    #[inline]
    pub fn admit_file(&self) -> Result<(), Errno> {
        crate::mm::admit()?;
        fs::file::admit(|| self.thread.cred().capable(Cap::SysAdmin))
    }
}

/// Why a plain attempt did not give a result.
#[derive(Debug)]
pub enum Stop {
    /// The call fails.
    Error(Errno),
    /// The file has nothing for the call yet: it is attempted again when one of `events` shows. What the attempt did
    /// move is in [`Call::done`]; a signal then ends the call with that count, or else with `ERESTARTSYS`.
    NotReady(Arc<File>, PollEvents),
    /// The call has an asynchronous part of its own, in [`wait`].
    Wait,
    /// The call is done, with result 0, once other tasks have had their turn.
    Yield,
}

impl From<Errno> for Stop {
    #[inline]
    fn from(e: Errno) -> Self {
        match e {
            // The file takes its time, and the call does not know how to wait for it.
            Errno::EIOCBQUEUED => Stop::Error(Errno::EINVAL),
            e => Stop::Error(e),
        }
    }
}

/// What a plain attempt gives.
pub type SysResult = core::result::Result<u64, Stop>;

/// The plain part of a system call.
///
/// # Context
/// Task; interrupts on; no lock held.
pub type Plain = fn(&mut Call<'_>) -> SysResult;

/// One past the largest number that has an entry.
pub const NUMBERS: usize = 512;

const fn merge(areas: &[&[(u16, Plain)]]) -> [Plain; NUMBERS] {
    let mut table = [missing as Plain; NUMBERS];
    let mut i = 0;
    while i < areas.len() {
        let mut j = 0;
        while j < areas[i].len() {
            let (number, plain) = areas[i][j];
            table[number as usize] = plain;
            j += 1;
        }
        i += 1;
    }
    table
}

static TABLE: [Plain; NUMBERS] = merge(&[
    attr::CALLS,
    clone::CALLS,
    cwd::CALLS,
    epoll::CALLS,
    event::CALLS,
    exec::CALLS,
    fd::CALLS,
    futex::CALLS,
    ids::CALLS,
    ioprio::CALLS,
    ipc::CALLS,
    limit::CALLS,
    lock::CALLS,
    log::CALLS,
    mm::CALLS,
    mount::CALLS,
    mq::CALLS,
    names::CALLS,
    open::CALLS,
    peek::CALLS,
    pidfd::CALLS,
    pipe::CALLS,
    poll::CALLS,
    process::CALLS,
    ptrace::CALLS,
    reap::CALLS,
    rseq::CALLS,
    rw::CALLS,
    sched::CALLS,
    seccomp::CALLS,
    signal::CALLS,
    signalfd::CALLS,
    socket::CALLS,
    splice::CALLS,
    stat::CALLS,
    sysinfo::CALLS,
    thread::CALLS,
    time::CALLS,
    timer::CALLS,
    transfer::CALLS,
    usage::CALLS,
    utime::CALLS,
]);

/// How often each missing call was asked for.
static MISSING: [AtomicU32; NUMBERS] = [const { AtomicU32::new(0) }; NUMBERS];

/// How often the call `number`, which does not exist yet, was asked for.
pub fn missing_count(number: usize) -> u32 {
    MISSING.get(number).map_or(0, |n| n.load(Ordering::Relaxed))
}

fn missing(call: &mut Call<'_>) -> SysResult {
    if MISSING[call.number()].fetch_add(1, Ordering::Relaxed) == 0 {
        ::log::debug!("syscall: number {} is not there yet", call.number());
    }
    Err(Stop::Error(Errno::ENOSYS))
}

/// Attempts the call in `call.regs`.
#[inline]
pub fn attempt(call: &mut Call<'_>) -> SysResult {
    match TABLE.get(call.number()) {
        Some(plain) => plain(call),
        None => Err(Stop::Error(Errno::ENOSYS)),
    }
}
