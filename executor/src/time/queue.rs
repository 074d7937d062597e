//! A CPU's armed timers.
//!
//! Contexts: timers are armed and disarmed in any context and from any CPU, and expired by the timer interrupt of the
//! CPU that armed them. Lock: one `SpinLockIrq` per CPU; a timer's node is guarded by the lock of the queue that it
//! names, and names another only while it is neither armed nor being called. Wakers and callbacks run after the lock is
//! given back.

use core::{
    cell::UnsafeCell,
    fmt,
    marker::PhantomPinned,
    mem,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
    task::Waker,
};

use super::{
    Instant,
    heap::{Heap, Links},
};
use crate::{
    cpu,
    facade::{AtomicPtr, const_fn, mutant, spin_loop},
    platform,
    sync::{SpinLockIrq, SpinLockIrqGuard, WakeBatch},
};

/// What a timer does when its time has come.
pub(super) enum Action {
    /// Nothing.
    None,
    /// Wakes, once.
    Wake(Waker),
    /// Calls the function with the timer's owner and the time. It gives the next deadline.
    Call(Callback, *const ()),
}

/// A timer's callback, given its owner.
pub(super) type Callback = unsafe fn(*const (), Instant) -> Option<Instant>;

/// Where a timer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    Idle,
    Armed,
    Fired,
}

pub(super) struct Body {
    stand: Stand,
    /// The callback is under way.
    calling: bool,
    pub(super) action: Action,
}

/// A timer's place in a queue, pinned where its owner keeps it.
pub(super) struct TimerNode {
    queue: AtomicPtr<TimerQueue>,
    links: UnsafeCell<Links>,
    body: UnsafeCell<Body>,
    _pinned: PhantomPinned,
}

// SAFETY: the node is used under its queue's lock, or while it names none, by its owner alone. What a callback's pointer
// leads to is `Sync`, which the one who sets it promises.
unsafe impl Send for TimerNode {}
// SAFETY: as above.
unsafe impl Sync for TimerNode {}

impl TimerNode {
    const_fn! {
        /// A timer that is not armed.
        pub(super) fn new() -> Self {
            Self {
                queue: AtomicPtr::new(ptr::null_mut()),
                links: UnsafeCell::new(Links::new()),
                body: UnsafeCell::new(Body { stand: Stand::Idle, calling: false, action: Action::None }),
                _pinned: PhantomPinned,
            }
        }
    }

