//! Dentries: names that lead to inodes, and the cache of them.
//!
//! A dentry's inode is fixed for life: a name that is taken or freed gets a new dentry, so a path walk reads it without a lock. What changes
//! is where it hangs (by rename), whether it is in the cache, and how many mounts sit on it.
//!
//! The cache is one hash table over (directory, name) with a lock per bucket; entries for names that do not exist are kept too. A
//! directory changes under its inode's lock, which a lookup that missed takes as well: so the cache and the file system agree. The cache
//! is bounded; a hand sweeps the buckets and drops what nobody uses and nobody asked for since its last round.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::inode::Inode;
use crate::superblock::SuperBlock;
use crate::sync::SpinLock;
use crate::{Errno, Result};

/// The longest name of a directory entry.
pub const NAME_MAX: usize = 255;

/// Where a dentry hangs; changes by rename.
#[derive(Clone)]
struct Place {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

/// A name in a directory.
pub struct Dentry {
    inode: Option<Arc<Inode>>,
    place: SpinLock<Place>,
    /// Mounts that sit here; a walk that finds none asks no further.
    mounts: AtomicU32,
    /// Children in the cache.
    children: AtomicU32,
    /// The name was removed while the object lives on.
    deleted: AtomicBool,
}

impl fmt::Debug for Dentry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dentry({})", self.name().escape_ascii())
    }
}

impl Dentry {
    fn make(parent: Option<Arc<Dentry>>, name: &[u8], inode: Option<Arc<Inode>>) -> Arc<Dentry> {
        Arc::new(Dentry {
            inode,
            place: SpinLock::new(Place {
                parent,
                name: Arc::from(Box::from(name)),
            }),
            mounts: AtomicU32::new(0),
            children: AtomicU32::new(0),
            deleted: AtomicBool::new(false),
        })
    }

    /// Makes the root of a file system; also an object without a directory, such as a pipe.
    pub fn root(inode: Arc<Inode>, name: &[u8]) -> Arc<Dentry> {
        Dentry::make(None, name, Some(inode))
    }

    /// Makes a dentry for an object that has a directory but no name to be found by (`O_TMPFILE`).
    pub fn nameless(parent: &Arc<Dentry>, name: &[u8], inode: Arc<Inode>) -> Arc<Dentry> {
        let dentry = Dentry::make(Some(parent.clone()), name, Some(inode));
        dentry.deleted.store(true, Ordering::Relaxed);
        dentry
    }

    /// Returns the inode; `None` if the name is known not to exist.
    #[inline]
    pub fn inode(&self) -> Option<&Arc<Inode>> {
        self.inode.as_ref()
    }

    /// Returns the inode of a name that exists.
    ///
    /// # Errors
    /// `ENOENT`.
    #[inline]
    pub fn existing(&self) -> Result<&Arc<Inode>> {
        self.inode.as_ref().ok_or(Errno::ENOENT)
    }

    /// Returns the name.
    pub fn name(&self) -> Arc<[u8]> {
        self.place.lock().name.clone()
    }

    /// Returns the directory's dentry; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }

    /// Returns the directory's dentry and the name, as one.
    pub fn parent_and_name(&self) -> (Option<Arc<Dentry>>, Arc<[u8]>) {
        let Place { parent, name } = self.place.lock().clone();
        (parent, name)
    }

    /// Tells whether the name was removed.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Relaxed)
    }

    /// Tells whether some mount sits here.
    #[inline]
    pub fn is_mountpoint(&self) -> bool {
        self.mounts.load(Ordering::Acquire) > 0
    }

    /// Counts one mount more that sits here. Every walk finds this very dentry from now on.
    pub(crate) fn add_mount(self: &Arc<Self>) {
        self.mounts.fetch_add(1, Ordering::Release);
        self.hold();
    }

    /// Counts one mount less.
    pub(crate) fn remove_mount(self: &Arc<Self>) {
        self.mounts.fetch_sub(1, Ordering::Release);
        self.let_go();
    }

    /// Enters the way here into the cache, as far as it goes through directories whose names the cache does not keep.
    fn hold(self: &Arc<Self>) {
        let mut at = self.clone();
        while let (Some(dir), name) = at.parent_and_name() {
            let name = Name::new(&name);
            if !dir.keeps_names() && cached(&dir, name).is_none() {
                drop(enter(&dir, name, &at));
            }
            at = dir;
        }
    }

    /// Takes back [`Dentry::hold`], as far as nothing else is mounted here or beneath.
    fn let_go(self: &Arc<Self>) {
        let mut at = self.clone();
        while let (Some(dir), name) = at.parent_and_name() {
            let name = Name::new(&name);
            let idle = !at.is_mountpoint() && at.children.load(Ordering::Relaxed) == 0;
            if !dir.keeps_names()
                && idle
                && cached(&dir, name).is_some_and(|c| Arc::ptr_eq(&c, &at))
            {
                drop(leave(&dir, name));
            }
            at = dir;
        }
    }

    /// Whether the cache keeps the names in this directory.
    fn keeps_names(&self) -> bool {
        self.inode().is_some_and(|inode| inode.ops().cacheable())
    }

    /// Tells whether `self` is `other` or lies beneath it.
    pub fn is_below(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, other) {
                return true;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }
}

