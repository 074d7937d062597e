//! `epoll(7)`: waiting for many files at a cost that does not grow with their number.
//!
//! # Structures
//! An [`Epoll`] has an *item* for each pair of an open file and a descriptor. The item is itself the waker that is
//! registered on the file's wait queues, once, when it is added: a wake-up puts it on the ready list and wakes who waits.
//! The list has room for every item beforehand, so that works in any context. [`Epoll::collect`] asks only the files on the list
//! what they have, and puts level-triggered items that had something back.
//!
//! A file knows the items that watch it ([`Links`]) and takes them along when its last reference goes.
//!
//! # Locks
//! Outermost first: nesting (adding an epoll to an epoll), the items of an epoll, an item, then the locks of the file that the item
//! asks, which may be another epoll's; the ready list is last and masks interrupts. No file is dropped under any of them.

mod item;
mod links;
mod ready;

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::file::{File, FileOps};
use crate::iobuf::Sink;
use crate::poll::{PollEvents, PollTable};
use crate::sync::{SpinLock, WaitQueue};
use crate::user_count::UserCounts;
use crate::{Errno, Result, Tunable};

use item::{Item, Verdict};
pub use links::Links;
use ready::Ready;

/// Exclusive wake-up: of several epolls that watch a file one is woken.
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
/// Keep the system awake; without effect here.
pub const EPOLLWAKEUP: u32 = 1 << 29;
/// Report once, then be silent until modified.
pub const EPOLLONESHOT: u32 = 1 << 30;
/// Edge-triggered.
pub const EPOLLET: u32 = 1 << 31;
/// The bits that are not events.
const PRIVATE_BITS: u32 = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET;
/// What may be combined with [`EPOLLEXCLUSIVE`].
const EXCLUSIVE_OK: u32 = PRIVATE_BITS & !EPOLLONESHOT
    | PollEvents::IN
        .union(PollEvents::OUT)
        .union(PollEvents::ALWAYS)
        .bits();

/// The size of `struct epoll_event` on x86-64, where it is packed.
pub const EVENT_SIZE: usize = 12;

/// The most items that one user may have, unless the kernel sets another (`fs.epoll.max_user_watches`).
pub static MAX_USER_WATCHES: Tunable = Tunable::new(1 << 20, 0, i32::MAX as i64);

static WATCHES: UserCounts = UserCounts::new();

/// `struct epoll_event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpollEvent {
    /// Events and flags.
    pub events: u32,
    /// What the program wants back with them.
    pub data: u64,
}

impl EpollEvent {
    /// Returns the bytes that user space sees.
    pub fn to_bytes(self) -> [u8; EVENT_SIZE] {
        let mut bytes = [0; EVENT_SIZE];
        bytes[..4].copy_from_slice(&self.events.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.data.to_ne_bytes());
        bytes
    }

    /// Decodes what user space passed.
    pub fn from_bytes(bytes: [u8; EVENT_SIZE]) -> EpollEvent {
        let [a, b, c, d, data @ ..] = bytes;
        EpollEvent {
            events: u32::from_ne_bytes([a, b, c, d]),
            data: u64::from_ne_bytes(data),
        }
    }
}

/// What tells items apart: the file's address, which its items keep from reuse, and the descriptor it was added by.
type Key = (usize, i32);

fn key(file: &File, fd: i32) -> Key {
    (core::ptr::from_ref(file).addr(), fd)
}

/// An epoll instance.
pub struct Epoll {
    items: SpinLock<BTreeMap<Key, Arc<Item>>>,
    ready: Arc<Ready>,
    uid: u32,
}

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll").finish_non_exhaustive()
    }
}

impl Epoll {
    /// Makes an instance without items that counts them for `uid`.
    pub fn new(uid: u32) -> Epoll {
        Epoll {
            items: SpinLock::new(BTreeMap::new()),
            ready: Arc::new(Ready::new()),
            uid,
        }
    }

    /// Watches `file`, known as `fd` (`EPOLL_CTL_ADD`).
    ///
    /// `own` is the file of this epoll.
    ///
    /// # Errors
    /// `EPERM` for a file that cannot be waited for; `EINVAL` for itself, or for [`EPOLLEXCLUSIVE`] with what it does not go with;
    /// `EEXIST`; `ELOOP` for a cycle, or a chain of more than five epolls; `ENOSPC` past the user's limit; `ENOMEM`.
    pub fn add(&self, own: &Arc<File>, file: &Arc<File>, fd: i32, event: EpollEvent) -> Result<()> {
        self.check_target(own, file)?;
        let nested = file.ops_as::<Epoll>().is_some();
        if event.events & EPOLLEXCLUSIVE != 0 && (nested || event.events & !EXCLUSIVE_OK != 0) {
            return Err(Errno::EINVAL);
        }
        // Two epolls must not add each other at a time, nor two additions build a chain that is too long.
        let mut held = Vec::new();
        let nesting = nested.then(|| links::NESTING.lock());
        if nested {
            links::check_nesting(own, file, &mut held)?;
        }
        let charge = WATCHES
            .charge(self.uid, MAX_USER_WATCHES.count())
            .ok_or(Errno::ENOSPC)?;
        let item = Item::new(&self.ready, file, nested, event, charge);
        {
            let mut items = self.items.lock();
            let count = items.len() + 1;
            let Entry::Vacant(place) = items.entry(key(file, fd)) else {
                return Err(Errno::EEXIST);
            };
            self.ready.reserve(count)?;
            file.epolls().add(own, fd)?;
            place.insert(item.clone());
        }
        drop(nesting);
        let armed = item.arm(file);
        if armed.is_err() {
            self.forget(key(file, fd));
            file.epolls().remove(own, fd);
        }
        armed
    }

