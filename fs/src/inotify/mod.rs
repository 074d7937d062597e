//! `inotify(7)`: reading what happens to files and directories.
//!
//! An instance has *watches*, each a [`Mark`] on one inode, and a queue of events that readers take. A watch keeps its inode in
//! memory until it is removed, by the program or with the inode.
//!
//! Lock order: the watches of an instance, then the marks of an inode; the queue is last.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::file::{File, FileOps};
use crate::inode::Inode;
use crate::iobuf::{Sink, UserMemory};
use crate::notify::{Mark, NotifyEvents};
use crate::poll::{PollEvents, PollTable};
use crate::sync::{SpinLock, WaitQueue};
use crate::user_count::{Charge, UserCounts};
use crate::{Errno, Result, Tunable};

/// Flags of `inotify_add_watch` beside the events.
#[allow(missing_docs, reason = "the names are those of inotify(7)")]
pub mod flag {
    pub const ONLYDIR: u32 = 0x0100_0000;
    pub const DONT_FOLLOW: u32 = 0x0200_0000;
    pub const EXCL_UNLINK: u32 = 0x0400_0000;
    pub const MASK_CREATE: u32 = 0x1000_0000;
    pub const MASK_ADD: u32 = 0x2000_0000;
    pub const ONESHOT: u32 = 0x8000_0000;
}

/// What can be asked for.
const ALL_EVENTS: u32 = 0xfff;
/// What an add may have, of which it needs one.
const ALL_BITS: u32 = ALL_EVENTS
    | NotifyEvents::UNMOUNT
        .union(NotifyEvents::Q_OVERFLOW)
        .union(NotifyEvents::IGNORED)
        .union(NotifyEvents::ISDIR)
        .bits()
    | flag::ONLYDIR
    | flag::DONT_FOLLOW
    | flag::EXCL_UNLINK
    | flag::MASK_CREATE
    | flag::MASK_ADD
    | flag::ONESHOT;

/// `fs.inotify.max_queued_events`.
pub static MAX_QUEUED: Tunable = Tunable::new(16384, 0, i32::MAX as i64);
/// `fs.inotify.max_user_instances`.
pub static MAX_USER_INSTANCES: Tunable = Tunable::new(128, 0, i32::MAX as i64);
/// `fs.inotify.max_user_watches`.
pub static MAX_USER_WATCHES: Tunable = Tunable::new(65536, 0, i32::MAX as i64);

static INSTANCES: UserCounts = UserCounts::new();
static WATCHES: UserCounts = UserCounts::new();

/// The size of `struct inotify_event` without the name.
const HEADER: usize = 16;
/// The longest name with its padding.
const MAX_NAME: usize = 256 + HEADER;

/// `FIONREAD`.
const FIONREAD: u32 = 0x541b;

/// An event that was not read.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Option<Box<[u8]>>,
}

impl Event {
    /// The room for the name: at least one zero byte, up to a multiple of the header.
    fn name_room(&self) -> usize {
        match &self.name {
            Some(name) => (name.len().min(255) + 1).next_multiple_of(HEADER),
            None => 0,
        }
    }

    fn size(&self) -> usize {
        HEADER + self.name_room()
    }

    fn encode<'a>(&self, to: &'a mut [u8; HEADER + MAX_NAME]) -> &'a [u8] {
        let size = self.size();
        to[..size].fill(0);
        to[..4].copy_from_slice(&self.wd.to_ne_bytes());
        to[4..8].copy_from_slice(&self.mask.to_ne_bytes());
        to[8..12].copy_from_slice(&self.cookie.to_ne_bytes());
        to[12..16].copy_from_slice(&(self.name_room() as u32).to_ne_bytes());
        if let Some(name) = &self.name {
            let len = name.len().min(255);
            to[HEADER..HEADER + len].copy_from_slice(&name[..len]);
        }
        &to[..size]
    }

    /// Whether a reader who has read one need not read the other.
    fn repeats(&self, last: &Event) -> bool {
        self.wd == last.wd
            && self.mask == last.mask
            && self.name == last.name
            && self.mask & NotifyEvents::IGNORED.bits() == 0
    }
}

