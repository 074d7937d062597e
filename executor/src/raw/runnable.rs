//! The owner CPU's tokens: a task that may be polled, and one that is.

use core::{
    fmt,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
    task::{Context, Waker},
};

use super::{
    CpuShared, cell,
    header::{self, Header, WANT_NOTHING, WANT_REFRESH},
    state::{ABORT, PINNED, Snapshot},
    task_ref::TaskRef,
    waker,
};
use crate::{
    facade::{mutant, traced},
    policy::{EnqueueKind, Policy},
};

/// Declares what both tokens give of their task: each stands for the one right to poll it, and so for its entity.
macro_rules! accessors {
    ($token:ident) => {
        impl<P: Policy> $token<P> {
            #[inline(always)]
            pub(crate) fn header(&self) -> &Header {
                // SAFETY: a task that is scheduled or runs lives.
                unsafe { self.task.as_ref() }
            }

            /// The policy's data of this task.
            #[inline(always)]
            pub fn entity(&self) -> &P::Entity {
                // SAFETY: the task belongs to an executor of `P`, and the token gives the entity to its holder.
                unsafe { cell::entity::<P>(self.task).as_ref() }
            }

            /// The policy's data of this task, to change.
            #[inline(always)]
            pub fn entity_mut(&mut self) -> &mut P::Entity {
                // SAFETY: as for `entity`.
                unsafe { cell::entity::<P>(self.task).as_mut() }
            }

            /// A reference to the task.
            pub fn task(&self) -> TaskRef {
                self.header().state.ref_inc();
                // SAFETY: the reference was just taken.
                unsafe { TaskRef::from_raw(self.task) }
            }

            /// Whether this is the token of `task`.
            pub fn is(&self, task: &TaskRef) -> bool {
                self.task == task.as_raw()
            }

            /// Whether something was asked of the task since it was last queued.
            #[inline(always)]
            pub(crate) fn is_wanted(&self) -> bool {
                self.header().want.load(Ordering::Acquire) != WANT_NOTHING
            }

            /// The spawner's word for whose task this is.
            #[inline]
            pub fn tag(&self) -> *mut () {
                self.header().tag.load(Ordering::Acquire)
            }
        }
    };
}

accessors!(Runnable);
accessors!(Running);

/// A task that waits to be polled, held by its CPU's policy.
///
/// There is one for each task that is scheduled, and none for the others; so it gives its holder the task's entity and
/// link to itself. Dropping one ends the task: its future is dropped and joiners see [`Aborted`](crate::Aborted).
pub struct Runnable<P: Policy> {
    task: NonNull<Header>,
    _policy: PhantomData<*mut P>,
}

// SAFETY: the token is the sole right to poll the task, not tied to a thread; the entity that it gives access to is `Send`,
// and so is every future that is not pinned: the poll of one that is looks at its CPU first.
unsafe impl<P: Policy> Send for Runnable<P> {}

impl<P: Policy> Runnable<P> {
    /// Makes the token for a task taken from a wake queue of an executor of policy `P`.
    ///
    /// # Safety
    /// The task is scheduled, in no queue, and no other token for it exists.
    pub(super) unsafe fn new(task: NonNull<Header>) -> Self {
        Self {
            task,
            _policy: PhantomData,
        }
    }

    /// Takes in what was woken for `shared`, oldest first; what belongs to another CPU is passed on.
    #[inline]
    pub(crate) fn drain(shared: &'static CpuShared, mut each: impl FnMut(Self)) {
        for task in shared.take_woken() {
            // SAFETY: a task in the wake queue lives.
            let home = unsafe { task.as_ref() }.home();
            if ptr::eq(home, shared) {
                // SAFETY: whoever scheduled the task pushed it, once, and we popped it.
                each(unsafe { Self::new(task) });
            } else {
                home.push_woken(task);
            }
        }
    }

    /// What tells the task from others.
    #[inline(always)]
    pub(crate) fn task_addr(&self) -> NonNull<()> {
        self.task.cast()
    }

    /// Takes note of what was asked: the CPU that the task is to be on, if it was that.
    pub(crate) fn take_wanted(&self) -> Option<u32> {
        match self.header().want.swap(WANT_NOTHING, Ordering::AcqRel) {
            WANT_NOTHING | WANT_REFRESH => None,
            cpu => Some(cpu),
        }
    }

    /// Hands a task that the policy has taken out of its queue to CPU `cpu`'s executor. Gives the token back if that has none,
    /// or the task is pinned.
    pub fn send_to(self, cpu: u32) -> Result<(), Self> {
        let home = self.header().home();
        self.pass_to(cpu)?;
        home.note_taken();
        Ok(())
    }

