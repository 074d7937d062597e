//! Mutexes of which a task takes several, in no order that is known beforehand: Linux's wait/wound mutexes.
//!
//! Who wants several begins a [`WwContext`], which is stamped with its age. Of two that want each other's mutexes the older
//! waits, and the younger is refused: it gives back all it has, waits for the one that it was refused, with
//! [`WwMutex::lock_slow`], and starts over with its old stamp. So nobody is refused for ever: in time it is the oldest. (The
//! wait-die scheme of Rosenkrantz, Stearns and Lewis: System level concurrency control, TODS 1978.)
//!
//! ```
//! use executor::sync::{WwClass, WwContext, WwError, WwMutex};
//!
//! static CLASS: WwClass = WwClass::new();
//!
//! /// Moves `n` from one account to another, whatever order others take them in.
//! async fn transfer(from: &WwMutex<u64>, to: &WwMutex<u64>, n: u64) {
//!     let context = WwContext::new(&CLASS);
//!     let (mut first, mut second) = (from, to);
//!     loop {
//!         let mut a = first.lock_slow(&context).await;
//!         match second.lock(&context).await {
//!             Ok(mut b) => {
//!                 let (from, to) = if std::ptr::eq(first, from) { (&mut a, &mut b) } else { (&mut b, &mut a) };
//!                 **from -= n;
//!                 **to += n;
//!                 return;
//!             }
//!             // All is given back, and next time the contended one comes first.
//!             Err(WwError::Deadlock) => std::mem::swap(&mut first, &mut second),
//!             Err(WwError::Already) => return,
//!         }
//!     }
//! }
//!
//! # executor::platform::host::block_on(async {
//! let (a, b) = (WwMutex::new(10), WwMutex::new(0));
//! transfer(&a, &b, 3).await;
//! assert_eq!((a.into_inner(), b.into_inner()), (7, 3));
//! # });
//! ```

use core::{
    cell::UnsafeCell,
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    pin::Pin,
    ptr::NonNull,
    sync::atomic::Ordering,
    task::{Context, Poll, Waker},
};

use super::{
    list::{Entry, List, NodeState, WakeBatch},
    spin::SpinLockIrq,
};
use crate::facade::{AtomicUsize, const_fn, mutant};

/// Where contexts get their stamps. Mutexes that are taken together are taken by contexts of one class.
#[derive(Debug)]
pub struct WwClass {
    stamps: AtomicUsize,
}

impl WwClass {
    const_fn! {
        /// A class without contexts.
        #[track_caller]
        pub fn new() -> Self {
            Self { stamps: AtomicUsize::new(1) }
        }
    }
}

impl Default for WwClass {
    fn default() -> Self {
        Self::new()
    }
}

/// One attempt to take several mutexes. It outlives their guards.
#[derive(Debug)]
pub struct WwContext {
    /// Its age: the lower the older.
    stamp: usize,
    /// How many mutexes it has.
    held: AtomicUsize,
}

impl WwContext {
    /// The youngest context of `class`.
    pub fn new(class: &WwClass) -> Self {
        Self {
            stamp: class.stamps.fetch_add(1, Ordering::Relaxed),
            held: AtomicUsize::new(0),
        }
    }

    /// How many mutexes the context holds.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// Why a mutex was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WwError {
    /// An older context has it: give back all the context holds and begin again. Linux: `EDEADLK`.
    Deadlock,
    /// The context itself has it. Linux: `EALREADY`.
    Already,
}

impl fmt::Display for WwError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadlock => "an older context holds the mutex",
            Self::Already => "the context holds the mutex",
        })
    }
}

impl core::error::Error for WwError {}

/// A mutex that is taken together with others in no fixed order.
pub struct WwMutex<T: ?Sized> {
    state: SpinLockIrq<State>,
    value: UnsafeCell<T>,
}

struct State {
    /// The holder's stamp; zero for none.
    holder: usize,
    /// Who waits, in any order; each node's `need` is its stamp, and `exclusive` says that it holds other mutexes.
    waiters: List,
}

