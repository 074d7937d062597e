//! The table of who waits where.

use alloc::sync::Arc;

use executor::sync::{SpinLock, SpinLockGuard};
use fs::Errno;

use super::pi;
use super::pi::graph::Member;
use crate::mm::AddressSpace;
use crate::process::Thread;

/// What a futex word is to those who share it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// The address of the space, or of the object that is mapped.
    object: usize,
    /// Address in the space, or offset in the object.
    offset: u64,
}

impl Key {
    /// The key of the word at `addr`. Private futexes, and words in private memory, belong to the address space.
    ///
    /// # Errors
    /// `EINVAL` if `addr` is not aligned.
    pub fn new(space: &Arc<AddressSpace>, addr: u64, private: bool) -> Result<Key, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let shared = if private {
            None
        } else {
            space.shared_object(addr)
        };
        let (object, offset) = shared.unwrap_or((Arc::as_ptr(space) as usize, addr));
        Ok(Key { object, offset })
    }

    /// A number of [`BUCKET_BITS`] bits that is the same for equal keys.
    pub(super) fn hash(self) -> usize {
        // Fibonacci hashing: the high bits of the product are well mixed.
        let mixed =
            (self.object as u64 ^ self.offset.rotate_left(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (64 - BUCKET_BITS)) as usize
    }
}

const BUCKET_BITS: u32 = 8;

/// Who stands in a queue.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// A thread that waits for one futex.
    Thread(Arc<Thread>),
    /// One of several futexes that a thread waits for.
    Item(Arc<Item>),
}

/// A futex among several that a thread waits for.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) thread: Arc<Thread>,
    pub(super) node: Node,
}

impl Link {
    pub(super) fn thread(&self) -> &Arc<Thread> {
        match self {
            Link::Thread(thread) => thread,
            Link::Item(item) => &item.thread,
        }
    }

    pub(super) fn node(&self) -> &Node {
        match self {
            Link::Thread(thread) => &thread.futex,
            Link::Item(item) => &item.node,
        }
    }

    fn is(&self, other: &Link) -> bool {
        core::ptr::eq(self.node(), other.node())
    }

    fn place(&self) -> SpinLockGuard<'_, Place> {
        self.node().0.lock()
    }
}

/// Who waits for keys of one hash, the most urgent first and the oldest among equals: a chain through their nodes.
#[derive(Default)]
pub(super) struct Bucket {
    head: Option<Link>,
    tail: Option<Link>,
}

static BUCKETS: [SpinLock<Bucket>; 1 << BUCKET_BITS] = [const {
    SpinLock::new(Bucket {
        head: None,
        tail: None,
    })
}; 1 << BUCKET_BITS];

/// A place in a queue.
#[derive(Debug, Default)]
pub struct Node(SpinLock<Place>);

#[derive(Debug, Default)]
struct Place {
    /// What it waits for; `None` once it has been woken.
    key: Option<Key>,
    bitset: u32,
    /// Where it lets itself be moved to, and there only: a lock with priority inheritance.
    lock: Option<Key>,
    /// Its priority as it came.
    urgency: u8,
    next: Option<Link>,
}

/// A thread in a queue, as those see it who pick from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) key: Key,
    bitset: u32,
    /// See `FUTEX_WAIT_REQUEUE_PI`.
    pub(super) lock: Option<Key>,
}

/// What is to become of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// It stays.
    Leave,
    /// It goes.
    Take,
    /// It stays, and so do all behind it.
    Stop,
}

impl Pick {
    fn if_wanted(wanted: bool) -> Pick {
        if wanted { Pick::Take } else { Pick::Leave }
    }
}

impl Node {
    /// Whether it is in no queue: not waiting, or woken.
    pub(super) fn is_woken(&self) -> bool {
        self.0.lock().key.is_none()
    }
}

/// Locks the bucket of `key`.
pub(super) fn lock(key: Key) -> SpinLockGuard<'static, Bucket> {
    BUCKETS[key.hash()].lock()
}

impl Bucket {
    /// Puts `link` behind all that are as urgent as it. With `lock` it may be moved there, and there only.
    pub(super) fn push(&mut self, link: &Link, key: Key, bitset: u32, lock: Option<Key>) {
        let urgency = link.thread().urgency();
        let before = self.before(urgency);
        let behind = match &before {
            None => self.head.replace(link.clone()),
            Some(before) => before.place().next.replace(link.clone()),
        };
        if behind.is_none() {
            self.tail = Some(link.clone());
        }
        *link.place() = Place {
            key: Some(key),
            bitset,
            lock,
            urgency,
            next: behind,
        };
    }

    /// The one that a newcomer of this urgency stands behind.
    fn before(&self, urgency: u8) -> Option<Link> {
        let last = self.tail.clone()?;
        if last.place().urgency <= urgency {
            return Some(last);
        }
        let mut before = None;
        let mut here = self.head.clone();
        while let Some(link) = here {
            let place = link.place();
            if place.urgency > urgency {
                break;
            }
            here = place.next.clone();
            drop(place);
            before = Some(link);
        }
        before
    }

    /// Whether somebody waits for `key`.
    pub(super) fn has(&self, key: Key) -> bool {
        self.first(key).is_some()
    }