    /// As [`Runnable::send_to`], to the CPU that stands in for its own while that is away.
    pub(crate) fn send_on(self) -> Result<(), Self> {
        match self.header().home().heir() {
            Some(heir) => self.send_to(heir.cpu()),
            None => Err(self),
        }
    }

    /// As [`Runnable::send_to`], of a task that is not in the policy's queue.
    pub(crate) fn pass_to(self, cpu: u32) -> Result<(), Self> {
        debug_assert!(!self.is_leaving(), "published before the switch");
        if self.header().state.load().has(PINNED) {
            return Err(self);
        }
        let level = self.header().home().kind();
        let Some(target) = CpuShared::of_level(level, cpu) else {
            return Err(self);
        };
        debug_assert!(
            target.entity().is::<P>(),
            "executors of one machine share a policy"
        );
        let task = ManuallyDrop::new(self).task;
        // SAFETY: still scheduled, so it lives; the token is given up with the push.
        let header = unsafe { task.as_ref() };
        if header.requeue.load(Ordering::Relaxed) != EnqueueKind::New as u8 {
            let kind = EnqueueKind::Migrated as u8;
            header.requeue.store(kind, Ordering::Relaxed);
        }
        header
            .home
            .store(ptr::from_ref(target).cast_mut(), Ordering::Release);
        target.push_woken(task);
        Ok(())
    }

    /// Why the task enters the run queue; forgets it.
    #[inline(always)]
    pub(crate) fn take_kind(&self) -> EnqueueKind {
        let header = self.header();
        let kind = EnqueueKind::from_bits(header.requeue.load(Ordering::Relaxed));
        header
            .requeue
            .store(EnqueueKind::Wake as u8, Ordering::Relaxed);
        kind
    }

    pub(super) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).task
    }

    /// Whether the task stays on its CPU whatever is asked.
    pub fn is_pinned(&self) -> bool {
        self.header().state.load().has(PINNED)
    }

    /// Whether the task's poll is being left at this moment, on this CPU: it cannot go elsewhere yet.
    #[inline(always)]
    pub fn is_leaving(&self) -> bool {
        self.header().place.load(Ordering::Relaxed) == LEAVING
    }

    /// Whether a poll of the task is suspended: it is to be resumed, not polled.
    #[inline(always)]
    pub(crate) fn is_suspended(&self) -> bool {
        if mutant!(DropSuspended) && self.header().state.load().has(ABORT) {
            return false;
        }
        !self.header().place.load(Ordering::Relaxed).is_null()
    }

    /// Where the suspended poll goes on, taken: the task runs again.
    ///
    /// # Panics
    /// If none is suspended.
    pub(crate) fn resume(self) -> (Running<P>, Place) {
        let running = Running {
            task: ManuallyDrop::new(self).task,
            _policy: PhantomData,
        };
        let place = &running.header().place;
        let taken = NonNull::new(place.load(Ordering::Acquire)).expect("a poll is suspended");
        if !mutant!(KeepPlace) {
            place.store(ptr::null_mut(), Ordering::Relaxed);
        }
        if mutant!(SuspendedIsIdle) {
            running.header().state.start();
        }
        (running, Place(taken))
    }

    /// Takes [`Running::suspend_poll`] back, before the stack was left.
    pub(crate) fn unsuspend(self) -> Running<P> {
        debug_assert!(self.is_leaving());
        let running = Running {
            task: ManuallyDrop::new(self).task,
            _policy: PhantomData,
        };
        let place = &running.header().place;
        place.store(ptr::null_mut(), Ordering::Relaxed);
        running
    }

    /// Begins a poll. The two halves go different ways: the entity stays with the executor, the poll goes on the stack.
    #[inline]
    pub(crate) fn start(self) -> (Running<P>, Poll) {
        debug_assert!(!self.is_suspended(), "a suspended poll is not begun again");
        let task = ManuallyDrop::new(self).task;
        // SAFETY: the task is scheduled, so it lives.
        let before = unsafe { task.as_ref() }.state.start();
        (
            Running {
                task,
                _policy: PhantomData,
            },
            Poll {
                task,
                before,
                _not_send: PhantomData,
            },
        )
    }
}

impl<P: Policy> Drop for Runnable<P> {
    fn drop(&mut self) {
        if self.is_suspended() {
            // It is suspended, or about to be. Its stack holds what only its own return can give back (rule 20): all of it stays.
            return;
        }
        // SAFETY: this token is gone after this; the copy is the only one.
        let (running, mut poll) = unsafe { Self::new(self.task) }.start();
        poll.before = poll.before.with(ABORT);
        let polled = poll.run();
        running.complete(polled).drop_last();
    }
}