    /// The node's links.
    ///
    /// # Safety
    /// The caller holds the lock of the node's queue and no other reference to the links.
    #[allow(
        clippy::mut_from_ref,
        reason = "the queue's lock stands for the exclusive borrow"
    )]
    pub(super) unsafe fn links(&self) -> &mut Links {
        // SAFETY: by the contract nobody else uses the links.
        unsafe { &mut *self.links.get() }
    }

    /// The node's body.
    ///
    /// # Safety
    /// The caller holds the lock of the node's queue and no other reference to the body.
    #[allow(
        clippy::mut_from_ref,
        reason = "the queue's lock stands for the exclusive borrow"
    )]
    pub(super) unsafe fn body(&self) -> &mut Body {
        // SAFETY: by the contract nobody else uses the body.
        unsafe { &mut *self.body.get() }
    }

    /// Locks the queue that the node names; none if it was never armed.
    fn lock(&self) -> Option<(&'static TimerQueue, SpinLockIrqGuard<'static, Inner>)> {
        let mut queue = self.queue.load(Ordering::Acquire);
        loop {
            // SAFETY: null or a queue of an executor, which lives for ever.
            let named: &'static TimerQueue = unsafe { queue.as_ref() }?;
            let inner = named.inner.lock();
            let now = self.queue.load(Ordering::Acquire);
            if now == queue {
                return Some((named, inner));
            }
            queue = now;
        }
    }

    /// Arms the timer on this CPU, in place of what it was armed for, and says whether it was. The action replaces the
    /// one before, if there is a new one.
    ///
    /// # Safety
    /// The node is pinned, and [`TimerNode::cancel`] is called before it goes.
    pub(super) unsafe fn arm(&self, deadline: Instant, action: Option<Action>) -> bool {
        let mut old = Action::None;
        let mut was_armed = false;
        let irq = cpu::irq_save();
        let here = TimerQueue::local();
        let mut action = action;
        loop {
            let (queue, mut inner) = match self.lock() {
                Some(locked) => locked,
                None => {
                    let new = ptr::from_ref(here).cast_mut();
                    // Whoever is first names the queue; the loop then goes by what is named.
                    let _ = self.queue.compare_exchange(
                        ptr::null_mut(),
                        new,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    );
                    continue;
                }
            };
            // SAFETY: the node's queue is locked.
            let body = unsafe { self.body() };
            if body.stand == Stand::Armed {
                // SAFETY: armed means in this heap.
                unsafe { inner.heap.remove(NonNull::from(self)) };
                was_armed = true;
                body.stand = Stand::Idle;
            }
            if !ptr::eq(queue, here) && !body.calling {
                // Neither armed nor called: it may name this CPU's queue.
                self.queue
                    .store(ptr::from_ref(here).cast_mut(), Ordering::Release);
                continue;
            }
            if let Some(action) = action.take() {
                old = mem::replace(&mut body.action, action);
            }
            body.stand = Stand::Armed;
            // SAFETY: in no heap now, pinned by the contract; the queue is locked.
            let first = unsafe { inner.add(NonNull::from(self), deadline) };
            // On another CPU its callback is under way, and that CPU programs its timer after it; and so does the one
            // that is expiring timers here.
            if first && ptr::eq(queue, here) && !inner.expiring {
                platform::get().set_timer(deadline);
            }
            break;
        }
        drop(irq);
        drop(old);
        was_armed
    }

    /// Disarms the timer, and waits for a callback under way on another CPU. True if it was armed.
    ///
    /// From within its own callback it does not wait, of course.
    pub(super) fn cancel(&self) -> bool {
        let mut was_armed = false;
        loop {
            let Some((queue, mut inner)) = self.lock() else {
                return false;
            };
            // SAFETY: the node's queue is locked.
            let body = unsafe { self.body() };
            if body.stand == Stand::Armed {
                // SAFETY: armed means in this heap.
                unsafe { inner.heap.remove(NonNull::from(self)) };
                was_armed = true;
            }
            body.stand = Stand::Idle;
            if !body.calling || queue.cpu == cpu::id() || mutant!(CancelDoesNotWait) {
                let keep = matches!(body.action, Action::Call(..));
                let old = if keep {
                    Action::None
                } else {
                    mem::replace(&mut body.action, Action::None)
                };
                drop(inner);
                drop(old);
                return was_armed;
            }
            drop(inner);
            spin_loop();
        }
    }

    /// Whether the timer has fired since it was armed; if not, it wakes `waker` when it does. `None` if it is not armed.
    pub(super) fn fired(&self, waker: &Waker) -> Option<bool> {
        let (_, inner) = self.lock()?;
        // SAFETY: the node's queue is locked.
        let body = unsafe { self.body() };
        let old = match body.stand {
            Stand::Idle => return None,
            Stand::Fired => return Some(true),
            Stand::Armed => match &body.action {
                Action::Wake(w) if w.will_wake(waker) => Action::None,
                _ => mem::replace(&mut body.action, Action::Wake(waker.clone())),
            },
        };
        drop(inner);
        drop(old);
        Some(false)
    }

    /// When the timer expires, if it is armed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (_, _inner) = self.lock()?;
        // SAFETY: the node's queue is locked.
        let (body, links) = unsafe { (self.body(), self.links()) };
        (body.stand == Stand::Armed).then_some(links.key.0)
    }
}

/// The armed timers of a CPU.
pub struct TimerQueue {
    pub(super) inner: SpinLockIrq<Inner>,
    cpu: u32,
}

pub(super) struct Inner {
    pub(super) heap: Heap,
    /// Counts timers armed, so that equal deadlines keep their order.
    armed: u64,
    /// Timers are being expired: the next one is asked for at the end.
    expiring: bool,
}

impl Inner {
    /// # Safety
    /// As [`Heap::insert`].
    unsafe fn add(&mut self, node: NonNull<TimerNode>, deadline: Instant) -> bool {
        self.armed += 1;
        // SAFETY: by the contract.
        unsafe { self.heap.insert(node, (deadline, self.armed)) }
    }
}

impl TimerQueue {
    pub(crate) fn new(cpu: u32) -> Self {
        Self {
            inner: SpinLockIrq::new(Inner {
                heap: Heap::new(),
                armed: 0,
                expiring: false,
            }),
            cpu,
        }
    }

