//! Core files: what a process was like when a signal ended it.
//!
//! The thread that takes the signal ends all others first. Each of them hands its registers in on its way out
//! ([`hand_in`]) and waits, so that its memory and its place in the process stay until the file is written.
//!
//! Source: core(5).

mod elf;
pub mod pattern;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use executor::sync::{SpinLock, WaitQueue};
use fs::file::oflag;
use fs::inode::{S_IFMT, S_IFREG};
use fs::iobuf::SliceSource;
use fs::namei::Walk;
use fs::open::OpenHow;
use fs::{Errno, File};

use super::rlimit::Resource;
use super::trace::regs;
use super::{ExitStatus, Pid, Thread};
use crate::arch::fpu::FpuArea;
use crate::arch::user::UserRegs;
use crate::mm::AddressSpace;
use crate::signal::send::begin_exit;
use crate::signal::{SigInfo, Signal};

/// Which memory is written: `/proc/PID/coredump_filter`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filter(pub u32);

/// What can be asked for of private memory, shared memory, files and huge pages.
#[expect(missing_docs, reason = "the names are core(5)'s")]
pub mod filter {
    pub const ANON_PRIVATE: u32 = 1;
    pub const ANON_SHARED: u32 = 2;
    pub const MAPPED_PRIVATE: u32 = 4;
    pub const MAPPED_SHARED: u32 = 8;
    pub const ELF_HEADERS: u32 = 16;
    pub const ALL: u32 = 0x1ff;
}

impl Default for Filter {
    fn default() -> Self {
        Filter(0x33)
    }
}

/// One thread's part of the file.
struct Record {
    tid: Pid,
    /// `struct user_regs_struct`.
    regs: [u64; regs::WORDS],
    fpu: FpuArea,
    pending: u64,
    blocked: u64,
}

/// A core file in the making.
pub struct Dump {
    records: SpinLock<Vec<Record>>,
    done: AtomicBool,
    finished: WaitQueue,
}

impl core::fmt::Debug for Dump {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Dump(..)")
    }
}

fn record(thread: &Thread, own: &UserRegs) -> Record {
    let (pending, blocked) = {
        let state = thread.process().signals.lock();
        let signals = thread.signals.get(&state.token);
        (signals.pending.set().0, signals.blocked.0)
    };
    Record {
        tid: thread.tid(),
        regs: regs::words(own, regs::orig_rax(own), thread.machine.bases()),
        fpu: thread.machine.fpu.get(),
        pending,
        blocked,
    }
}

/// Ends the process of `thread` by the signal of `info`, and writes a core file first where it may.
///
/// # Context
/// The thread's own poll; nothing held.
pub async fn end(thread: &Arc<Thread>, regs: &UserRegs, info: &SigInfo) {
    let process = thread.process();
    let Some(signal) = Signal::new(info.signo) else {
        return;
    };
    let limit = process.limit(Resource::Core);
    let (dumpable, filter) = {
        let image = process.image.lock();
        (image.dumpable, image.dump_filter)
    };
    let wanted = dumpable != 0 && limit >= elf::PAGE;
    let dump = Arc::new(Dump {
        records: SpinLock::new(Vec::new()),
        done: AtomicBool::new(false),
        finished: WaitQueue::new(),
    });
    {
        let mut state = process.signals.lock();
        if state.exit.is_some() {
            return;
        }
        if wanted {
            *process.dump.lock() = Some(dump.clone());
        }
        let status = ExitStatus::Signalled {
            signal,
            core: false,
        };
        begin_exit(&mut state, status);
    }
    if !wanted {
        return;
    }
    let all_in = || {
        let state = process.signals.lock();
        let records = dump.records.lock();
        let handed_in =
            |other: &Arc<Thread>| records.iter().any(|record| record.tid == other.tid());
        state
            .threads
            .iter()
            .all(|other| Arc::ptr_eq(other, thread) || handed_in(other))
            .then_some(())
    };
    process.thread_left.wait_until(all_in).await;
    let own = record(thread, regs);
    let others = core::mem::take(&mut *dump.records.lock());
    let outcome = write(thread, &own, &others, info, filter, limit, dumpable);
    match outcome {
        Ok(()) => {
            let core = ExitStatus::Signalled { signal, core: true };
            process.signals.lock().exit = Some(core);
        }
        Err(e) => log::info!("core: process {}: {e}", process.pid),
    }
    let ended = process.dump.lock().take();
    drop(ended);
    dump.done.store(true, Ordering::Release);
    dump.finished.wake_all();
}

