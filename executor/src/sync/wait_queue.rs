//! Wait queues: tasks that wait for something to change, woken from any context.
//!
//! Purpose: what Linux's `wait_queue_head_t` is for. Waiters are linked in place, so neither waiting nor waking
//! allocates. Contexts: waiting in tasks (or softirq futures), waking in any. Lock: one `SpinLockIrq` per queue, under which
//! no waker is woken or dropped. A waiter that was granted a wake-up and is dropped before it used it hands it on.
//!
//! Two kinds of waiters, as with Linux: a wake-up wakes all the *shared* ones and as many of the *exclusive* ones as it says,
//! first come first served. [`WaitQueue::wait`] and [`WaitQueue::wait_until`] are exclusive.

use core::{
    fmt,
    future::Future,
    pin::Pin,
    ptr::NonNull,
    sync::atomic::Ordering,
    task::{Context, Poll, Waker},
};

use super::{
    list::{Entry, List, NodeState, WakeBatch},
    spin::SpinLockIrq,
};
use crate::facade::{AtomicBool, const_fn, fence, mutant};

/// A queue of tasks that wait.
pub struct WaitQueue {
    lists: SpinLockIrq<Lists>,
    /// Whether the lists hold anybody. Set under the lock; a wake-up that finds it clear need not take that.
    waiting: AtomicBool,
}

struct Lists {
    shared: List,
    exclusive: List,
    /// Counts wake-ups: a waiter that comes, or comes back, during a round is not part of it.
    round: u64,
}

impl Lists {
    fn list(&mut self, exclusive: bool) -> &mut List {
        if exclusive {
            &mut self.exclusive
        } else {
            &mut self.shared
        }
    }

    /// Wakes the first waiter of a list, if it was there before `round`. False if there is none.
    fn pop_into(&mut self, exclusive: bool, round: u64, batch: &mut WakeBatch) -> bool {
        let list = self.list(exclusive);
        let Some(entry) = list.front() else {
            return false;
        };
        // SAFETY: a listed entry lives, and we are under the lock.
        if unsafe { entry.as_ref().node() }.round >= round {
            return false;
        }
        // SAFETY: the entry is at the front of this list.
        unsafe { list.remove(entry) };
        // SAFETY: as above; the reference is made anew, since the list used the node.
        let node = unsafe { entry.as_ref().node() };
        if node.stays {
            node.round = round;
            batch.push(node.waker.clone());
            // SAFETY: just taken out of the list, and it stays in place.
            unsafe { list.push_back(entry) };
        } else {
            node.state = NodeState::Granted;
            batch.push(node.waker.take());
            // SAFETY: the entry lives until it knows.
            unsafe { entry.as_ref() }.grant();
        }
        true
    }
}

impl WaitQueue {
    const_fn! {
        /// A queue without waiters.
        #[track_caller]
        pub fn new() -> Self {
            Self {
                lists: SpinLockIrq::new(Lists { shared: List::new(), exclusive: List::new(), round: 0 }),
                waiting: AtomicBool::new(false),
            }
        }
    }

