//! Shared memory: segments that processes attach to.
//!
//! A segment is a nameless file in memory; attached, it is mapped shared. A segment that is removed while it is attached
//! keeps its number, but only who has it attached keeps its memory: it is gone with the last of them. How often a segment
//! is attached is not kept but counted when somebody asks, since every fork, unmapping and split would have to keep it.
//!
//! Source: shmget(2), shmop(2), shmctl(2).

use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use executor::sync::SpinLock;
use fs::dentry::Dentry;
use fs::file::{Positioning, oflag};
use fs::mount::{Mount, Path};
use fs::{Cap, Credentials, Errno, File, FileOps, Result, attr, tmpfs};

use super::perm::{self, Perm, with_perm};
use super::table::{Object, Table};
use super::{limits, now};
use crate::mm::space::for_each_space;
use crate::mm::{
    AddressSpace, Backing, FileBacking, MapFlags, MapRequest, PAGE_SIZE, Prot, page_alloc,
};
use crate::process::rlimit::Resource;
use crate::process::{Pid, Thread};

/// All segments.
pub static SEGMENTS: Table<Segment> = Table::new();

const PAGE: u64 = PAGE_SIZE as u64;

/// In the mode: removed, and gone with its last attachment.
const DEST: u32 = 0o1000;
/// In the mode: kept in memory.
const LOCKED: u32 = 0o2000;

/// Flags of shmget(2).
mod get_flag {
    pub const HUGETLB: u32 = 0o4000;
}

/// Flags of shmat(2).
mod at_flag {
    pub const RDONLY: u32 = 0o10000;
    pub const RND: u32 = 0o20000;
    pub const REMAP: u32 = 0o40000;
    pub const EXEC: u32 = 0o100000;
}

/// The memory of a segment: a name in no directory, which the files that are mapped lead to.
enum Memory {
    /// It is there as long as the segment.
    Kept(Arc<Dentry>),
    /// It is there as long as it is mapped.
    Attached(Weak<Dentry>),
}

/// When a segment was attached, detached and changed, and who did.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of struct shmid_ds")]
pub struct Figures {
    pub atime: i64,
    pub dtime: i64,
    pub ctime: i64,
    pub cpid: Pid,
    pub lpid: Pid,
}

struct State {
    memory: Memory,
    figures: Figures,
}

/// A segment.
pub struct Segment {
    perm: SpinLock<Perm>,
    /// Bytes, as they were asked for.
    pub size: u64,
    mount: Arc<Mount>,
    ops: Arc<dyn FileOps>,
    state: SpinLock<State>,
}

impl Object for Segment {
    fn perm(&self) -> &SpinLock<Perm> {
        &self.perm
    }

    fn is_gone(&self) -> bool {
        match &self.state.lock().memory {
            Memory::Kept(_) => false,
            Memory::Attached(name) => name.strong_count() == 0,
        }
    }
}

/// Words of `struct shmid64_ds`.
pub const WORDS: usize = 14;

fn pages(size: u64) -> u64 {
    size.div_ceil(PAGE)
}

/// shmget(2).
///
/// # Errors
/// Those of the man page.
pub fn get(thread: &Thread, key: i32, size: u64, flags: u32) -> Result<i32> {
    let cred = thread.cred();
    let fits = |segment: &Segment| {
        if size > segment.size {
            return Err(Errno::EINVAL);
        }
        Ok(())
    };
    SEGMENTS.find_or_make(key, flags, limits::SHMMNI.count(), &cred, fits, |perm| {
        if size == 0 || size > limits::SHMMAX.get() {
            return Err(Errno::EINVAL);
        }
        if flags & get_flag::HUGETLB != 0 {
            // There are none.
            return Err(Errno::ENOMEM);
        }
        if totals()?.1.saturating_add(pages(size)) > limits::SHMALL.get() {
            return Err(Errno::ENOSPC);
        }
        if pages(size) > page_alloc::total() as u64 {
            return Err(Errno::ENOMEM);
        }
        let name = format!("SYSV{:08x}", perm.key);
        let file = tmpfs::nameless(name.as_bytes(), oflag::O_RDWR, 0, cred.fsuid, cred.fsgid)?;
        attr::ftruncate(&file, size, u64::MAX)?;
        Ok(Segment {
            perm: SpinLock::new(perm),
            size,
            mount: file.path().mount.clone(),
            ops: file.ops().clone(),
            state: SpinLock::new(State {
                memory: Memory::Kept(file.path().dentry.clone()),
                figures: Figures {
                    atime: 0,
                    dtime: 0,
                    ctime: now(),
                    cpid: thread.process().pid,
                    lpid: 0,
                },
            }),
        })
    })
}