// SAFETY: the value moves with the mutex.
unsafe impl<T: ?Sized + Send> Send for WwMutex<T> {}
// SAFETY: one holder at a time has the value.
unsafe impl<T: ?Sized + Send> Sync for WwMutex<T> {}

impl<T> WwMutex<T> {
    const_fn! {
        /// A free mutex around `value`.
        #[track_caller]
        pub fn new(value: T) -> Self {
            Self {
                state: SpinLockIrq::new(State { holder: 0, waiters: List::new() }),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, the mutex being gone.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> WwMutex<T> {
    /// Takes the mutex for `context`. A context that holds others waits for younger ones only.
    ///
    /// # Errors
    /// [`WwError`].
    /// # Cancel safety
    /// A mutex granted to a future that is dropped goes to the oldest waiter.
    pub async fn lock<'a, 'c>(
        &'a self,
        context: &'c WwContext,
    ) -> Result<WwGuard<'a, 'c, T>, WwError> {
        let take = Take {
            state: &self.state,
            entry: Entry::new(),
            context,
            queued: false,
        };
        take.await?;
        Ok(self.taken(context))
    }

    /// Takes the mutex for `context`, which holds none: it waits as long as it takes, and is not refused.
    ///
    /// # Panics
    /// If the context holds another.
    /// # Cancel safety
    /// As [`WwMutex::lock`].
    pub async fn lock_slow<'a, 'c>(&'a self, context: &'c WwContext) -> WwGuard<'a, 'c, T> {
        assert_eq!(context.held(), 0, "all is given back before the slow way");
        let taken = self.lock(context).await;
        taken.expect("who holds nothing is not refused")
    }

    /// Takes the mutex if it is free.
    pub fn try_lock<'a, 'c>(&'a self, context: &'c WwContext) -> Option<WwGuard<'a, 'c, T>> {
        let free = self.state.with(|state| {
            let free = state.holder == 0;
            if free {
                state.holder = context.stamp;
            }
            free
        });
        free.then(|| self.taken(context))
    }

    /// Whether somebody holds it, at this moment.
    pub fn is_locked(&self) -> bool {
        self.state.with(|state| state.holder != 0)
    }

    fn taken<'a, 'c>(&'a self, context: &'c WwContext) -> WwGuard<'a, 'c, T> {
        context.held.fetch_add(1, Ordering::Relaxed);
        WwGuard {
            mutex: self,
            context,
        }
    }
}

/// Gives a mutex to the oldest that waits for it, and refuses it to those who would now wait for an older one while they
/// hold others.
fn hand_on(state: &SpinLockIrq<State>) {
    let mut batch = WakeBatch::new();
    let mut handed = false;
    loop {
        let more = state.with(|state| {
            if !handed {
                handed = true;
                // SAFETY: the lock is held; entries that are listed live.
                let oldest = unsafe { state.waiters.iter() }
                    .min_by_key(|entry| unsafe { entry.as_ref().node() }.need);
                state.holder = 0;
                if let Some(entry) = oldest {
                    // SAFETY: listed, and the lock is held.
                    let node = unsafe { entry.as_ref().node() };
                    state.holder = node.need;
                    node.state = NodeState::Granted;
                    batch.push(node.waker.take());
                    // SAFETY: in this list; the node is not used after this.
                    unsafe { state.waiters.remove(entry) };
                }
            }
            refuse(state, &mut batch)
        });
        batch.wake();
        if !more {
            return;
        }
    }
}

/// Refuses the mutex to waiters that hold others and are younger than its holder. True if some are left.
fn refuse(state: &mut State, batch: &mut WakeBatch) -> bool {
    if mutant!(LetTheYoungerWait) {
        return false;
    }
    // SAFETY: the lock is held; entries are taken out after the iterator has given them.
    for entry in unsafe { state.waiters.iter() } {
        // SAFETY: listed, and the lock is held.
        let node = unsafe { entry.as_ref().node() };
        if !node.exclusive || node.need < state.holder {
            continue;
        }
        if batch.is_full() {
            return true;
        }
        node.state = NodeState::Refused;
        batch.push(node.waker.take());
        // SAFETY: in this list; the node is not used after this.
        unsafe { state.waiters.remove(entry) };
    }
    false
}

/// Waits for a mutex.
struct Take<'a> {
    state: &'a SpinLockIrq<State>,
    entry: Entry,
    context: &'a WwContext,
    queued: bool,
}

impl Take<'_> {
    /// Takes the mutex, or says why not, or joins those who wait.
    fn first(&mut self, waker: Waker) -> Poll<Result<(), WwError>> {
        let (stamp, holds) = (self.context.stamp, self.context.held() > 0);
        let (answer, unused) = self.state.with(|state| {
            if state.holder == 0 {
                state.holder = stamp;
                return (Poll::Ready(Ok(())), Some(waker));
            }
            if state.holder == stamp {
                return (Poll::Ready(Err(WwError::Already)), Some(waker));
            }
            if holds && stamp > state.holder && !mutant!(LetTheYoungerWait) {
                return (Poll::Ready(Err(WwError::Deadlock)), Some(waker));
            }
            // SAFETY: the entry is this mutex's, whose lock we hold.
            let node = unsafe { self.entry.node() };
            node.need = stamp;
            node.exclusive = holds;
            node.state = NodeState::Queued;
            node.waker = Some(waker);
            // SAFETY: in no list, pinned with the future, whose drop takes it out.
            unsafe { state.waiters.push_back(NonNull::from(&self.entry)) };
            (Poll::Pending, None)
        });
        drop(unused);
        self.queued = answer.is_pending();
        answer
    }
}

impl Future for Take<'_> {
    type Output = Result<(), WwError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: nothing is moved out of the pinned value.
        let this = unsafe { self.get_unchecked_mut() };
        let waker = cx.waker().clone();
        if !this.queued {
            return this.first(waker);
        }
        let (stands, old) = this.state.with(|_| {
            // SAFETY: the entry is this mutex's, whose lock we hold.
            let node = unsafe { this.entry.node() };
            match node.state {
                NodeState::Queued => (NodeState::Queued, node.waker.replace(waker)),
                stands => (stands, Some(waker)),
            }
        });
        drop(old);
        this.queued = stands == NodeState::Queued;
        match stands {
            NodeState::Queued => Poll::Pending,
            NodeState::Refused => Poll::Ready(Err(WwError::Deadlock)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        if !self.queued {
            return;
        }
        let (stands, waker) = self.state.with(|state| {
            // SAFETY: the entry is this mutex's, whose lock we hold.
            let node = unsafe { self.entry.node() };
            let (stands, waker) = (node.state, node.waker.take());
            if stands == NodeState::Queued {
                // SAFETY: queued means in this list; the node is not used after this.
                unsafe { state.waiters.remove(NonNull::from(&self.entry)) };
            }
            (stands, waker)
        });
        drop(waker);
        if stands == NodeState::Granted {
            hand_on(self.state);
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for WwMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WwMutex")
            .field("locked", &self.is_locked())
            .finish_non_exhaustive()
    }
}

/// The right to use what a [`WwMutex`] guards. It may cross awaits and CPUs.
#[must_use = "the mutex is given back when the guard is dropped"]
pub struct WwGuard<'a, 'c, T: ?Sized> {
    mutex: &'a WwMutex<T>,
    context: &'c WwContext,
}

// SAFETY: a shared guard gives shared access to the value only.
unsafe impl<T: ?Sized + Sync> Sync for WwGuard<'_, '_, T> {}

impl<T: ?Sized> Deref for WwGuard<'_, '_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the mutex.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for WwGuard<'_, '_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the mutex and is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for WwGuard<'_, '_, T> {
    fn drop(&mut self) {
        self.context.held.fetch_sub(1, Ordering::Relaxed);
        hand_on(&self.mutex.state);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for WwGuard<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