    /// Whether nobody waits, at this moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.waiting.load(Ordering::Relaxed)
    }

    /// Wakes all shared waiters and the first exclusive one. True if there was any.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn wake_one(&self) -> bool {
        self.wake(1) > 0
    }

    /// As [`WaitQueue::wake_one`], after a change made under a lock which [`WaitQueue::wait_until_locked`]'s condition takes.
    #[inline]
    pub(super) fn wake_one_locked(&self) {
        // Who looked before the change had joined before that, and what it did before it gave the lock back is seen here.
        if !self.is_empty() {
            self.wake_round(true, 1);
        }
    }

    /// Wakes all waiters, and says how many.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn wake_all(&self) -> usize {
        self.wake(usize::MAX)
    }

    /// Wakes all shared waiters and the first `n` exclusive ones, and says how many in all.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn wake(&self, n: usize) -> usize {
        // What the waiters wait for was changed before this call. Either they see that when they look, having joined, or
        // this sees that they have: `enqueue` has the other fence.
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return 0;
        }
        self.wake_round(true, n)
    }

    /// Brings `waiting` up to date, under the lock.
    #[inline(always)]
    fn note(&self, lists: &Lists) {
        let waiting = !(lists.shared.is_empty() && lists.exclusive.is_empty());
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    fn wake_round(&self, shared: bool, mut exclusive: usize) -> usize {
        let mut woken = 0;
        let mut round = 0;
        let mut batch = WakeBatch::new();
        loop {
            let more = {
                let mut lists = self.lists.lock();
                if round == 0 {
                    lists.round += 1;
                    round = lists.round;
                }
                while shared && !batch.is_full() && lists.pop_into(false, round, &mut batch) {
                    woken += 1;
                }
                while exclusive > 0 && !batch.is_full() && lists.pop_into(true, round, &mut batch) {
                    woken += 1;
                    exclusive -= 1;
                }
                self.note(&lists);
                batch.is_full()
            };
            batch.wake();
            if !more {
                return woken;
            }
        }
    }

    /// Waits for one wake-up that comes after the first poll.
    ///
    /// # Cancel safety
    /// A wake-up granted to a future that is dropped goes to the next waiter.
    pub fn wait(&self) -> Wait<'_> {
        Wait {
            queue: self,
            entry: Entry::new(),
            queued: false,
            fenced: true,
        }
    }

    /// Waits until `condition` gives something, asking it first, and again after each wake-up.
    ///
    /// What makes the condition true happens before the wake-up; no lock is needed between the two.
    ///
    /// # Cancel safety
    /// As [`WaitQueue::wait`].
    pub fn wait_until<T, F: FnMut() -> Option<T>>(&self, condition: F) -> WaitUntil<'_, F> {
        WaitUntil {
            wait: self.wait(),
            condition,
        }
    }

    /// As [`WaitQueue::wait_until`], for a condition that takes a lock under which it is changed.
    pub(super) fn wait_until_locked<T, F: FnMut() -> Option<T>>(
        &self,
        condition: F,
    ) -> WaitUntil<'_, F> {
        let mut until = self.wait_until(condition);
        until.wait.fenced = false;
        until
    }

    /// Puts `entry` in the queue, or notes the waker if it is in it. True if it was not: the caller looks again at what it
    /// waits for.
    ///
    /// # Safety
    /// The entry belongs to this queue alone, and is taken out by `cancel` before it moves or goes.
    pub(super) unsafe fn enqueue(
        &self,
        entry: &Entry,
        waker: &Waker,
        exclusive: bool,
        stays: bool,
    ) -> bool {
        // SAFETY: the contract is the same.
        let fresh = unsafe { self.enqueue_unfenced(entry, waker, exclusive, stays) };
        if fresh && !mutant!(NoFenceAfterJoin) {
            // Before that look: see `wake`.
            fence(Ordering::SeqCst);
        }
        fresh
    }

    /// As [`WaitQueue::enqueue`], for a look under a lock that whoever wakes has taken.
    ///
    /// # Safety
    /// As there.
    unsafe fn enqueue_unfenced(
        &self,
        entry: &Entry,
        waker: &Waker,
        exclusive: bool,
        stays: bool,
    ) -> bool {
        let waker = waker.clone();
        let (old, fresh) = {
            let mut lists = self.lists.lock();
            // SAFETY: the entry is this queue's, whose lock we hold.
            let node = unsafe { entry.node() };
            let old = node.waker.replace(waker);
            let fresh = node.state != NodeState::Queued;
            if fresh {
                entry.reset();
                node.state = NodeState::Queued;
                node.exclusive = exclusive;
                node.stays = stays;
                node.round = lists.round;
                // SAFETY: not queued, so in no list; it stays in place by the contract.
                unsafe { lists.list(exclusive).push_back(NonNull::from(entry)) };
                self.note(&lists);
            }
            (old, fresh)
        };
        drop(old);
        fresh
    }

    /// Takes `entry` out, and says where it stood.
    ///
    /// # Safety
    /// The entry belongs to this queue alone.
    pub(super) unsafe fn cancel(&self, entry: &Entry) -> NodeState {
        let (waker, state) = {
            let mut lists = self.lists.lock();
            // SAFETY: the entry is this queue's, whose lock we hold.
            let node = unsafe { entry.node() };
            let state = core::mem::replace(&mut node.state, NodeState::Idle);
            let (waker, exclusive) = (node.waker.take(), node.exclusive);
            if state == NodeState::Queued {
                // SAFETY: queued means in this list; the node is not used after this.
                unsafe { lists.list(exclusive).remove(NonNull::from(entry)) };
                self.note(&lists);
            }
            (waker, state)
        };
        drop(waker);
        state
    }

    /// Gives a wake-up that its receiver no longer wants to the next one.
    fn hand_on(&self) {
        self.wake_round(false, 1);
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue")
            .field("empty", &self.is_empty())
            .finish()
    }
}

