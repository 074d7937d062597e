//! A queue of pending signals: one bit each, and what came with them, in order of arrival.
//!
//! Entries live in a vector that grows before the lock is taken ([`Pending::grow`]), so that pushing and taking
//! signals neither allocates nor frees, and a timer interrupt may push. POSIX timers hold a reserved slot each.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use super::info::{SI_USER, SigInfo};
use super::number::{SigSet, Signal};
use crate::process::user::User;

const NONE: u32 = u32::MAX;

/// One queued signal, or a free slot.
#[derive(Debug)]
struct Slot {
    info: SigInfo,
    /// Whose `RLIMIT_SIGPENDING` it counts against. Stays in a free slot until that is used again, so that
    /// nothing is freed under the lock.
    account: Option<Arc<User>>,
    /// Whether the slot is one of a timer's.
    reserved: bool,
    next: u32,
}

/// Pending signals of a thread or of a process.
#[derive(Debug)]
pub struct Pending {
    set: SigSet,
    slots: Vec<Slot>,
    free: u32,
    free_len: u32,
    head: u32,
    tail: u32,
    /// Slots kept for timers that have nothing in the queue.
    reserved: u32,
}

/// What [`Pending::push`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// Pending, with its information.
    Queued,
    /// Was pending already: a standard signal, merged.
    Merged,
    /// Pending, but its information is lost: no slot was free.
    WithoutInfo,
    /// Not pending: no slot was free, and the caller wanted one.
    Refused,
}

impl Default for Pending {
    fn default() -> Self {
        Self::new()
    }
}

impl Pending {
    /// An empty queue without slots.
    pub const fn new() -> Self {
        Self {
            set: SigSet::EMPTY,
            slots: Vec::new(),
            free: NONE,
            free_len: 0,
            head: NONE,
            tail: NONE,
            reserved: 0,
        }
    }

    /// The signals pending.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// How many slots [`Pending::grow`] must be given so that one more signal fits; 0 if it fits already.
    pub fn wants(&self) -> usize {
        if self.free_len > self.reserved {
            0
        } else {
            (self.slots.len() * 2).max(4)
        }
    }

    /// Takes `store`, made by [`store`] with at least [`Pending::wants`] room, as the new slots; hands back the old ones
    /// to be freed after unlocking. Hands `store` itself back where it is not larger.
    #[must_use]
    pub fn grow(&mut self, mut store: Store) -> Store {
        if store.0.capacity() <= self.slots.len() {
            return store;
        }
        store.0.append(&mut self.slots);
        while store.0.len() < store.0.capacity() {
            let index = store.0.len() as u32;
            store.0.push(Slot {
                info: SigInfo::kernel(Signal::SIGHUP),
                account: None,
                reserved: false,
                next: self.free,
            });
            self.free = index;
            self.free_len += 1;
        }
        Store(mem::replace(&mut self.slots, store.0))
    }

    /// Keeps a slot for a timer. False where none is free: [`Pending::grow`] and try again.
    pub fn reserve(&mut self) -> bool {
        let fits = self.free_len > self.reserved;
        self.reserved += u32::from(fits);
        fits
    }

    /// Gives back what [`Pending::reserve`] kept; `queued` says whether the timer's signal may be in the queue, which is
    /// then removed.
    pub fn unreserve(&mut self, mut queued: impl FnMut(&SigInfo) -> bool) {
        match self.unlink(|slot| slot.reserved && queued(&slot.info)) {
            Some(index) => {
                let signo = self.slots[index as usize].info.signo;
                self.release(index);
                self.refresh(signo);
            }
            None => self.reserved = self.reserved.saturating_sub(1),
        }
    }

    /// Adds `signal`. With `must_queue` (queued real-time signals) a lack of slots refuses it; else only the
    /// information is lost. `account` is counted, and swapped for one to be dropped after unlocking.
    pub fn push(
        &mut self,
        signal: Signal,
        info: &SigInfo,
        account: &mut Option<Arc<User>>,
        must_queue: bool,
    ) -> Pushed {
        if !signal.is_realtime() && self.set.contains(signal) {
            return Pushed::Merged;
        }
        if account.is_none() || self.free_len <= self.reserved {
            if must_queue {
                return Pushed::Refused;
            }
            self.set.insert(signal);
            return Pushed::WithoutInfo;
        }
        if let Some(user) = account {
            user.sigpending
                .fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        }
        self.link(info, account, false);
        self.set.insert(signal);
        Pushed::Queued
    }