#[derive(Default)]
struct Watches {
    by_wd: BTreeMap<i32, Arc<Watch>>,
    /// By the address of the inode, which the watch keeps.
    by_inode: BTreeMap<usize, i32>,
    last_wd: i32,
}

/// An inotify instance.
pub struct Inotify {
    this: Weak<Inotify>,
    watches: SpinLock<Watches>,
    queue: SpinLock<VecDeque<Event>>,
    readers: Arc<WaitQueue>,
    uid: u32,
    _charge: Charge,
}

/// A watch on an inode.
struct Watch {
    wd: i32,
    group: Weak<Inotify>,
    inode: Arc<Inode>,
    /// Events and flags.
    mask: AtomicU32,
    _charge: Charge,
}

fn address(inode: &Arc<Inode>) -> usize {
    Arc::as_ptr(inode).addr()
}

impl Inotify {
    /// Makes an instance without watches, counted for `uid`.
    ///
    /// # Errors
    /// `EMFILE` if that user has [`static@MAX_USER_INSTANCES`].
    pub fn new(uid: u32) -> Result<Arc<Inotify>> {
        let charge = INSTANCES
            .charge(uid, MAX_USER_INSTANCES.count())
            .ok_or(Errno::EMFILE)?;
        Ok(Arc::new_cyclic(|this| Inotify {
            this: this.clone(),
            watches: SpinLock::new(Watches::default()),
            queue: SpinLock::new(VecDeque::new()),
            readers: Arc::new(WaitQueue::new()),
            uid,
            _charge: charge,
        }))
    }

    /// Checks the mask of an add, before its path is looked up.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check_mask(mask: u32) -> Result<()> {
        let both = flag::MASK_ADD | flag::MASK_CREATE;
        if mask & ALL_BITS == 0 || mask & both == both {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Watches `inode`, or changes what is watched, and returns the watch descriptor.
    ///
    /// # Errors
    /// `EINVAL` as [`check_mask`](Inotify::check_mask); `EEXIST` for `IN_MASK_CREATE` if it is watched; `ENOSPC` if the user has
    /// [`static@MAX_USER_WATCHES`]; `ENOMEM`.
    pub fn add_watch(&self, inode: &Arc<Inode>, mask: u32) -> Result<i32> {
        Self::check_mask(mask)?;
        let stored = mask & (ALL_EVENTS | flag::EXCL_UNLINK | flag::ONESHOT);
        let mut watches = self.watches.lock();
        if let Some(wd) = watches.by_inode.get(&address(inode)) {
            if mask & flag::MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            if let Some(watch) = watches.by_wd.get(wd) {
                if mask & flag::MASK_ADD != 0 {
                    watch.mask.fetch_or(stored, Ordering::Relaxed);
                } else {
                    watch.mask.store(stored, Ordering::Relaxed);
                }
            }
            inode.marks().update();
            return Ok(*wd);
        }
        let wd = watches.last_wd.checked_add(1).ok_or(Errno::ENOSPC)?;
        let charge = WATCHES
            .charge(self.uid, MAX_USER_WATCHES.count())
            .ok_or(Errno::ENOSPC)?;
        let watch = Arc::new(Watch {
            wd,
            group: self.this.clone(),
            inode: inode.clone(),
            mask: AtomicU32::new(stored),
            _charge: charge,
        });
        inode.marks().add(watch.clone())?;
        watches.last_wd = wd;
        watches.by_inode.insert(address(inode), wd);
        watches.by_wd.insert(wd, watch);
        Ok(wd)
    }

    /// Ends a watch; its last event is `IN_IGNORED`.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn remove_watch(&self, wd: i32) -> Result<()> {
        let watch = self.forget(wd).ok_or(Errno::EINVAL)?;
        let mark: Arc<dyn Mark> = watch.clone();
        watch.inode.marks().remove(&mark);
        self.push(wd, NotifyEvents::IGNORED.bits(), 0, None);
        Ok(())
    }

    /// Takes a watch out of the tables.
    fn forget(&self, wd: i32) -> Option<Arc<Watch>> {
        let mut watches = self.watches.lock();
        let watch = watches.by_wd.remove(&wd)?;
        watches.by_inode.remove(&address(&watch.inode));
        Some(watch)
    }