/// Waits for one wake-up; made by [`WaitQueue::wait`].
#[must_use = "futures do nothing unless polled"]
pub struct Wait<'a> {
    queue: &'a WaitQueue,
    entry: Entry,
    queued: bool,
    /// Whether to order the join before the look at what is waited for.
    fenced: bool,
}

impl Wait<'_> {
    /// Ends the wait without handing on what was granted.
    fn settle(self: Pin<&mut Self>) {
        // SAFETY: nothing is moved out of the pinned value.
        let this = unsafe { self.get_unchecked_mut() };
        if core::mem::take(&mut this.queued) && !this.entry.is_granted() {
            // SAFETY: the entry belongs to this queue.
            unsafe { this.queue.cancel(&this.entry) };
        }
    }

    /// Joins the queue, or notes the new waker. True if it was not in it.
    fn join(self: Pin<&mut Self>, waker: &Waker) -> bool {
        // SAFETY: nothing is moved out of the pinned value.
        let this = unsafe { self.get_unchecked_mut() };
        this.queued = true;
        // SAFETY: the entry is pinned with this future, whose drop takes it out.
        unsafe {
            if this.fenced {
                this.queue.enqueue(&this.entry, waker, true, false)
            } else {
                this.queue.enqueue_unfenced(&this.entry, waker, true, false)
            }
        }
    }
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.queued && self.entry.is_granted() {
            self.as_mut().settle();
            return Poll::Ready(());
        }
        let rejoined = self.queued;
        if self.as_mut().join(cx.waker()) && rejoined {
            // Granted between the look and the join.
            self.as_mut().settle();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.queued {
            return;
        }
        // SAFETY: the entry belongs to this queue.
        let state = unsafe { self.queue.cancel(&self.entry) };
        if state == NodeState::Granted && !mutant!(KeepGrantedWake) {
            self.queue.hand_on();
        }
    }
}

/// Waits for a condition; made by [`WaitQueue::wait_until`].
#[must_use = "futures do nothing unless polled"]
pub struct WaitUntil<'a, F> {
    wait: Wait<'a>,
    condition: F,
}

impl<T, F: FnMut() -> Option<T>> Future for WaitUntil<'_, F> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // SAFETY: `wait` is pinned with the whole; `condition` is never pinned.
        let (mut wait, condition) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.wait), &mut this.condition)
        };
        if let Some(value) = condition() {
            wait.settle();
            return Poll::Ready(value);
        }
        // While it was queued no wake-up came, so the look above saw all there is; else look again, now that it is.
        if wait.as_mut().join(cx.waker())
            && let Some(value) = condition()
        {
            wait.settle();
            return Poll::Ready(value);
        }
        Poll::Pending
    }
}