/// A name of a path, with its hash.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    hash: u64,
}

impl<'a> Name<'a> {
    /// Hashes `bytes`, eight at a time.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Name<'a> {
        const MUL: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut hash = bytes.len() as u64;
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            hash = (hash ^ u64::from_le_bytes(*word))
                .wrapping_mul(MUL)
                .rotate_left(29);
        }
        Name {
            bytes,
            hash: (hash ^ load_tail(tail)).wrapping_mul(MUL),
        }
    }

    /// Compares with another name: a call of `memcmp` costs more than most names are long.
    #[inline]
    fn is(&self, other: &[u8]) -> bool {
        if self.bytes.len() != other.len() {
            return false;
        }
        let (ours, our_tail) = self.bytes.as_chunks::<8>();
        let (theirs, their_tail) = other.as_chunks::<8>();
        for (a, b) in ours.iter().zip(theirs) {
            if u64::from_ne_bytes(*a) != u64::from_ne_bytes(*b) {
                return false;
            }
        }
        load_tail(our_tail) == load_tail(their_tail)
    }

    /// Returns the hash of the name in one directory.
    #[inline]
    fn key(&self, dir: usize) -> u64 {
        const MUL: u64 = 0xd6e8_feb8_6659_fd93;
        let mixed = (self.hash ^ (dir >> 4) as u64).wrapping_mul(MUL);
        mixed ^ mixed >> 32
    }
}

/// Packs fewer than eight bytes into a word, different ones of one length into different words.
#[inline]
fn load_tail(tail: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    if let (Some(first), Some(last)) = (tail.first_chunk::<2>(), tail.last_chunk::<2>()) {
        return u64::from(u16::from_le_bytes(*first)) | u64::from(u16::from_le_bytes(*last)) << 16;
    }
    tail.first().map_or(0, |&byte| u64::from(byte))
}

struct Entry {
    key: u64,
    /// Address of the directory's dentry, which `dentry` keeps alive.
    dir: usize,
    /// Looked up since the hand last came by.
    used: bool,
    name: Arc<[u8]>,
    dentry: Arc<Dentry>,
}

const BUCKETS: usize = 2048;

static BUCKET: [SpinLock<Vec<Entry>>; BUCKETS] = [const { SpinLock::new(Vec::new()) }; BUCKETS];
static ENTRIES: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(16 * 1024);
static HAND: AtomicUsize = AtomicUsize::new(0);

#[inline]
fn bucket(key: u64) -> &'static SpinLock<Vec<Entry>> {
    &BUCKET[key as usize % BUCKETS]
}

#[inline]
fn address(dentry: &Arc<Dentry>) -> usize {
    Arc::as_ptr(dentry).addr()
}

/// Finds `name` in the directory `dir` in the cache.
#[inline]
pub fn cached(dir: &Arc<Dentry>, name: Name<'_>) -> Option<Arc<Dentry>> {
    let dir = address(dir);
    let key = name.key(dir);
    let mut bucket = bucket(key).lock();
    for entry in bucket.iter_mut() {
        if entry.key == key && entry.dir == dir && name.is(&entry.name) {
            entry.used = true;
            return Some(entry.dentry.clone());
        }
    }
    None
}

