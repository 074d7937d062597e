//! Calls that look into other processes: their memory, what is advised about it, and whether they share things.
//!
//! Source: process_vm_readv(2), process_madvise(2), kcmp(2).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use executor::cpu;
use fs::{Cap, Errno, Result};

use super::{Call, Plain, SysResult};
use crate::mm::AddressSpace;
use crate::process::access::{self, By};
use crate::process::{Pid, Thread, pidfd, table};
use crate::random;
use crate::usermem::{self, IOV_MAX, IoVec, RW_MAX};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (310, process_vm_readv),
    (311, process_vm_writev),
    (312, kcmp),
    (440, process_madvise),
];

/// Bytes that go through the kernel at a time.
const CHUNK: usize = 4096;

/// The thread with number `pid`, if the caller may look into it.
fn target(call: &Call<'_>, pid: Pid) -> Result<Arc<Thread>> {
    let thread = table::lock().thread(pid).cloned().ok_or(Errno::ESRCH)?;
    access::check(call.thread, &thread, By::RealIds)?;
    Ok(thread)
}

/// A walk over scattered memory.
struct Parts<'a> {
    parts: &'a [IoVec],
    offset: u64,
}

impl Parts<'_> {
    /// Where the walk is, and how many bytes lie there in one piece.
    fn here(&mut self) -> Option<(u64, usize)> {
        loop {
            let part = self.parts.first()?;
            if self.offset < part.len {
                let left = (part.len - self.offset).min(CHUNK as u64) as usize;
                return Some((part.base.wrapping_add(self.offset), left));
            }
            self.parts = &self.parts[1..];
            self.offset = 0;
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.offset += bytes as u64;
    }
}

fn parts(at: u64, count: u64) -> Result<Vec<IoVec>> {
    if count > IOV_MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let parts = usermem::read_vec::<IoVec>(at, count as usize)?;
    if parts.iter().any(|part| (part.len as i64) < 0) {
        return Err(Errno::EINVAL);
    }
    Ok(parts)
}

/// Moves up to `len` bytes between the caller's memory at `here` and `space` at `there`; gives how many went.
fn copy(
    space: &AddressSpace,
    here: u64,
    there: u64,
    len: usize,
    write: bool,
    chunk: &mut [u8],
) -> Result<usize> {
    let chunk = &mut chunk[..len];
    if write {
        usermem::read_bytes(here, chunk)?;
        Ok(space.write_memory(there, chunk, false))
    } else {
        let found = space.read_memory(there, chunk, false);
        usermem::write_bytes(here, &chunk[..found])?;
        Ok(found)
    }
}