    /// The queue of this CPU.
    fn local() -> &'static Self {
        cpu::shared()
            .expect("timers are armed on CPUs that have an executor")
            .timers()
    }

    /// When the next timer expires.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.inner.lock().heap.first_deadline()
    }

    /// Expires the timers up to `now`.
    fn expire(&self, now: Instant) {
        let mut batch = WakeBatch::new();
        let mut inner = self.inner.lock();
        inner.expiring = true;
        while let Some(node) = inner.heap.first() {
            // SAFETY: armed timers live, and their queue is locked.
            let timer = unsafe { node.as_ref() };
            // SAFETY: as above.
            if unsafe { timer.links() }.key.0 > now {
                break;
            }
            // SAFETY: it is the first of this heap.
            unsafe { inner.heap.remove(node) };
            // SAFETY: the queue is locked.
            let body = unsafe { timer.body() };
            body.stand = Stand::Fired;
            match &body.action {
                Action::None => {}
                Action::Wake(_) => {
                    let Action::Wake(waker) = mem::replace(&mut body.action, Action::None) else {
                        continue;
                    };
                    batch.push(Some(waker));
                    if batch.is_full() {
                        drop(inner);
                        batch.wake();
                        inner = self.inner.lock();
                    }
                }
                &Action::Call(call, owner) => {
                    body.calling = true;
                    drop(inner);
                    // SAFETY: the owner outlives its timer, whose `cancel` waits while `calling` is set.
                    let next = unsafe { call(owner, now) };
                    inner = self.inner.lock();
                    // SAFETY: `calling` kept the timer alive and in this queue, which is locked again.
                    let body = unsafe { timer.body() };
                    body.calling = false;
                    if let (Stand::Fired, Some(deadline)) = (body.stand, next) {
                        body.stand = Stand::Armed;
                        // SAFETY: fired, so in no heap; pinned as before.
                        unsafe { inner.add(node, deadline) };
                    }
                }
            }
        }
        inner.expiring = false;
        platform::get().set_timer(inner.heap.first_deadline().unwrap_or(Instant::MAX));
        drop(inner);
        batch.wake();
    }
}

impl TimerQueue {
    /// Moves up to `most` of this queue's timers to `heir`, which then goes by `heir`'s CPU. False if none are left here.
    fn move_some(&self, heir: &'static TimerQueue, most: usize) -> bool {
        let mut to = heir.inner.lock();
        // The other way round at the same time, neither waits for the other.
        let Some(mut from) = self.inner.try_lock() else {
            return true;
        };
        for _ in 0..most {
            let Some(node) = from.heap.first() else {
                return false;
            };
            // SAFETY: armed timers live, and their queue is locked.
            let timer = unsafe { node.as_ref() };
            // SAFETY: as above.
            let deadline = unsafe { timer.links() }.key.0;
            // SAFETY: it is the first of this heap.
            unsafe { from.heap.remove(node) };
            timer
                .queue
                .store(ptr::from_ref(heir).cast_mut(), Ordering::Release);
            // SAFETY: in no heap now, pinned by who armed it; both queues are locked, and it names this one.
            let first = unsafe { to.add(node, deadline) };
            if first && !to.expiring {
                platform::get().set_timer(deadline);
            }
        }
        true
    }
}

impl fmt::Debug for TimerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerQueue")
            .field("cpu", &self.cpu)
            .finish_non_exhaustive()
    }
}

/// Asks the platform once more for the interrupt of this CPU's next timer, as after a change of the device that makes it.
///
/// # Context
/// Any, interrupts off.
pub fn set_timer_again() {
    if let Some(shared) = cpu::shared() {
        let inner = shared.timers().inner.lock();
        // Who is expiring timers asks at the end.
        if !inner.expiring {
            platform::get().set_timer(inner.heap.first_deadline().unwrap_or(Instant::MAX));
        }
    }
}

/// Takes over the timers of `queue`, whose CPU has left: nobody arms or expires any there.
///
/// # Context
/// Task.
pub fn adopt(queue: &TimerQueue) {
    /// Timers that are moved with interrupts masked.
    const BATCH: usize = 32;
    while {
        let _masked = cpu::irq_save();
        queue.move_some(TimerQueue::local(), BATCH)
    } {}
}

/// Expires this CPU's timers up to `now`, and asks the platform for the next interrupt.
///
/// # Context
/// The timer interrupt of the CPU; on the host, its loop.
pub fn run_expired(now: Instant) {
    if let Some(shared) = cpu::shared() {
        shared.timers().expire(now);
    }
}
