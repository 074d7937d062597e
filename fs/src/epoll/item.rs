//! A watched file: what its wait queues wake.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use alloc::vec::Vec;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::task::Waker;

use crate::file::File;
use crate::poll::{PollEvents, PollTable, Waiters};
use crate::sync::SpinLock;
use crate::user_count::Charge;
use crate::{Errno, Result};

use super::ready::Ready;
use super::{EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, EPOLLWAKEUP, EpollEvent, PRIVATE_BITS};

/// A file as one epoll watches it.
pub(super) struct Item {
    file: Weak<File>,
    nested: bool,
    ready: Arc<Ready>,
    /// Events and flags; without events the item is silent. Changes under `state`.
    events: AtomicU32,
    /// On the ready list. Changes under the list's lock.
    pub(super) queued: AtomicBool,
    /// No longer to go on the ready list. Changes under the list's lock.
    pub(super) retired: AtomicBool,
    state: SpinLock<State>,
    _charge: Charge,
}

struct State {
    data: u64,
    waiters: Pin<Box<Waiters>>,
    retired: bool,
}

/// What reporting an item came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing holds.
    Quiet,
    /// Reported; nothing more until a wake-up.
    Reported,
    /// Reported, and to be asked again next time.
    Level,
    /// Something holds, but could not be handed over.
    Refused,
}

/// Items whose epoll is done with them, while wakers of theirs are under way on another CPU.
///
/// That CPU may be in an interrupt, where the last reference must not go.
static GRAVES: SpinLock<Vec<Arc<Item>>> = SpinLock::new(Vec::new());

impl Item {
    pub(super) fn new(
        ready: &Arc<Ready>,
        file: &Arc<File>,
        nested: bool,
        event: EpollEvent,
        charge: Charge,
    ) -> Arc<Item> {
        Arc::new(Item {
            file: Arc::downgrade(file),
            nested,
            ready: ready.clone(),
            events: AtomicU32::new(Self::stored(event.events)),
            queued: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            state: SpinLock::new(State {
                data: event.data,
                waiters: Box::pin(Waiters::new()),
                retired: false,
            }),
            _charge: charge,
        })
    }

    /// What is kept of the events a program asks for.
    fn stored(events: u32) -> u32 {
        events & !EPOLLWAKEUP | PollEvents::ALWAYS.bits()
    }

    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.upgrade()
    }

    /// Tells whether the file is an epoll itself.
    pub(super) fn is_epoll(&self) -> bool {
        self.nested
    }

    pub(super) fn event(&self) -> EpollEvent {
        let state = self.state.lock();
        EpollEvent {
            events: self.events.load(Ordering::Relaxed),
            data: state.data,
        }
    }

    /// The events asked for; none while silent.
    fn interest(&self) -> PollEvents {
        PollEvents::from_bits_truncate(self.events.load(Ordering::Relaxed) & !PRIVATE_BITS)
    }

    /// Notes that it goes on the ready list, if it may. Under the list's lock.
    pub(super) fn may_queue(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && !self.queued.swap(true, Ordering::Relaxed)
    }

    /// Changes what is asked for.
    ///
    /// # Errors
    /// `EINVAL` for an exclusive item.
    pub(super) fn modify(&self, event: EpollEvent) -> Result<()> {
        let mut state = self.state.lock();
        if self.events.load(Ordering::Relaxed) & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        state.data = event.data;
        self.events
            .store(Self::stored(event.events), Ordering::Relaxed);
        Ok(())
    }

    /// Registers with the file, anew, and goes on the ready list if it has something already.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn arm(self: &Arc<Self>, file: &Arc<File>) -> Result<()> {
        let waker = Waker::from(self.clone());
        let (now, failed) = {
            let mut state = self.state.lock();
            if state.retired {
                return Ok(());
            }
            state.waiters.as_mut().clear();
            let interest = self.interest();
            let mut table = PollTable::new(state.waiters.as_mut(), &waker, interest);
            if self.events.load(Ordering::Relaxed) & EPOLLEXCLUSIVE != 0 {
                table = table.exclusive();
            }
            (file.poll(Some(&mut table)) & interest, table.failed())
        };
        drop(waker);
        if failed {
            return Err(Errno::ENOMEM);
        }
        if !now.is_empty() {
            self.ready.push(self);
        }
        Ok(())
    }

    /// Asks the file for what holds of what is asked.
    pub(super) fn events_now(&self) -> PollEvents {
        match self.file.upgrade() {
            Some(file) => file.poll(None) & self.interest(),
            None => PollEvents::empty(),
        }
    }

    /// Hands what holds to `emit`, which may refuse it, and says what is to become of the item.
    pub(super) fn report(&self, emit: impl FnOnce(EpollEvent) -> bool) -> Verdict {
        // Held to the end: if this is the last reference the file takes this item along, which needs the item's lock.
        let Some(file) = self.file.upgrade() else {
            return Verdict::Quiet;
        };
        let state = self.state.lock();
        let now = file.poll(None) & self.interest();
        if now.is_empty() || state.retired {
            return Verdict::Quiet;
        }
        let event = EpollEvent {
            events: now.bits(),
            data: state.data,
        };
        if !emit(event) {
            return Verdict::Refused;
        }
        let flags = self.events.load(Ordering::Relaxed);
        let verdict = if flags & EPOLLONESHOT != 0 {
            self.events.store(flags & PRIVATE_BITS, Ordering::Relaxed);
            Verdict::Reported
        } else if flags & EPOLLET != 0 {
            Verdict::Reported
        } else {
            Verdict::Level
        };
        drop(state);
        drop(file);
        verdict
    }

    /// Ends the item: out of the wait queues and off the ready list.
    pub(super) fn retire(self: Arc<Self>) {
        {
            let mut state = self.state.lock();
            state.retired = true;
            state.waiters.as_mut().clear();
        }
        self.ready.retire(&self);
        let mut dead = Vec::new();
        {
            let mut graves = GRAVES.lock();
            // A count of one cannot grow again: it is ours or the list's.
            let mut at = 0;
            while at < graves.len() {
                if Arc::strong_count(&graves[at]) == 1 {
                    dead.push(graves.swap_remove(at));
                } else {
                    at += 1;
                }
            }
            if Arc::strong_count(&self) > 1 {
                graves.push(self);
            }
        }
    }
}

impl Wake for Item {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.interest().is_empty() {
            self.ready.push(self);
        }
    }
}