    /// Adds the signal of a timer that holds a reserved slot and has nothing in the queue.
    ///
    /// # Context
    /// Any.
    pub fn push_reserved(&mut self, signal: Signal, info: &SigInfo) {
        debug_assert!(self.reserved > 0 && self.free_len >= self.reserved);
        self.reserved -= 1;
        self.link(info, &mut None, true);
        self.set.insert(signal);
    }

    /// Adds `signal` without information, where nothing may allocate: it will say `SI_USER` from nobody.
    pub fn push_bare(&mut self, signal: Signal) {
        self.set.insert(signal);
    }

    /// Takes the next signal of `wanted`, the synchronous ones first.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signal = (self.set & wanted).next()?;
        Some(self.take_one(signal))
    }

    fn take_one(&mut self, signal: Signal) -> SigInfo {
        let signo = signal.number();
        let Some(index) = self.unlink(|slot| slot.info.signo == signo) else {
            self.set.remove(signal);
            return SigInfo::user(signal, SI_USER, 0, 0);
        };
        let info = self.slots[index as usize].info;
        self.reserved += u32::from(self.slots[index as usize].reserved);
        self.release(index);
        self.refresh(signo);
        info
    }

    /// Drops all pending signals of `set`.
    pub fn flush(&mut self, set: SigSet) {
        let mut gone = self.set & set;
        while let Some(signal) = gone.next() {
            gone.remove(signal);
            while self.set.contains(signal) {
                self.take_one(signal);
            }
        }
    }

    /// Changes what came with the first entry that `wanted` picks; false if there is none.
    pub fn update(
        &mut self,
        wanted: impl Fn(&SigInfo) -> bool,
        change: impl FnOnce(&mut SigInfo),
    ) -> bool {
        let mut index = self.head;
        while let Some(slot) = self.slots.get_mut(index as usize) {
            if wanted(&slot.info) {
                change(&mut slot.info);
                return true;
            }
            index = slot.next;
        }
        false
    }

    /// What is queued, in order.
    pub fn iter(&self) -> impl Iterator<Item = &SigInfo> {
        let mut next = self.head;
        core::iter::from_fn(move || {
            let slot = self.slots.get(next as usize)?;
            next = slot.next;
            Some(&slot.info)
        })
    }

    /// Clears the bit of `signo` if nothing of it is queued any more.
    fn refresh(&mut self, signo: i32) {
        if let Some(signal) = Signal::new(signo)
            && !(signal.is_realtime() && self.iter().any(|info| info.signo == signo))
        {
            self.set.remove(signal);
        }
    }

    fn link(&mut self, info: &SigInfo, account: &mut Option<Arc<User>>, reserved: bool) {
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        self.free = slot.next;
        self.free_len -= 1;
        slot.info = *info;
        slot.reserved = reserved;
        slot.next = NONE;
        mem::swap(&mut slot.account, account);
        match self.tail {
            NONE => self.head = index,
            tail => self.slots[tail as usize].next = index,
        }
        self.tail = index;
    }

    /// Takes the first slot that `wanted` picks out of the queue, but does not free it yet.
    fn unlink(&mut self, mut wanted: impl FnMut(&Slot) -> bool) -> Option<u32> {
        let mut before = NONE;
        let mut index = self.head;
        while index != NONE {
            let slot = &self.slots[index as usize];
            let next = slot.next;
            if wanted(slot) {
                match before {
                    NONE => self.head = next,
                    before => self.slots[before as usize].next = next,
                }
                if self.tail == index {
                    self.tail = before;
                }
                return Some(index);
            }
            before = index;
            index = next;
        }
        None
    }

    fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.reserved
            && let Some(user) = &slot.account
        {
            user.sigpending
                .fetch_sub(1, core::sync::atomic::Ordering::Relaxed);
        }
        slot.reserved = false;
        slot.next = self.free;
        self.free = index;
        self.free_len += 1;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.flush(SigSet::ALL);
    }
}

/// Room for slots, allocated while no lock is held.
#[derive(Debug)]
pub struct Store(Vec<Slot>);