/// Finds `name` in the directory `dir`: in the cache, or else in the file system. A name that does not exist gives a
/// dentry without inode.
///
/// # Errors
/// `ENAMETOOLONG`, and the file system's own.
#[inline]
pub fn lookup(dir: &Arc<Dentry>, name: Name<'_>) -> Result<Arc<Dentry>> {
    match cached(dir, name) {
        Some(dentry) => Ok(dentry),
        None => lookup_slow(dir, name),
    }
}

#[cold]
fn lookup_slow(dir: &Arc<Dentry>, name: Name<'_>) -> Result<Arc<Dentry>> {
    let inode = dir.existing()?;
    let _guard = inode.lock_dir();
    lookup_locked(dir, name)
}

/// Does what [`lookup`] does for a caller that holds the directory's lock.
pub fn lookup_locked(dir: &Arc<Dentry>, name: Name<'_>) -> Result<Arc<Dentry>> {
    if name.bytes.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let inode = dir.existing()?;
    // Of a directory that the cache does not keep, it has what leads to a mount.
    if let Some(dentry) = cached(dir, name) {
        return Ok(dentry);
    }
    let found = match inode.ops().lookup(inode, name.bytes) {
        Ok(found) => Some(found),
        Err(Errno::ENOENT) => None,
        Err(error) => return Err(error),
    };
    if !inode.ops().cacheable() || (found.is_none() && inode.nlink() == 0) {
        return Ok(Dentry::make(Some(dir.clone()), name.bytes, found));
    }
    Ok(insert(dir, name, found))
}

/// Enters what `name` in `dir` leads to now, in place of an entry that said otherwise. The directory's lock is held.
pub fn insert(dir: &Arc<Dentry>, name: Name<'_>, inode: Option<Arc<Inode>>) -> Arc<Dentry> {
    let dentry = Dentry::make(Some(dir.clone()), name.bytes, inode);
    let replaced = enter(dir, name, &dentry);
    drop(replaced);
    if ENTRIES.load(Ordering::Relaxed) > LIMIT.load(Ordering::Relaxed) {
        sweep(4);
    }
    dentry
}

/// Puts `dentry` under its key and returns what was there.
fn enter(dir: &Arc<Dentry>, name: Name<'_>, dentry: &Arc<Dentry>) -> Option<Arc<Dentry>> {
    let address = address(dir);
    let key = name.key(address);
    let full_name = dentry.name();
    let mut bucket = bucket(key).lock();
    let same = |e: &&mut Entry| e.key == key && e.dir == address && name.is(&e.name);
    if let Some(entry) = bucket.iter_mut().find(same) {
        entry.name = full_name;
        return Some(core::mem::replace(&mut entry.dentry, dentry.clone()));
    }
    dir.children.fetch_add(1, Ordering::Relaxed);
    ENTRIES.fetch_add(1, Ordering::Relaxed);
    bucket.push(Entry {
        key,
        dir: address,
        used: true,
        name: full_name,
        dentry: dentry.clone(),
    });
    None
}

/// Takes `name` of `dir` out of the cache and returns what was there.
fn leave(dir: &Arc<Dentry>, name: Name<'_>) -> Option<Arc<Dentry>> {
    let address = address(dir);
    let key = name.key(address);
    let mut bucket = bucket(key).lock();
    let at = bucket
        .iter()
        .position(|e| e.key == key && e.dir == address && name.is(&e.name))?;
    let entry = bucket.swap_remove(at);
    dir.children.fetch_sub(1, Ordering::Relaxed);
    ENTRIES.fetch_sub(1, Ordering::Relaxed);
    Some(entry.dentry)
}

/// Notes that the name of `dentry` was removed. The directory's lock is held.
pub fn deleted(dir: &Arc<Dentry>, name: Name<'_>, dentry: &Arc<Dentry>) {
    dentry.deleted.store(true, Ordering::Relaxed);
    drop(leave(dir, name));
    if dentry.children.load(Ordering::Relaxed) > 0 {
        // Names known not to exist in a directory that does not exist either.
        purge(|entry| entry.dir == address(dentry));
    }
}

/// Moves `dentry` from one name to another; what the new name led to is gone. The locks of both directories are held.
pub fn renamed(dentry: &Arc<Dentry>, from: (&Arc<Dentry>, Name<'_>), to: (&Arc<Dentry>, Name<'_>)) {
    drop(leave(from.0, from.1));
    let replaced = leave(to.0, to.1);
    if let Some(replaced) = &replaced {
        replaced.deleted.store(true, Ordering::Relaxed);
        if replaced.children.load(Ordering::Relaxed) > 0 {
            purge(|entry| entry.dir == address(replaced));
        }
    }
    place(dentry, to);
}