impl<P: Policy> fmt::Debug for Runnable<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Runnable")
            .field(&self.header().name())
            .finish()
    }
}

/// A task whose poll is under way on this CPU, or suspended; held by the executor.
pub struct Running<P: Policy> {
    task: NonNull<Header>,
    _policy: PhantomData<*mut P>,
}

impl<P: Policy> Running<P> {
    /// Asks for the task to go to CPU `cpu` when it is queued next.
    pub fn send_after(&self, cpu: u32) {
        self.header().want.store(cpu, Ordering::Release);
    }

    /// Forgets why the task would have been queued again, since it waits.
    pub(crate) fn clear_kind(&self) {
        self.header()
            .requeue
            .store(EnqueueKind::Wake as u8, Ordering::Relaxed);
    }

    /// Notes that the task was woken during its own poll, unless it said why itself.
    #[inline(always)]
    pub(crate) fn mark_again(&self) {
        let header = self.header();
        if header.requeue.load(Ordering::Relaxed) == EnqueueKind::Wake as u8 {
            header
                .requeue
                .store(EnqueueKind::Again as u8, Ordering::Relaxed);
        }
    }

    /// Whether the task was woken since its poll began, and so stays runnable after it.
    #[inline]
    pub fn is_woken(&self) -> bool {
        self.header().state.is_woken()
    }

    /// Adds a poll, of which the last `ns` nanoseconds are not yet counted, to the task's account.
    #[inline(always)]
    pub(crate) fn account(&self, ns: u64) {
        // The owner alone writes, so load and store need not be one step.
        let header = self.header();
        header
            .polls
            .store(header.polls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.account_part(ns);
    }

    /// Adds `ns` nanoseconds of a poll that is not over to the task's account.
    #[inline(always)]
    pub(crate) fn account_part(&self, ns: u64) {
        let header = self.header();
        header.run_ns.store(
            header.run_ns.load(Ordering::Relaxed) + ns,
            Ordering::Relaxed,
        );
    }

    /// Leaves the poll where it is: the task goes back to the run queue as it is, RUNNING (rule 2), and the saver gets where
    /// to go on.
    pub(crate) fn suspend_poll(self) -> (Runnable<P>, Saver) {
        self.header().place.store(LEAVING, Ordering::Relaxed);
        if mutant!(SuspendedIsIdle) {
            self.header().state.suspend();
        }
        (
            Runnable {
                task: self.task,
                _policy: PhantomData,
            },
            Saver(self.task),
        )
    }

    /// The address of the function that polls this task's type of future.
    #[inline(always)]
    pub(crate) fn poll_addr(&self) -> usize {
        self.header().vtable.poll as usize
    }

    /// Ends a poll that is to go on, of a task that [was woken](Running::is_woken) meanwhile.
    #[inline(always)]
    pub(crate) fn suspend_woken(self, polled: Polled) -> Runnable<P> {
        debug_assert!(polled.task == self.task && !polled.finished);
        self.header().state.suspend_woken();
        // SAFETY: SCHEDULED was set while RUNNING, so it is in no queue, and whoever clears RUNNING has the token.
        unsafe { Runnable::new(self.task) }
    }

    /// Ends a poll that is to go on: the task again, if it was woken meanwhile.
    #[inline(always)]
    pub(crate) fn suspend(self, polled: Polled) -> Option<Runnable<P>> {
        debug_assert!(polled.task == self.task && !polled.finished);
        // SAFETY: the task runs, so it lives; after this it may be polled elsewhere, and is touched only if it is ours.
        if unsafe { self.task.as_ref() }.state.suspend() {
            // SAFETY: SCHEDULED was set while RUNNING, so it is in no queue, and whoever clears RUNNING has the token.
            Some(unsafe { Runnable::new(self.task) })
        } else {
            None
        }
    }

    /// Ends the last poll: wakes who joins, drops an output that nobody wants. Drop the returned reference where tasks
    /// may be freed.
    pub(crate) fn complete(self, polled: Polled) -> TaskRef {
        debug_assert!(polled.task == self.task && polled.finished);
        traced!(Ended, self.task);
        let header = self.header();
        if header.state.complete() {
            let waker = header.join.lock().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        } else {
            // SAFETY: complete, and there was no join claim when it became so: the output is ours.
            unsafe { (header.vtable.drop_output)(self.task) };
        }
        // SAFETY: the reference of the task's own life, which ends here.
        unsafe { TaskRef::from_raw(self.task) }
    }
}

/// In [`Header::place`], until the machine's switch overwrites it: the poll is being left.
const LEAVING: *mut () = ptr::without_provenance_mut(1);

/// Where a suspended poll goes on: the stack pointer that the machine's switch left it with.
#[must_use = "a poll that is not resumed holds its stack for ever"]
pub struct Place(NonNull<()>);

impl Place {
    /// The stack pointer.
    pub fn as_ptr(&self) -> *mut () {
        self.0.as_ptr()
    }
}

/// Takes the stack pointer of a poll that the machine leaves.
pub struct Saver(NonNull<Header>);

impl Saver {
    /// Where the machine's switch stores the stack pointer, as its last use of the stack that it leaves.
    pub fn slot(&self) -> *mut *mut () {
        // SAFETY: a task whose poll is under way lives.
        unsafe { self.0.as_ref() }.place_slot()
    }