fn process_vm(call: &Call<'_>, write: bool) -> SysResult {
    if call.arg(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let local = parts(call.arg(1), call.arg(2))?;
    let remote = parts(call.arg(3), call.arg(4))?;
    let (mut local, mut remote) = (
        Parts {
            parts: &local,
            offset: 0,
        },
        Parts {
            parts: &remote,
            offset: 0,
        },
    );
    if local.here().is_none() || remote.here().is_none() {
        return Ok(0);
    }
    let space = target(call, call.int(0))?.mm().ok_or(Errno::ESRCH)?;
    let mut chunk = alloc::vec![0; CHUNK];
    let mut done = 0;
    while let (Some((here, a)), Some((there, b))) = (local.here(), remote.here()) {
        if done >= RW_MAX || call.thread.fatal_signal_pending() {
            break;
        }
        let len = a.min(b);
        let moved = copy(&space, here, there, len, write, &mut chunk);
        let n = *moved.as_ref().unwrap_or(&0);
        done += n;
        if n < len {
            // What went before counts; where there is nothing, the fault does.
            return if done > 0 {
                Ok(done as u64)
            } else {
                Err(moved.err().unwrap_or(Errno::EFAULT).into())
            };
        }
        local.advance(len);
        remote.advance(len);
    }
    Ok(done as u64)
}

fn process_vm_readv(call: &mut Call<'_>) -> SysResult {
    process_vm(call, false)
}

fn process_vm_writev(call: &mut Call<'_>) -> SysResult {
    process_vm(call, true)
}

/// Advises about ranges of the process of a descriptor, as `madvise(2)`; gives the bytes of those before the first failure.
fn process_madvise(call: &mut Call<'_>) -> SysResult {
    /// What does not change what the process finds there: `MADV_WILLNEED`, `MADV_COLD`, `MADV_PAGEOUT`.
    const HARMLESS: [i32; 3] = [3, 20, 21];
    if call.arg(4) as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let ranges = parts(call.arg(1), call.arg(2))?;
    let process = pidfd::process_of(&*call.thread.file(call.int(0))?)?;
    let advice = call.int(3);
    if !HARMLESS.contains(&advice) {
        return Err(Errno::EINVAL.into());
    }
    let leader = process.leader().ok_or(Errno::ESRCH)?;
    access::check(call.thread, &leader, By::FileIds).map_err(|_| Errno::EACCES)?;
    let space = process.mm().ok_or(Errno::ESRCH)?;
    if !call.thread.cred().capable(Cap::SysNice) {
        return Err(Errno::EPERM.into());
    }
    let mut done = 0;
    for range in &ranges {
        match space.madvise(range.base, range.len, advice) {
            Ok(()) => done += range.len,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// What kcmp(2) compares.
mod kind {
    pub const FILE: i32 = 0;
    pub const VM: i32 = 1;
    pub const FILES: i32 = 2;
    pub const FS: i32 = 3;
    pub const SIGHAND: i32 = 4;
    pub const IO: i32 = 5;
    pub const SYSVSEM: i32 = 6;
}

/// The address of what `thread` has of this kind.
fn object(thread: &Thread, kind: i32, index: u64) -> Result<usize> {
    fn address<T: ?Sized>(object: Option<Arc<T>>) -> usize {
        object.map_or(0, |object| Arc::as_ptr(&object).cast::<()>() as usize)
    }
    Ok(match kind {
        kind::FILE => {
            let files = thread.try_files().ok_or(Errno::EBADF)?;
            let fd = i32::try_from(index).map_err(|_| Errno::EBADF)?;
            address(Some(files.get(fd)?))
        }
        kind::VM => address(thread.mm()),
        kind::FILES => address(thread.try_files()),
        kind::FS => address(thread.try_fs()),
        kind::SIGHAND => {
            let sighand = thread.process().signals.lock().sighand.clone();
            address(Some(sighand))
        }
        // Nobody has such a context: all share none.
        kind::IO | kind::SYSVSEM => 0,
        _ => return Err(Errno::EINVAL),
    })
}

/// The order of two addresses that tells nothing of the addresses: 0 equal, 1 less, 2 greater.
fn order(a: usize, b: usize) -> u64 {
    use conquer_once::spin::OnceCell;
    static COOKIE: OnceCell<[u64; 2]> = OnceCell::uninit();
    let new = [random::next_u64(), random::next_u64() | 1 << 63 | 1];
    let [xor, factor] = {
        // Whoever is first is not left in the midst of it, so others wait for a moment only.
        let _stay = cpu::preempt_disable();
        *COOKIE.get_or_init(|| new)
    };
    let hidden = |address: usize| (address as u64 ^ xor).wrapping_mul(factor);
    match hidden(a).cmp(&hidden(b)) {
        Ordering::Equal => 0,
        Ordering::Less => 1,
        Ordering::Greater => 2,
    }
}

fn kcmp(call: &mut Call<'_>) -> SysResult {
    let (one, two) = {
        let table = table::lock();
        let find = |pid| table.thread(pid).cloned().ok_or(Errno::ESRCH);
        (find(call.int(0))?, find(call.int(1))?)
    };
    access::check(call.thread, &one, By::RealIds)?;
    access::check(call.thread, &two, By::RealIds)?;
    let kind = call.int(2);
    let first = object(&one, kind, call.arg(3))?;
    let second = object(&two, kind, call.arg(4))?;
    Ok(order(first, second))
}