/// `thread` is about to end: where its process writes a core file, hands its registers in and waits until that is done.
///
/// # Context
/// The thread's own poll; nothing held.
pub async fn hand_in(thread: &Arc<Thread>, regs: &UserRegs) {
    let process = thread.process();
    let Some(dump) = process.dump.lock().clone() else {
        return;
    };
    let record = record(thread, regs);
    {
        let mut records = dump.records.lock();
        if records.try_reserve(1).is_err() {
            // The file does without this thread, whose end is waited for instead.
            return;
        }
        records.push(record);
    }
    process.thread_left.wake_all();
    let done = || dump.done.load(Ordering::Acquire).then_some(());
    dump.finished.wait_until(done).await;
}

/// Opens the file and writes it.
fn write(
    thread: &Arc<Thread>,
    own: &Record,
    others: &[Record],
    info: &SigInfo,
    filter: Filter,
    limit: u64,
    dumpable: u32,
) -> Result<(), Errno> {
    let space = thread.mm().ok_or(Errno::ESRCH)?;
    let path = pattern::path(thread, info.signo);
    // What gained privileges writes where nobody else could have put something.
    if dumpable != super::access::DUMPABLE && path.first() != Some(&b'/') {
        return Err(Errno::EPERM);
    }
    let file = open(thread, &path, dumpable)?;
    let mut out = Out {
        file: &file,
        pos: 0,
        limit,
    };
    let outcome = elf::write(&mut out, thread, &space, own, others, info, filter);
    let size = out.pos;
    // The last pages may have been zeros, which are holes.
    let sized = fs::attr::ftruncate(&file, size, u64::MAX);
    file.close(0)?;
    match outcome {
        // A file that the limit cuts off is one all the same.
        Err(Errno::EFBIG | Errno::ENOSPC) => Ok(()),
        outcome => outcome.and(sized),
    }
}

fn open(thread: &Thread, path: &[u8], dumpable: u32) -> Result<Arc<File>, Errno> {
    let context = thread.fs().lock().clone();
    let cred = thread.cred();
    let walk = Walk {
        root: &context.root,
        start: &context.cwd,
        cred: &cred,
    };
    if dumpable == super::access::DUMPABLE {
        // Whatever was there may be a link to something else; if it cannot go, opening fails.
        let _ = fs::dirops::unlink(&walk, path);
    }
    let how = OpenHow {
        flags: oflag::O_CREAT | oflag::O_RDWR | oflag::O_NOFOLLOW,
        mode: 0o600,
        umask: context.umask,
    };
    let file = fs::open::open(&walk, path, how)?;
    let inode = file.inode();
    if inode.mode() & S_IFMT != S_IFREG || inode.nlink() != 1 || inode.uid() != cred.fsuid {
        return Err(Errno::EPERM);
    }
    fs::attr::ftruncate(&file, 0, u64::MAX)?;
    Ok(file)
}

/// Where the file has come to, and how long it may become.
struct Out<'a> {
    file: &'a File,
    pos: u64,
    limit: u64,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if self.pos + bytes.len() as u64 > self.limit {
            return Err(Errno::EFBIG);
        }
        let mut source = SliceSource::new(bytes);
        let done = self.file.pwrite(self.pos, &mut source)?;
        if done < bytes.len() {
            return Err(Errno::ENOSPC);
        }
        self.pos += bytes.len() as u64;
        Ok(())
    }

    /// Leaves a hole.
    fn skip(&mut self, len: u64) -> Result<(), Errno> {
        if self.pos + len > self.limit {
            return Err(Errno::EFBIG);
        }
        self.pos += len;
        Ok(())
    }
}

/// Bytes of `space` at `addr`, if there are that many.
fn peek(space: &AddressSpace, addr: u64, buf: &mut [u8]) -> bool {
    space.read_memory(addr, buf, true) == buf.len()
}