/// Segments, their pages, and those of them that are there.
fn totals() -> Result<(u64, u64, u64)> {
    SEGMENTS.take_out_gone();
    let (mut count, mut all, mut there) = (0, 0, 0);
    SEGMENTS.each(|segment| {
        count += 1;
        all += pages(segment.size);
        there += segment.resident();
        Ok(())
    })?;
    Ok((count, all, there))
}

/// `struct shminfo64`: the limits.
pub fn limits() -> [u64; 9] {
    let most = limits::SHMMNI.count() as u64;
    let (max, all) = (limits::SHMMAX.get(), limits::SHMALL.get());
    [max, 1, most, most, all, 0, 0, 0, 0]
}

/// `struct shm_info`: what there is.
///
/// # Errors
/// None.
pub fn usage() -> Result<[u64; 6]> {
    let (count, all, there) = totals()?;
    Ok([count, all, there, 0, 0, 0])
}

/// shmat(2): gives the address.
///
/// # Errors
/// Those of the man page.
pub fn attach(thread: &Thread, id: i32, addr: u64, flags: u32) -> Result<u64> {
    crate::mm::admit()?;
    let segment = SEGMENTS.get(id)?;
    let (remap, mut at) = (flags & at_flag::REMAP != 0, addr);
    if !at.is_multiple_of(PAGE) {
        if flags & at_flag::RND == 0 {
            return Err(Errno::EINVAL);
        }
        at -= at % PAGE;
    }
    if at == 0 && remap {
        return Err(Errno::EINVAL);
    }
    let (mut prot, mut wanted) = (Prot::READ, perm::READ);
    if flags & at_flag::RDONLY == 0 {
        prot |= Prot::WRITE;
        wanted |= perm::WRITE;
    }
    if flags & at_flag::EXEC != 0 {
        prot |= Prot::EXEC;
        wanted |= perm::EXEC;
    }
    let cred = thread.cred();
    segment.perm_now().check(&cred, wanted)?;
    let file = segment.open(prot.contains(Prot::WRITE))?;
    let place = match (addr, remap) {
        (0, _) => MapFlags::empty(),
        (_, true) => MapFlags::FIXED,
        (_, false) => MapFlags::FIXED_NOREPLACE,
    };
    let space = thread.mm().ok_or(Errno::ENOMEM)?;
    let mapped = space.mmap(MapRequest {
        low: cred.capable(Cap::SysRawio),
        addr: at,
        len: segment.size,
        prot,
        flags: MapFlags::SHARED | place,
        backing: Backing::File(FileBacking {
            mapping: file.ops().mmap(&file)?,
            file: Some(file),
            offset: 0,
            name: None,
        }),
    });
    let mapped = mapped.map_err(|e| match e {
        Errno::EEXIST => Errno::EINVAL,
        e => e,
    })?;
    let mut state = segment.state.lock();
    state.figures.atime = now();
    state.figures.lpid = thread.process().pid;
    Ok(mapped)
}

/// What tells the memory that a mapping shows from all other.
fn name_of(file: &Arc<File>) -> *const Dentry {
    Arc::as_ptr(&file.path().dentry)
}