/// Swaps the names of `a` and `b`. The locks of both directories are held.
pub fn exchanged(
    a: (&Arc<Dentry>, &Arc<Dentry>, Name<'_>),
    b: (&Arc<Dentry>, &Arc<Dentry>, Name<'_>),
) {
    drop(leave(a.1, a.2));
    drop(leave(b.1, b.2));
    place(a.0, (b.1, b.2));
    place(b.0, (a.1, a.2));
}

/// Hangs a dentry that is in the cache no more under a new name.
fn place(dentry: &Arc<Dentry>, to: (&Arc<Dentry>, Name<'_>)) {
    let new = Place {
        parent: Some(to.0.clone()),
        name: Arc::from(Box::from(to.1.bytes)),
    };
    let old = core::mem::replace(&mut *dentry.place.lock(), new);
    drop(old);
    drop(enter(to.0, to.1, dentry));
}

/// Takes out every entry that `pick` chooses.
fn purge(pick: impl Fn(&Entry) -> bool) {
    for bucket in &BUCKET {
        loop {
            // Dropping a dentry may end an inode: not under the bucket's lock.
            let gone = {
                let mut bucket = bucket.lock();
                let at = bucket.iter().position(&pick);
                at.map(|at| remove_at(&mut bucket, at))
            };
            if gone.is_none() {
                break;
            }
        }
    }
}

fn remove_at(bucket: &mut Vec<Entry>, at: usize) -> Arc<Dentry> {
    let entry = bucket.swap_remove(at);
    ENTRIES.fetch_sub(1, Ordering::Relaxed);
    if let Some(parent) = &entry.dentry.place.lock().parent {
        parent.children.fetch_sub(1, Ordering::Relaxed);
    }
    entry.dentry
}

/// Forgets every name of a file system that is mounted nowhere any more.
pub fn forget_super(sb: &Arc<SuperBlock>) {
    purge(|entry| {
        let parent = entry.dentry.place.lock().parent.clone();
        // Cannot be the last reference: the entry's dentry holds another.
        parent
            .and_then(|p| p.inode().map(|i| Arc::ptr_eq(i.sb(), sb)))
            .unwrap_or(false)
    });
}

/// Moves the hand over `buckets` buckets, dropping what is unused; returns how many entries went.
fn sweep(buckets: usize) -> usize {
    let mut dropped = 0;
    for _ in 0..buckets {
        let bucket = &BUCKET[HAND.fetch_add(1, Ordering::Relaxed) % BUCKETS];
        loop {
            let gone = {
                let mut bucket = bucket.lock();
                let idle = |e: &Entry| !e.used && Arc::strong_count(&e.dentry) == 1;
                let at = bucket.iter().position(idle);
                if at.is_none() {
                    bucket.iter_mut().for_each(|e| e.used = false);
                }
                at.map(|at| remove_at(&mut bucket, at))
            };
            if gone.is_none() {
                break;
            }
            dropped += 1;
        }
    }
    dropped
}

/// Drops about `count` unused entries, for the memory shrinker; returns how many went.
pub fn shrink(count: usize) -> usize {
    let mut dropped = 0;
    for _ in 0..2 * BUCKETS / 16 {
        if dropped >= count {
            break;
        }
        dropped += sweep(16);
    }
    dropped
}

/// Returns how many entries the cache has.
pub fn entries() -> usize {
    ENTRIES.load(Ordering::Relaxed)
}

/// Sets how many entries the cache may hold before it sweeps itself.
pub fn set_limit(entries: usize) {
    LIMIT.store(entries.max(256), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_are_equal_where_their_bytes_are(a in prop::collection::vec(any::<u8>(), 0..20), at in any::<prop::sample::Index>(), byte: u8) {
            let mut b = a.clone();
            prop_assert!(Name::new(&a).is(&b));
            if !b.is_empty() {
                let at = at.index(b.len());
                b[at] = byte;
            }
            prop_assert_eq!(Name::new(&a).is(&b), a == b);
            b.push(0);
            prop_assert!(!Name::new(&a).is(&b));
        }
    }
}
