//! What happens to the futexes of a thread that ends.
//!
//! Source: set_robust_list(2), and Linux's `Documentation/locking/robust-futexes.rst`.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;
use fs::Errno;

use super::bucket::{Key, wake};
use super::{BITSET_ANY, pi};
use crate::arch::uaccess;
use crate::process::Thread;
use crate::usermem;

/// The part of the word that is the owner's number.
pub(super) const TID_MASK: u32 = 0x3fff_ffff;
/// Its owner ended.
pub(super) const OWNER_DIED: u32 = 0x4000_0000;
/// Somebody waits for it.
pub(super) const WAITERS: u32 = 0x8000_0000;
/// Entries beyond this are not looked at: the list may be a circle.
const LIST_LIMIT: usize = 2048;

/// Lets go of the futexes that `thread` holds, and tells who waits for its end.
///
/// # Context
/// The thread's own poll, its address space loaded; nothing held.
pub fn thread_exit(thread: &Arc<Thread>) {
    leave(thread, true);
}

/// As [`thread_exit`], of a thread that goes on in another program.
pub fn thread_exec(thread: &Arc<Thread>) {
    leave(thread, false);
}

fn leave(thread: &Arc<Thread>, ends: bool) {
    let head = thread.robust_list.swap(0, Ordering::Relaxed);
    if head != 0 {
        // A list that cannot be read ends there.
        let _ = walk(thread, head);
    }
    // After the words are marked: who takes a lock over there finds the mark.
    pi::exit(thread, ends);
    let clear = thread.clear_child_tid.swap(0, Ordering::Relaxed);
    if clear != 0 && usermem::write(clear, &0u32).is_ok() {
        wake_one(thread, clear);
    }
}

fn wake_one(thread: &Thread, addr: u64) {
    if let Some(space) = thread.mm()
        && let Ok(key) = Key::new(&space, addr, false)
    {
        // Who waits there for a lock with priority inheritance is told by `pi::exit`.
        let _ = wake(key, 1, BITSET_ANY);
    }
}

/// A link of the list.
#[derive(Clone, Copy)]
struct Entry {
    addr: u64,
    /// It is that of a lock with priority inheritance; bit 0 says so.
    inherits: bool,
}

impl Entry {
    fn new(link: u64) -> Self {
        Self {
            addr: link & !1,
            inherits: link & 1 != 0,
        }
    }
}

fn walk(thread: &Thread, head: u64) -> Result<(), Errno> {
    // struct robust_list_head: the first entry, the offset from an entry to its word, the entry being worked on.
    let [first, offset, pending] = usermem::read::<[u64; 3]>(head)?;
    let (mut entry, pending) = (Entry::new(first), Entry::new(pending));
    let mut left = LIST_LIMIT;
    while entry.addr != head && left > 0 {
        // The next one first: the word's new owner may take this entry apart.
        let next = usermem::read::<u64>(entry.addr);
        if entry.addr != pending.addr {
            release(thread, entry, offset, false)?;
        }
        entry = Entry::new(next?);
        left -= 1;
    }
    if pending.addr != 0 {
        release(thread, pending, offset, true)?;
    }
    Ok(())
}

/// Marks the word of `entry` as left by its owner, if that is `thread`, and wakes one who waits for it.
fn release(thread: &Thread, entry: Entry, offset: u64, pending: bool) -> Result<(), Errno> {
    let addr = entry.addr.wrapping_add(offset);
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let mut value: u32 = usermem::read(addr)?;
    loop {
        // A thread that was unlocking may have cleared the word and not have woken anybody yet.
        if pending && !entry.inherits && value == 0 {
            wake_one(thread, addr);
            return Ok(());
        }
        if value & TID_MASK != thread.tid() as u32 {
            return Ok(());
        }
        let new = value & WAITERS | OWNER_DIED;
        match uaccess::compare_exchange_u32(addr, value, new) {
            Some(found) if found == value => break,
            Some(found) => value = found,
            None => {
                thread.mm().ok_or(Errno::EFAULT)?.fault_in(addr, 4, true)?;
            }
        }
    }
    if value & WAITERS != 0 && !entry.inherits {
        wake_one(thread, addr);
    }
    Ok(())
}