/// Parts of a space that show `memory` as if it had been attached at `addr`.
fn parts(space: &AddressSpace, addr: u64, memory: &Arc<Dentry>) -> Result<Vec<(u64, u64)>> {
    let mut parts = Vec::new();
    let mut failed = false;
    space.for_each_vma(addr, &mut |vma| {
        let same = vma
            .file
            .is_some_and(|file| name_of(file) == Arc::as_ptr(memory));
        if same && vma.start - addr == vma.offset {
            failed = parts.try_reserve(1).is_err();
            if !failed {
                parts.push((vma.start, vma.end - vma.start));
            }
        }
        !failed
    });
    if failed {
        Err(Errno::ENOMEM)
    } else {
        Ok(parts)
    }
}

/// The segment whose memory this is.
fn of_memory(memory: &Arc<Dentry>) -> Option<Arc<Segment>> {
    let mut found = None;
    let _ = SEGMENTS.each(|segment| {
        if segment
            .memory()
            .is_some_and(|other| Arc::ptr_eq(&other, memory))
        {
            found = Some(segment.clone());
        }
        Ok(())
    });
    found
}

/// shmdt(2).
///
/// # Errors
/// `EINVAL` where nothing is attached; `ENOMEM`.
pub fn detach(thread: &Thread, addr: u64) -> Result<()> {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let space = thread.mm().ok_or(Errno::EINVAL)?;
    let mut from = addr;
    // The first mapping that was attached there; a part of it may have been unmapped.
    let (segment, memory) = loop {
        let mut next = None;
        space.for_each_vma(from, &mut |vma| {
            let fits = vma.start >= addr && vma.start - addr == vma.offset;
            let file = vma.file.filter(|_| fits);
            next = file.map(|file| (file.path().dentry.clone(), vma.end));
            next.is_none()
        });
        let (memory, end) = next.ok_or(Errno::EINVAL)?;
        match of_memory(&memory) {
            Some(segment) => break (segment, memory),
            None => from = end,
        }
    };
    for (start, len) in parts(&space, addr, &memory)? {
        space.munmap(start, len)?;
    }
    {
        let mut state = segment.state.lock();
        state.figures.dtime = now();
        state.figures.lpid = thread.process().pid;
    }
    drop(memory);
    SEGMENTS.take_out_gone();
    Ok(())
}

/// How often each of `memories` is mapped.
fn count(memories: &[Option<Arc<Dentry>>]) -> Result<Vec<u64>> {
    let len = memories.len();
    let (mut sorted, mut counts) = (Vec::new(), Vec::new());
    sorted.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    counts.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    let address = |memory: &Arc<Dentry>| Arc::as_ptr(memory);
    for (at, memory) in memories.iter().enumerate() {
        sorted.push((memory.as_ref().map_or(core::ptr::null(), address), at));
    }
    sorted.sort_unstable();
    counts.resize(len, 0);
    for_each_space(|space| {
        space.for_each_vma(0, &mut |vma| {
            let key = vma.file.map(name_of);
            let found = key.and_then(|key| sorted.binary_search_by_key(&key, |(k, _)| *k).ok());
            if let Some(found) = found {
                counts[sorted[found].1] += 1;
            }
            true
        });
    });
    Ok(counts)
}

impl Segment {
    /// Owner and rights.
    pub fn perm_now(&self) -> Perm {
        *self.perm.lock()
    }

    fn memory(&self) -> Option<Arc<Dentry>> {
        match &self.state.lock().memory {
            Memory::Kept(name) => Some(name.clone()),
            Memory::Attached(name) => name.upgrade(),
        }
    }

    /// A file to map it by.
    fn open(&self, writable: bool) -> Result<Arc<File>> {
        let path = Path {
            mount: self.mount.clone(),
            dentry: self.memory().ok_or(Errno::EIDRM)?,
        };
        let flags = if writable {
            oflag::O_RDWR
        } else {
            oflag::O_RDONLY
        };
        File::new(self.ops.clone(), path, flags, Positioning::Seekable)
    }