    /// Changes what is asked of `file`, known as `fd` (`EPOLL_CTL_MOD`).
    ///
    /// # Errors
    /// `EPERM`, `EINVAL` as for [`add`](Epoll::add), and where [`EPOLLEXCLUSIVE`] is or was set; `ENOENT`; `ENOMEM`.
    pub fn modify(&self, own: &File, file: &Arc<File>, fd: i32, event: EpollEvent) -> Result<()> {
        self.check_target(own, file)?;
        if event.events & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        let item = self.items.lock().get(&key(file, fd)).cloned();
        let item = item.ok_or(Errno::ENOENT)?;
        item.modify(event)?;
        item.arm(file)
    }

    /// Stops watching `file`, known as `fd` (`EPOLL_CTL_DEL`).
    ///
    /// # Errors
    /// `EPERM`, `EINVAL` as for [`add`](Epoll::add); `ENOENT`.
    pub fn delete(&self, own: &File, file: &File, fd: i32) -> Result<()> {
        self.check_target(own, file)?;
        if !self.forget(key(file, fd)) {
            return Err(Errno::ENOENT);
        }
        file.epolls().remove(own, fd);
        Ok(())
    }

    fn check_target(&self, own: &File, file: &File) -> Result<()> {
        if !file.ops().pollable(file) {
            return Err(Errno::EPERM);
        }
        if core::ptr::eq(own, file) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Removes an item from this side; `false` if it is not there.
    fn forget(&self, key: Key) -> bool {
        let item = self.items.lock().remove(&key);
        match item {
            Some(item) => {
                item.retire();
                true
            }
            None => false,
        }
    }

    /// Puts up to `max` events that hold into `out`, 12 bytes each, and returns how many.
    ///
    /// # Errors
    /// `EFAULT` if not even the first could be copied; it is not lost.
    pub fn collect(&self, max: usize, out: &mut dyn Sink) -> Result<usize> {
        let mut count = 0;
        // What becomes ready, or is put back, meanwhile is for the next call.
        for _ in 0..self.ready.len() {
            if count == max {
                break;
            }
            let Some(item) = self.ready.pop() else { break };
            let mut copied = true;
            let verdict = item.report(|event| {
                copied = out.put(&event.to_bytes()) == EVENT_SIZE;
                copied
            });
            match verdict {
                Verdict::Quiet => {}
                Verdict::Reported => count += 1,
                Verdict::Level => {
                    count += 1;
                    self.ready.put_back(item, false);
                }
                Verdict::Refused => self.ready.put_back(item, true),
            }
            if !copied {
                if count == 0 {
                    self.ready.wake_next();
                    return Err(Errno::EFAULT);
                }
                break;
            }
        }
        if count > 0 {
            // Who else waits may have what is left.
            self.ready.wake_next();
        }
        Ok(count)
    }

    /// Tells whether [`collect`](Epoll::collect) has something to look at.
    #[inline]
    pub fn maybe_ready(&self) -> bool {
        self.ready.len() > 0
    }

    /// Wakes another `epoll_wait` if there is something: the caller was woken and will not collect.
    pub fn pass_on(&self) {
        self.ready.wake_next();
    }

    /// Returns the queue for `epoll_wait`, whose callers wait exclusively.
    pub fn waiters(&self) -> &Arc<WaitQueue> {
        self.ready.waiters()
    }

    /// Tells whether any item has something, dropping those from the ready list that do not.
    fn has_events(&self) -> bool {
        for _ in 0..self.ready.len() {
            let Some(item) = self.ready.pop() else { break };
            if !item.events_now().is_empty() {
                self.ready.put_back(item, true);
                return true;
            }
        }
        false
    }
}

impl FileOps for Epoll {
    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(self.ready.pollers());
        }
        if self.has_events() {
            PollEvents::READ
        } else {
            PollEvents::empty()
        }
    }

    fn release(&self, own: &File) {
        loop {
            let first = self.items.lock().pop_first();
            let Some(((_, fd), item)) = first else { break };
            if let Some(file) = item.file() {
                file.epolls().remove(own, fd);
            }
            item.retire();
        }
    }

    fn show_fdinfo(&self, _: &File, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut after = None;
        loop {
            let next = {
                let items = self.items.lock();
                let from = after.map_or(core::ops::Bound::Unbounded, core::ops::Bound::Excluded);
                items
                    .range((from, core::ops::Bound::Unbounded))
                    .next()
                    .map(|(key, item)| (*key, item.clone()))
            };
            let Some((key, item)) = next else {
                return Ok(());
            };
            after = Some(key);
            let Some(file) = item.file() else { continue };
            let event = item.event();
            writeln!(
                out,
                "tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:{:x} sdev:{:x}",
                key.1,
                event.events,
                event.data,
                file.pos(),
                file.inode().ino(),
                file.inode().sb().dev()
            )?;
        }
    }
}

#[cfg(test)]
mod tests;