/// Allocates room for `len` slots; `None` where memory is short.
pub fn store(len: usize) -> Option<Store> {
    let mut slots = Vec::new();
    slots.try_reserve_exact(len).ok()?;
    Some(Store(slots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    fn queue(slots: usize) -> (Pending, Arc<User>) {
        let mut pending = Pending::new();
        drop(pending.grow(store(slots).unwrap()));
        (pending, Arc::new(User::new(1000)))
    }

    fn rt(n: i32) -> Signal {
        Signal::new(n).unwrap()
    }

    fn push(pending: &mut Pending, user: &Arc<User>, signal: Signal, value: u64) -> Pushed {
        let mut info = SigInfo::user(signal, -1, 1, 1);
        info.fields[1] = value;
        pending.push(signal, &info, &mut Some(user.clone()), signal.is_realtime())
    }

    #[test]
    fn standard_signals_merge_and_realtime_ones_queue_in_order() {
        let (mut pending, user) = queue(8);
        for value in 0..3 {
            push(&mut pending, &user, rt(40), value);
        }
        assert_eq!(
            push(&mut pending, &user, Signal::SIGUSR1, 7),
            Pushed::Queued
        );
        assert_eq!(
            push(&mut pending, &user, Signal::SIGUSR1, 8),
            Pushed::Merged
        );
        assert_eq!(user.sigpending.load(Ordering::Relaxed), 4);
        assert_eq!(pending.take(SigSet::ALL).unwrap().value(), 7);
        for value in 0..3 {
            assert!(pending.set().contains(rt(40)));
            assert_eq!(pending.take(SigSet::ALL).unwrap().value(), value);
        }
        assert_eq!(pending.take(SigSet::ALL), None);
        assert_eq!(user.sigpending.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_a_slot_realtime_is_refused_and_standard_loses_its_information() {
        let (mut pending, user) = queue(1);
        let room = pending.free_len as usize;
        for _ in 0..room {
            assert_eq!(push(&mut pending, &user, rt(34), 0), Pushed::Queued);
        }
        assert_eq!(push(&mut pending, &user, rt(34), 0), Pushed::Refused);
        assert_eq!(
            push(&mut pending, &user, Signal::SIGTERM, 5),
            Pushed::WithoutInfo
        );
        let info = pending.take(Signal::SIGTERM.set()).unwrap();
        assert_eq!((info.signo, info.code, info.value()), (15, SI_USER, 0));
        assert!(pending.wants() > room);
    }

    #[test]
    fn growing_keeps_what_is_queued() {
        let (mut pending, user) = queue(2);
        let room = pending.free_len as u64;
        for value in 0..room {
            push(&mut pending, &user, rt(50), value);
        }
        let old = pending.grow(store(pending.wants()).unwrap());
        drop(old);
        push(&mut pending, &user, rt(50), 99);
        let values: Vec<u64> = pending.iter().map(SigInfo::value).collect();
        assert_eq!(values, (0..room).chain([99]).collect::<Vec<_>>());
    }

    #[test]
    fn reserved_slots_are_not_for_others() {
        let (mut pending, user) = queue(1);
        while pending.reserve() {}
        assert_eq!(push(&mut pending, &user, rt(34), 0), Pushed::Refused);
        pending.push_reserved(Signal::SIGALRM, &SigInfo::timer(Signal::SIGALRM, 1, 0, 5));
        assert_eq!(pending.take(SigSet::ALL).unwrap().value(), 5);
        assert_eq!(
            push(&mut pending, &user, rt(34), 0),
            Pushed::Refused,
            "the slot went back to its timer"
        );
        pending.unreserve(|_| true);
        assert_eq!(push(&mut pending, &user, rt(34), 0), Pushed::Queued);
    }

    #[test]
    fn a_deleted_timer_takes_its_signal_along() {
        let (mut pending, _) = queue(2);
        assert!(pending.reserve());
        pending.push_reserved(rt(40), &SigInfo::timer(rt(40), 1, 0, 5));
        pending.unreserve(|info| info.pid() == 1);
        assert!(pending.set().is_empty());
        assert_eq!(pending.reserved, 0);
        assert_eq!(pending.free_len as usize, pending.slots.len());
    }

    #[test]
    fn flush_drops_only_what_it_names() {
        let (mut pending, user) = queue(8);
        push(&mut pending, &user, rt(40), 1);
        push(&mut pending, &user, rt(41), 2);
        push(&mut pending, &user, rt(40), 3);
        pending.flush(rt(40).set());
        assert_eq!(pending.set(), rt(41).set());
        assert_eq!(user.sigpending.load(Ordering::Relaxed), 1);
        drop(pending);
        assert_eq!(user.sigpending.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn wanted_signals_alone_are_taken() {
        let (mut pending, user) = queue(4);
        push(&mut pending, &user, Signal::SIGHUP, 1);
        push(&mut pending, &user, Signal::SIGTERM, 2);
        assert_eq!(pending.take(Signal::SIGTERM.set()).unwrap().signo, 15);
        assert_eq!(pending.take(Signal::SIGTERM.set()), None);
    }
}