    fn push(&self, wd: i32, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let event = Event {
            wd,
            mask,
            cookie,
            name: name.map(Box::from),
        };
        let overflow = Event {
            wd: -1,
            mask: NotifyEvents::Q_OVERFLOW.bits(),
            cookie: 0,
            name: None,
        };
        let unused = {
            let mut queue = self.queue.lock();
            let repeated = queue.back().is_some_and(|last| event.repeats(last));
            if repeated || queue.try_reserve(1).is_err() {
                Some(event)
            } else if queue.len() < MAX_QUEUED.count() {
                queue.push_back(event);
                None
            } else {
                if queue.back() != Some(&overflow) {
                    queue.push_back(overflow);
                }
                Some(event)
            }
        };
        drop(unused);
        self.readers.wake_all();
    }

    /// Reads as many events as fit.
    ///
    /// # Errors
    /// `EAGAIN` if there are none; `EINVAL` if the first does not fit; `EFAULT`, nothing being lost.
    pub fn read(&self, buf: &mut dyn Sink) -> Result<usize> {
        let mut bytes = [0; HEADER + MAX_NAME];
        let mut done = 0;
        loop {
            let event = {
                let mut queue = self.queue.lock();
                let Some(event) = queue.front() else {
                    return if done > 0 {
                        Ok(done)
                    } else {
                        Err(Errno::EAGAIN)
                    };
                };
                let encoded = event.encode(&mut bytes);
                if encoded.len() > buf.remaining() {
                    return if done > 0 {
                        Ok(done)
                    } else {
                        Err(Errno::EINVAL)
                    };
                }
                if buf.put(encoded) < encoded.len() {
                    return if done > 0 {
                        Ok(done)
                    } else {
                        Err(Errno::EFAULT)
                    };
                }
                done += encoded.len();
                queue.pop_front()
            };
            drop(event);
        }
    }
}

impl Mark for Watch {
    fn notify(&self, events: NotifyEvents, name: Option<&[u8]>, cookie: u32) {
        let mask = self.mask.load(Ordering::Relaxed);
        let always = NotifyEvents::UNMOUNT.bits();
        let Some(group) = self.group.upgrade() else {
            return;
        };
        if events.bits() & (mask & ALL_EVENTS | always) == 0 {
            return;
        }
        group.push(self.wd, events.bits(), cookie, name);
        if mask & flag::ONESHOT != 0 {
            // Two events at a time may both get here; one finds the watch.
            let _ = group.remove_watch(self.wd);
        }
    }

    fn detached(&self) {
        if let Some(group) = self.group.upgrade()
            && group.forget(self.wd).is_some()
        {
            group.push(self.wd, NotifyEvents::IGNORED.bits(), 0, None);
        }
    }

    fn mask(&self) -> NotifyEvents {
        let mask = self.mask.load(Ordering::Relaxed) & ALL_EVENTS;
        NotifyEvents::from_bits_truncate(mask) | NotifyEvents::UNMOUNT
    }
}

impl FileOps for Inotify {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        Inotify::read(self, buf)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&self.readers);
        }
        if self.queue.with(|queue| queue.is_empty()) {
            PollEvents::empty()
        } else {
            PollEvents::READ
        }
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        if cmd != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes: usize = self.queue.with(|queue| queue.iter().map(Event::size).sum());
        mem.write(arg, &(bytes as i32).to_ne_bytes())?;
        Ok(0)
    }

    fn release(&self, _: &File) {
        loop {
            let first = self.watches.with(|w| w.by_wd.keys().next().copied());
            let Some(wd) = first else { return };
            let _ = self.remove_watch(wd);
        }
    }

    fn show_fdinfo(&self, _: &File, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut after = 0;
        loop {
            let next = {
                let watches = self.watches.lock();
                let next = watches.by_wd.range(after + 1..).next();
                next.map(|(_, watch)| watch.clone())
            };
            let Some(watch) = next else { return Ok(()) };
            after = watch.wd;
            writeln!(
                out,
                "inotify wd:{:x} ino:{:x} sdev:{:x} mask:{:x} ignored_mask:0",
                watch.wd,
                watch.inode.ino(),
                watch.inode.sb().dev(),
                watch.mask.load(Ordering::Relaxed)
            )?;
        }
    }
}

#[cfg(test)]
mod tests;