    /// Stores what stands for a stack pointer, as the machine's switch does through [`Saver::slot`].
    #[cfg(loom)]
    pub fn store(&self, place: *mut ()) {
        // SAFETY: as in `slot`.
        let header = unsafe { self.0.as_ref() };
        // A plain store: what makes it seen is the queue by which the task goes.
        header.place.store(place, Ordering::Relaxed);
    }
}

/// The right to poll a task once. It stays on the stack that polls.
#[must_use = "a task that is not polled again is lost"]
pub struct Poll {
    task: NonNull<Header>,
    /// What the task was when its poll began.
    before: Snapshot,
    _not_send: PhantomData<*mut ()>,
}

/// The proof of a poll that has ended.
#[must_use = "the end of a poll is told to the executor"]
pub struct Polled {
    task: NonNull<Header>,
    pub(crate) finished: bool,
    _not_send: PhantomData<*mut ()>,
}

impl Poll {
    /// Polls the future, or drops it if the task was aborted.
    #[inline]
    pub(crate) fn run(self) -> Polled {
        traced!(PollBegins, self.task);
        let finished = if self.before.has(ABORT | PINNED) {
            self.run_apart()
        } else {
            self.poll()
        };
        traced!(PollEnds, self.task);
        Polled {
            task: self.task,
            finished,
            _not_send: PhantomData,
        }
    }

    #[inline(always)]
    fn poll(&self) -> bool {
        // SAFETY: the task runs, so it lives.
        let vtable = unsafe { self.task.as_ref() }.vtable;
        // SAFETY: the task lives at least until the end of this poll.
        let waker = unsafe { waker::borrowed(self.task) };
        let mut cx = Context::from_waker(&waker);
        // SAFETY: RUNNING is ours, and the vtable is this task's.
        unsafe { (vtable.poll)(self.task, &mut cx) }
    }

    /// [`Poll::run`] of a task that was aborted, or is pinned. What is not `Send` may be shared by pinned tasks of one CPU, so
    /// none of them is left in the middle of a poll.
    #[cold]
    fn run_apart(&self) -> bool {
        // SAFETY: the task runs, so it lives.
        let header = unsafe { self.task.as_ref() };
        let _whole = self.before.has(PINNED).then(|| {
            let whole = crate::cpu::preempt_disable();
            assert_eq!(
                header.home().cpu(),
                crate::cpu::id(),
                "a task that is not `Send` stays on its CPU"
            );
            whole
        });
        if self.before.has(ABORT) {
            // SAFETY: RUNNING is ours, and the vtable is this task's.
            unsafe { (header.vtable.cancel)(self.task) };
            true
        } else {
            self.poll()
        }
    }
}

/// Wakes the task being polled, whose waker this is, and says why to its policy.
#[inline]
pub(crate) fn requeue(waker: &Waker, kind: EnqueueKind) {
    let Some(task) = waker::task_of(waker) else {
        waker.wake_by_ref();
        return;
    };
    // SAFETY: the waker lasts for the call, and holds a reference or, being the poll's own, stands for the poll's.
    let header = unsafe { task.as_ref() };
    header.requeue.store(kind as u8, Ordering::Relaxed);
    if ptr::eq(crate::cpu::current(), task.as_ptr()) {
        header.state.wake_running();
    } else {
        // SAFETY: as above.
        unsafe { wake_other(task) };
    }
}

/// As [`header::wake`], for a poll that passes a waker on which is not its own.
///
/// # Safety
/// As there.
#[cold]
unsafe fn wake_other(task: NonNull<Header>) {
    // SAFETY: by the contract.
    unsafe { header::wake(task) };
}

/// Takes in the messages for `shared`, each with its reference to the task.
pub(crate) fn drain_messages(shared: &'static CpuShared, mut each: impl FnMut(TaskRef)) {
    for task in shared.take_messages() {
        // SAFETY: the message owns a reference, which passes to us.
        let task = unsafe { TaskRef::from_raw(task) };
        task.header().state.message_taken();
        let home = task.header().home();
        if ptr::eq(home, shared) {
            each(task);
        } else {
            task.notify_owner();
        }
    }
}