    /// The first who waits for `key`.
    pub(super) fn first(&self, key: Key) -> Option<(Link, Waiter)> {
        let mut here = self.head.clone();
        while let Some(link) = here {
            let place = link.place();
            if let Some(waiter) = place.waiter()
                && waiter.key == key
            {
                drop(place);
                return Some((link, waiter));
            }
            here = place.next.clone();
        }
        None
    }

    /// Takes up to `limit` waiters that `pick` picks out of the chain, in its order, and gives each to `each`.
    pub(super) fn take(
        &mut self,
        limit: usize,
        mut pick: impl FnMut(&Link, Waiter) -> Pick,
        mut each: impl FnMut(Link, Waiter),
    ) -> usize {
        let mut taken = 0;
        let mut before: Option<Link> = None;
        let mut here = self.head.clone();
        while let Some(link) = here {
            if taken == limit {
                break;
            }
            let waiter = link.place().waiter();
            // Who stands in a chain is taken out of it with the bucket locked, as it is.
            let picked = waiter.map_or(Pick::Leave, |waiter| pick(&link, waiter));
            let (next, hit) = match (picked, waiter) {
                (Pick::Stop, _) => break,
                (Pick::Take, Some(waiter)) => {
                    let mut place = link.place();
                    place.key = None;
                    (place.next.take(), Some(waiter))
                }
                _ => (link.place().next.clone(), None),
            };
            if let Some(waiter) = hit {
                match &before {
                    None => self.head = next.clone(),
                    Some(before) => before.place().next = next.clone(),
                }
                if next.is_none() {
                    self.tail = before.clone();
                }
                taken += 1;
                each(link, waiter);
            } else {
                before = Some(link);
            }
            here = next;
        }
        taken
    }
}

impl Place {
    fn waiter(&self) -> Option<Waiter> {
        Some(Waiter {
            key: self.key?,
            bitset: self.bitset,
            lock: self.lock,
        })
    }
}

/// Wakes up to `limit` threads that wait for `key` with a bit of `bitset`; gives their number.
///
/// # Errors
/// `EINVAL` if somebody there waits for a lock with priority inheritance, or on the way to one.
pub fn wake(key: Key, limit: usize, bitset: u32) -> Result<usize, Errno> {
    let mut bucket = lock(key);
    let mut mixed = false;
    let woken = bucket.take(
        limit,
        |_, waiter| {
            if waiter.key == key && waiter.lock.is_some() {
                mixed = true;
                return Pick::Stop;
            }
            Pick::if_wanted(waiter.key == key && waiter.bitset & bitset != 0)
        },
        |link, _| link.thread().wake(),
    );
    if mixed || (woken == 0 && pi::has_waiters(key)) {
        Err(Errno::EINVAL)
    } else {
        Ok(woken)
    }
}

/// Locks the buckets of two keys, and calls `f` with that of the first and, if it is another, that of the second.
pub(super) fn with_two<R>(
    one: Key,
    two: Key,
    f: impl FnOnce(&mut Bucket, Option<&mut Bucket>) -> R,
) -> R {
    let (a, b) = (one.hash(), two.hash());
    let mut first = BUCKETS[a.min(b)].lock();
    let mut second = (a != b).then(|| BUCKETS[a.max(b)].lock());
    match &mut second {
        Some(second) if a < b => f(&mut first, Some(second)),
        Some(second) => f(second, Some(&mut first)),
        None => f(&mut first, None),
    }
}

/// Wakes up to `wake` threads that wait for `from`, and lets up to `move_max` others wait for `to` instead. `check` is
/// asked first, with both buckets locked. Gives how many were woken and how many moved.
///
/// # Errors
/// What `check` says; `EINVAL` if somebody waits for `from` on the way to a lock with priority inheritance.
pub fn requeue(
    from: Key,
    to: Key,
    wake: usize,
    move_max: usize,
    check: impl FnOnce() -> Result<(), Errno>,
) -> Result<(usize, usize), Errno> {
    with_two(from, to, |source, target| {
        check()?;
        let mut mixed = false;
        let mut pick = |_: &Link, waiter: Waiter| {
            if waiter.key == from && waiter.lock.is_some() {
                mixed = true;
                return Pick::Stop;
            }
            Pick::if_wanted(waiter.key == from)
        };
        let woken = source.take(wake, &mut pick, |link, _| link.thread().wake());
        // Collected in a chain first, since source and target may be one.
        let mut moving = Bucket::default();
        let moved = source.take(move_max, &mut pick, |link, waiter| {
            moving.push(&link, to, waiter.bitset, None);
        });
        let target = target.unwrap_or(source);
        moving.take(
            moved,
            |_, _| Pick::Take,
            |link, waiter| target.push(&link, to, waiter.bitset, None),
        );
        if mixed || (woken + moved == 0 && pi::has_waiters(from)) {
            return Err(Errno::EINVAL);
        }
        Ok((woken, moved))
    })
}

/// Takes `link` out of whatever queue it is in. False if it has been woken already.
pub(super) fn cancel(link: &Link) -> bool {
    loop {
        let Some(key) = link.place().key else {
            return false;
        };
        let taken = lock(key).take(
            1,
            |other, waiter| Pick::if_wanted(other.is(link) && waiter.key == key),
            |_, _| {},
        );
        if taken == 1 {
            return true;
        }
        // It was moved to another bucket, or woken, between the two looks.
    }
}
