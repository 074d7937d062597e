//! Readiness: which events a file has, how a waiter hears of the next one, and `poll(2)` and `select(2)` over many files.
//!
//! A file's [`poll`](crate::FileOps::poll) says which events hold *now*; given a [`PollTable`] it first registers the
//! table's waker on its wait queues, so that no change falls between the look and the sleep. The registrations live in
//! a [`Waiters`] of the caller and stay, through any number of wake-ups, until that is cleared or dropped: looking again after a
//! wake-up needs no table.
//!
//! A file with separate queues for readers and writers wakes both for [`HUP`](PollEvents::HUP) and
//! [`ERR`](PollEvents::ERR), and registers by [`PollTable::register_rw`].

use alloc::sync::Arc;
use core::pin::Pin;
use core::task::Waker;

pub use executor::sync::{WaitQueue, Waiters};

use crate::fdtable::FdTable;
use crate::{Errno, Result};

bitflags::bitflags! {
    /// Events of `poll(2)` and `epoll(7)`, with their Linux values.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PollEvents: u32 {
        /// Data to read.
        const IN = 0x001;
        /// Urgent data.
        const PRI = 0x002;
        /// Room to write.
        const OUT = 0x004;
        /// Error; always reported.
        const ERR = 0x008;
        /// Hang-up; always reported.
        const HUP = 0x010;
        /// Not an open descriptor.
        const NVAL = 0x020;
        /// Normal data to read.
        const RDNORM = 0x040;
        /// Priority band data to read.
        const RDBAND = 0x080;
        /// Room for normal data.
        const WRNORM = 0x100;
        /// Room for priority data.
        const WRBAND = 0x200;
        /// Unused by Linux.
        const MSG = 0x400;
        /// The peer shut down writing.
        const RDHUP = 0x2000;
    }
}

impl PollEvents {
    /// What is reported whether asked for or not.
    pub const ALWAYS: PollEvents = PollEvents::ERR.union(PollEvents::HUP);
    /// What a reader waits for.
    pub const READ: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
    /// What a writer waits for.
    pub const WRITE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);
    /// What concerns the write side of a file.
    const WRITE_SIDE: PollEvents = PollEvents::WRITE.union(PollEvents::WRBAND);
    /// What concerns the read side of a file.
    const READ_SIDE: PollEvents = PollEvents::READ
        .union(PollEvents::PRI)
        .union(PollEvents::RDBAND)
        .union(PollEvents::RDHUP);
}

/// What `poll` registers a waiter with: a waker, and what its owner is interested in.
pub struct PollTable<'a> {
    waiters: Pin<&'a mut Waiters>,
    waker: &'a Waker,
    interest: PollEvents,
    exclusive: bool,
    failed: bool,
}

impl<'a> PollTable<'a> {
    /// Makes a table that registers `waker` for `interest` and keeps the registrations in `waiters`, with those it holds.
    #[inline]
    pub fn new(waiters: Pin<&'a mut Waiters>, waker: &'a Waker, interest: PollEvents) -> Self {
        PollTable {
            waiters,
            waker,
            interest,
            exclusive: false,
            failed: false,
        }
    }

    /// Makes the registrations exclusive: a wake-up may wake one of them only (`EPOLLEXCLUSIVE`).
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Returns what the owner waits for; [`PollEvents::ALWAYS`] is meant as well.
    #[inline]
    pub fn interest(&self) -> PollEvents {
        self.interest
    }

    /// Sets what the owner waits for, for the files that follow.
    #[inline]
    pub fn set_interest(&mut self, interest: PollEvents) {
        self.interest = interest;
    }

    /// Registers on `queue`, whatever the interest.
    ///
    /// Where memory is missing nothing is registered and [`failed`](PollTable::failed) says so.
    pub fn register(&mut self, queue: &Arc<WaitQueue>) {
        match self.waiters.as_mut().add() {
            Some(waiter) => waiter.enqueue(queue, self.waker, self.exclusive),
            None => self.failed = true,
        }
    }

    /// Registers on the queue of those that read, that of those that write, or both, as the interest says.
    ///
    /// Who waits for neither, only for a hang-up, is registered as a reader.
    #[inline]
    pub fn register_rw(&mut self, readers: &Arc<WaitQueue>, writers: &Arc<WaitQueue>) {
        let writes = self.interest.intersects(PollEvents::WRITE_SIDE);
        if writes {
            self.register(writers);
        }
        if !writes || self.interest.intersects(PollEvents::READ_SIDE) {
            self.register(readers);
        }
    }

    /// Tells whether a registration failed for want of memory.
    pub fn failed(&self) -> bool {
        self.failed
    }
}

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PollFd {
    /// The descriptor; a negative one is skipped.
    pub fd: i32,
    /// The events asked for.
    pub events: u16,
    /// The events that hold.
    pub revents: u16,
}