    /// Its pages that are there.
    fn resident(&self) -> u64 {
        let memory = self.memory();
        let inode = memory.as_ref().and_then(|name| name.inode());
        let mapping = inode.and_then(|inode| inode.mapping());
        mapping.map_or(0, |mapping| mapping.pages())
    }

    /// How often it is attached.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn attached(&self) -> Result<u64> {
        Ok(count(&[self.memory()])?[0])
    }

    /// Its figures.
    pub fn figures(&self) -> Figures {
        self.state.lock().figures
    }

    /// As `struct shmid64_ds`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn words(&self) -> Result<[u64; WORDS]> {
        let figures = self.figures();
        let pids = u64::from(figures.cpid as u32) | u64::from(figures.lpid as u32) << 32;
        let rest = [
            self.size,
            figures.atime as u64,
            figures.dtime as u64,
            figures.ctime as u64,
            pids,
            self.attached()?,
        ];
        Ok(with_perm(&self.perm_now(), &rest))
    }

    /// Takes over owner and rights (`IPC_SET`).
    ///
    /// # Errors
    /// `EPERM`, `EINVAL`.
    pub fn change(&self, cred: &Credentials, words: &[u64; WORDS]) -> Result<()> {
        let mut state = self.state.lock();
        let mut perm = self.perm.lock();
        perm.check_owner(cred)?;
        perm.set(words)?;
        state.figures.ctime = now();
        Ok(())
    }

    /// Removes it: nobody finds it any more, and it is gone once it is not attached.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn remove(self: &Arc<Segment>, cred: &Credentials) -> Result<()> {
        self.perm_now().check_owner(cred)?;
        SEGMENTS.forget_key(self);
        self.perm.lock().mode |= DEST;
        let name = {
            let mut state = self.state.lock();
            let Memory::Kept(name) = &state.memory else {
                return Ok(());
            };
            let weak = Arc::downgrade(name);
            core::mem::replace(&mut state.memory, Memory::Attached(weak))
        };
        drop(name);
        SEGMENTS.take_out_gone();
        Ok(())
    }

    /// Notes that it is to stay in memory, or not, as all memory does here (`SHM_LOCK`, `SHM_UNLOCK`).
    ///
    /// # Errors
    /// `EPERM`; `ENOMEM` beyond `RLIMIT_MEMLOCK`.
    pub fn lock(&self, thread: &Thread, locked: bool) -> Result<()> {
        let cred = thread.cred();
        let limit = thread.process().limit(Resource::Memlock);
        let mut perm = self.perm.lock();
        if !cred.capable(Cap::IpcLock) {
            if cred.euid != perm.uid && cred.euid != perm.cuid || locked && limit == 0 {
                return Err(Errno::EPERM);
            }
            if locked && self.size > limit {
                return Err(Errno::ENOMEM);
            }
        }
        if locked {
            perm.mode |= LOCKED;
        } else {
            perm.mode &= !LOCKED;
        }
        Ok(())
    }
}

/// A segment with what is counted of it: how often it is attached, and its pages that are there.
pub struct Counted {
    /// The segment.
    pub segment: Arc<Segment>,
    /// Attachments.
    pub attached: u64,
    /// Resident pages.
    pub resident: u64,
}

/// All segments, counted in one go.
///
/// # Errors
/// `ENOMEM`.
pub fn all() -> Result<Vec<Counted>> {
    SEGMENTS.take_out_gone();
    let (mut found, mut memories) = (Vec::new(), Vec::new());
    SEGMENTS.each(|segment| {
        found.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        memories.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        memories.push(segment.memory());
        found.push(Counted {
            segment: segment.clone(),
            attached: 0,
            resident: segment.resident(),
        });
        Ok(())
    })?;
    for (counted, attached) in found.iter_mut().zip(count(&memories)?) {
        counted.attached = attached;
    }
    Ok(found)
}
