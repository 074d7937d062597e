//! The table of who waits where.

use alloc::sync::Arc;

use executor::sync::{SpinLock, SpinLockGuard};
use fs::Errno;

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

    fn bucket(self) -> usize {
        // Fibonacci hashing: the high bits of the product are well mixed.
        let mixed =
            (self.object as u64 ^ self.offset.rotate_left(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (64 - BUCKET_BITS)) as usize
    }
}

const BUCKET_BITS: u32 = 8;

/// Threads that wait for keys of one hash, oldest first: a chain through their nodes.
#[derive(Default)]
pub(super) struct Bucket {
    head: Option<Arc<Thread>>,
    tail: Option<Arc<Thread>>,
}

static BUCKETS: [SpinLock<Bucket>; 1 << BUCKET_BITS] = [const {
    SpinLock::new(Bucket {
        head: None,
        tail: None,
    })
}; 1 << BUCKET_BITS];

/// A thread's place in a queue.
#[derive(Debug, Default)]
pub struct Node(SpinLock<Place>);

#[derive(Debug, Default)]
struct Place {
    /// What it waits for; `None` once it has been woken.
    key: Option<Key>,
    bitset: u32,
    next: Option<Arc<Thread>>,
}

impl Node {
    /// Whether it is in no queue: not waiting, or woken.
    pub(super) fn is_woken(&self) -> bool {
        self.0.lock().key.is_none()
    }
}

/// Locks the bucket of `key`.
pub(super) fn lock(key: Key) -> SpinLockGuard<'static, Bucket> {
    BUCKETS[key.bucket()].lock()
}

impl Bucket {
    /// Puts `thread` last.
    pub(super) fn push(&mut self, thread: &Arc<Thread>, key: Key, bitset: u32) {
        *thread.futex.0.lock() = Place {
            key: Some(key),
            bitset,
            next: None,
        };
        match self.tail.replace(thread.clone()) {
            None => self.head = Some(thread.clone()),
            Some(last) => last.futex.0.lock().next = Some(thread.clone()),
        }
    }

    /// Puts all of `other` behind what is here.
    fn append(&mut self, mut other: Bucket) {
        let Some(first) = other.head.take() else {
            return;
        };
        match core::mem::replace(&mut self.tail, other.tail.take()) {
            None => self.head = Some(first),
            Some(last) => last.futex.0.lock().next = Some(first),
        }
    }

    /// Takes up to `limit` waiters that `wanted` picks out of the chain, oldest first, and gives each to `each`.
    fn take(
        &mut self,
        limit: usize,
        wanted: impl Fn(&Thread, Key, u32) -> bool,
        mut each: impl FnMut(Arc<Thread>),
    ) -> usize {
        let mut taken = 0;
        let mut before: Option<Arc<Thread>> = None;
        let mut here = self.head.clone();
        while let Some(thread) = here {
            if taken == limit {
                break;
            }
            let (next, hit) = {
                let mut place = thread.futex.0.lock();
                let hit = place
                    .key
                    .is_some_and(|key| wanted(&thread, key, place.bitset));
                if hit {
                    place.key = None;
                    (place.next.take(), true)
                } else {
                    (place.next.clone(), false)
                }
            };
            if hit {
                match &before {
                    None => self.head = next.clone(),
                    Some(before) => before.futex.0.lock().next = next.clone(),
                }
                if next.is_none() {
                    self.tail = before.clone();
                }
                taken += 1;
                each(thread);
            } else {
                before = Some(thread);
            }
            here = next;
        }
        taken
    }
}

/// Wakes up to `limit` threads that wait for `key` with a bit of `bitset`; gives their number.
pub fn wake(key: Key, limit: usize, bitset: u32) -> usize {
    lock(key).take(
        limit,
        |_, theirs, bits| theirs == key && bits & bitset != 0,
        |thread| thread.wake(),
    )
}

/// Wakes up to `wake` threads that wait for `from`, and lets up to `move_max` others wait for `to` instead. `check` is
/// asked first, with both buckets locked. Gives how many were woken and how many moved.
///
/// # Errors
/// What `check` says.
pub fn requeue(
    from: Key,
    to: Key,
    wake: usize,
    move_max: usize,
    check: impl FnOnce() -> Result<(), Errno>,
) -> Result<(usize, usize), Errno> {
    let (a, b) = (from.bucket(), to.bucket());
    let mut first = BUCKETS[a.min(b)].lock();
    let mut second = (a != b).then(|| BUCKETS[a.max(b)].lock());
    check()?;
    let (source, target) = match &mut second {
        Some(second) if a < b => (&mut *first, Some(&mut **second)),
        Some(second) => (&mut **second, Some(&mut *first)),
        None => (&mut *first, None),
    };
    let woken = source.take(wake, |_, key, _| key == from, |thread| thread.wake());
    let moved = move_waiters(source, target, from, to, move_max);
    Ok((woken, moved))
}

/// Moves waiters from key to key. Only one chain is walked at a time, so those that move are collected in a chain first.
fn move_waiters(
    source: &mut Bucket,
    target: Option<&mut Bucket>,
    from: Key,
    to: Key,
    limit: usize,
) -> usize {
    let mut moving = Bucket::default();
    let bits = core::cell::Cell::new(0);
    let moved = source.take(
        limit,
        |_, key, bitset| {
            let hit = key == from;
            if hit {
                bits.set(bitset);
            }
            hit
        },
        |thread| moving.push(&thread, to, bits.get()),
    );
    target.unwrap_or(source).append(moving);
    moved
}

/// Takes `thread` out of whatever queue it is in. False if it has been woken already.
pub(super) fn cancel(thread: &Arc<Thread>) -> bool {
    loop {
        let Some(key) = thread.futex.0.lock().key else {
            return false;
        };
        let taken = lock(key).take(
            1,
            |other, theirs, _| core::ptr::eq(other, Arc::as_ptr(thread)) && theirs == key,
            |_| {},
        );
        if taken == 1 {
            return true;
        }
        // It was moved to another bucket, or woken, between the two looks.
    }
}