/// How many files are looked at under one hold of the descriptor table's lock.
const BATCH: usize = 32;

/// Looks at each of `fds`, sets `revents`, and returns how many have any.
///
/// With a `table`, registers with each file until the first one that is ready.
///
/// # Errors
/// `ENOMEM` if registering needs memory that there is not.
pub fn poll_fds(
    files: &FdTable,
    fds: &mut [PollFd],
    mut table: Option<&mut PollTable<'_>>,
) -> Result<usize> {
    let mut ready = 0;
    for batch in fds.chunks_mut(BATCH) {
        files.with_open(|open| {
            for entry in batch {
                entry.revents = 0;
                if entry.fd < 0 {
                    continue;
                }
                let wanted = PollEvents::from_bits_truncate(entry.events.into())
                    & !PollEvents::NVAL
                    | PollEvents::ALWAYS;
                let events = match open.get(entry.fd) {
                    Some(file) => {
                        let mut table = table.as_deref_mut().filter(|_| ready == 0);
                        if let Some(table) = table.as_deref_mut() {
                            table.set_interest(wanted);
                        }
                        file.poll(table) & wanted
                    }
                    None => PollEvents::NVAL,
                };
                entry.revents = events.bits() as u16;
                ready += usize::from(!events.is_empty());
            }
        });
        if table.as_deref().is_some_and(PollTable::failed) {
            return Err(Errno::ENOMEM);
        }
    }
    Ok(ready)
}

/// The three sets of `select(2)`, a bit for each descriptor; all are equally long.
#[derive(Debug)]
pub struct SelectSets<'a> {
    /// The descriptors asked about: to read, to write, exceptional.
    pub wanted: [&'a [u64]; 3],
    /// Those that are ready, filled in.
    pub ready: [&'a mut [u64]; 3],
}

/// The events that make a descriptor ready in each of the three sets.
const SELECT_EVENTS: [PollEvents; 3] = [
    PollEvents::READ
        .union(PollEvents::RDBAND)
        .union(PollEvents::HUP)
        .union(PollEvents::ERR)
        .union(PollEvents::NVAL),
    PollEvents::WRITE
        .union(PollEvents::WRBAND)
        .union(PollEvents::ERR)
        .union(PollEvents::NVAL),
    PollEvents::PRI.union(PollEvents::NVAL),
];

/// Looks at each descriptor in `sets` and returns how many bits of `ready` it set.
///
/// With `strict`, as for the first look, a closed descriptor is an error; later it counts as ready. With a `table`, registers as
/// [`poll_fds`] does.
///
/// # Errors
/// `EBADF` for a descriptor that is not open; `ENOMEM` as [`poll_fds`].
pub fn select_fds(
    files: &FdTable,
    sets: &mut SelectSets<'_>,
    strict: bool,
    mut table: Option<&mut PollTable<'_>>,
) -> Result<usize> {
    let mut found = 0;
    for word in 0..sets.wanted[0].len() {
        let wanted = sets.wanted.map(|set| set[word]);
        let mut left = wanted[0] | wanted[1] | wanted[2];
        let mut ready = [0_u64; 3];
        if left != 0 {
            files.with_open(|open| {
                while left != 0 {
                    let bit = left & left.wrapping_neg();
                    left &= left - 1;
                    let fd = (word * 64) as i32 + bit.trailing_zeros() as i32;
                    let events = match open.get(fd) {
                        Some(file) => {
                            let mut table = table.as_deref_mut().filter(|_| found == 0);
                            if let Some(table) = table.as_deref_mut() {
                                table.set_interest(select_interest(&wanted, bit));
                            }
                            file.poll(table)
                        }
                        None if strict => return Err(Errno::EBADF),
                        None => PollEvents::NVAL,
                    };
                    for set in 0..3 {
                        if wanted[set] & bit != 0 && events.intersects(SELECT_EVENTS[set]) {
                            ready[set] |= bit;
                            found += 1;
                        }
                    }
                }
                Ok(())
            })?;
        }
        for (set, bits) in sets.ready.iter_mut().zip(ready) {
            set[word] = bits;
        }
        if table.as_deref().is_some_and(PollTable::failed) {
            return Err(Errno::ENOMEM);
        }
    }
    Ok(found)
}

/// Returns the events that the sets ask of the descriptor with this `bit`.
fn select_interest(wanted: &[u64; 3], bit: u64) -> PollEvents {
    let mut interest = PollEvents::ALWAYS;
    for set in 0..3 {
        if wanted[set] & bit != 0 {
            interest |= SELECT_EVENTS[set];
        }
    }
    interest
}

#[cfg(test)]
#[path = "poll_tests.rs"]
mod tests;
