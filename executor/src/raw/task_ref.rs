//! A counted reference to a task, whatever its future.

use core::{
    fmt, mem,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    CpuShared,
    cell::ReadOutput,
    header::{self, Header, WANT_NOTHING, WANT_REFRESH},
    state::{COMPLETE, LOOKS_FOR_SOLE, PINNED, ROAMS, RUNNING, SCHEDULED, State},
    waker,
};
use crate::{
    cpu,
    facade::{fence, mutant, traced},
    time::Instant,
};

/// A task, shared: to wake it, to abort it, to ask how it does.
pub struct TaskRef(NonNull<Header>);

// SAFETY: what a reference reaches of the header is atomic, locked, or fixed at the start; the future is touched by its
// polling loop only, and the output only by the holder of the join claim, who checked that it may cross threads.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// Takes over a reference.
    ///
    /// # Safety
    /// The caller owns a reference to a live task and gives it up.
    pub(super) unsafe fn from_raw(task: NonNull<Header>) -> Self {
        Self(task)
    }

    /// The task being polled on this CPU.
    #[inline]
    pub(crate) fn current() -> Option<Self> {
        let _stay = cpu::preempt_disable();
        let task = NonNull::new(cpu::current().cast_mut())?;
        // SAFETY: the current task runs, so it lives, and its own reference allows another.
        unsafe { task.as_ref() }.state.ref_inc();
        Some(Self(task))
    }

    /// The task that `waker` wakes, if it is a task of this crate.
    pub fn of_waker(waker: &Waker) -> Option<Self> {
        let task = waker::task_of(waker)?;
        // SAFETY: the waker holds a reference, so another may be taken.
        unsafe { task.as_ref() }.state.ref_inc();
        Some(Self(task))
    }

    #[inline(always)]
    pub(super) fn header(&self) -> &Header {
        // SAFETY: this reference keeps the header.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    pub(super) fn as_raw(&self) -> NonNull<Header> {
        self.0
    }

    /// Wakes the task: it is polled once more, soon.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn wake(&self) {
        // SAFETY: this reference lasts for the call.
        unsafe { header::wake(self.0) };
    }

    /// A waker for the task.
    pub fn waker(&self) -> Waker {
        // SAFETY: this reference lasts while the borrowed waker is cloned.
        let borrowed = unsafe { waker::borrowed(self.0) };
        Waker::clone(&borrowed)
    }

    /// Asks for the task's future to be dropped, which its own loop does (rule 20).
    ///
    /// A poll under way goes on to its end. Joining tells when the future is gone.
    ///
    /// # Context
    /// Any.
    pub fn abort(&self) {
        let header = self.header();
        if header.state.abort() {
            header.home().push_woken(self.0);
        }
    }

    /// Whether the future is gone.
    pub fn is_finished(&self) -> bool {
        self.header().state.load().has(COMPLETE)
    }

    /// Whether it runs, or could: it was woken, or is suspended in the middle of a poll.
    pub fn is_runnable(&self) -> bool {
        let state = self.header().state.load();
        state.has(SCHEDULED | RUNNING) && !state.has(COMPLETE)
    }

    /// The name given when it was spawned.
    pub fn name(&self) -> &'static str {
        self.header().name()
    }

    /// The CPU whose executor polls the task.
    pub fn cpu(&self) -> u32 {
        self.header().home().cpu()
    }

    /// A number that no other live task has.
    pub fn id(&self) -> usize {
        self.0.addr().get()
    }

    /// The spawner's word for whose task this is.
    #[inline]
    pub fn tag(&self) -> *mut () {
        self.header().tag.load(Ordering::Acquire)
    }

    /// Sets the word that [`TaskRef::tag`] gives.
    pub fn set_tag(&self, tag: *mut ()) {
        self.header().tag.store(tag, Ordering::Release);
    }

    /// How often the task was polled.
    pub fn polls(&self) -> u64 {
        self.header().polls.load(Ordering::Relaxed)
    }

    /// How long the task ran, the poll under way included; zero if its policy asks for no times
    /// ([`Policy::TIMED`](crate::Policy::TIMED)).
    ///
    /// Asked of another CPU's task at the very end of a poll it may miss that poll, and be less than it was.
    pub fn run_time(&self) -> Duration {
        let header = self.header();
        let ended = || header.run_ns.load(Ordering::Acquire);
        let mut before = ended();
        loop {
            let since = header.home().polled_since(self.id());
            let under_way = since.map_or(0, |since| Instant::now().ns_since(since));
            // A poll that ended meanwhile must not count twice.
            match ended() {
                after if after == before => return Duration::from_nanos(after + under_way),
                after => before = after,
            }
        }
    }

    /// Whether the task stays on its CPU whatever is asked: its future is not `Send`.
    pub fn is_pinned(&self) -> bool {
        self.header().state.load().has(PINNED)
    }

    /// Whether the task may be woken on any CPU.
    pub(crate) fn roams(&self) -> bool {
        self.header().state.load().has(ROAMS)
    }

    /// Asks the task's CPU to hand it to CPU `cpu`, unless it is [pinned](TaskRef::is_pinned).
    ///
    /// It is a message to the owner (rule 4): a task in its run queue goes at once, one in a poll after it.
    ///
    /// # Context
    /// Any.
    pub fn migrate(&self, cpu: u32) {
        self.set_wanted_cpu(cpu);
        self.notify_owner();
    }

    /// Lets the task go to CPU `cpu` when it is woken next.
    pub(crate) fn set_wanted_cpu(&self, cpu: u32) {
        // Not a store: the models do not order one against the steps of `take_wanted` and `want_refresh`.
        self.header().want.swap(cpu, Ordering::AcqRel);
    }

    /// Asks for the policy's data to be brought up to date when the task is queued next.
    pub(crate) fn want_refresh(&self) {
        // A move that was asked for does it as well.
        let _ = self.header().want.compare_exchange(
            WANT_NOTHING,
            WANT_REFRESH,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// Asks the task's CPU to look at the task again: [`Policy::update`](crate::Policy::update) is called there if it is
    /// being polled, and otherwise [`Policy::refresh`](crate::Policy::refresh) when it is queued next.
    ///
    /// # Context
    /// Any.
    pub fn notify_owner(&self) {
        let header = self.header();
        // Pairs with the fence where a waker changes the home: see `placement`.
        fence(Ordering::SeqCst);
        if header.state.message() {
            header.state.ref_inc();
            header.home().push_message(self.0);
            // The asker itself may be who is to make way (rule 8).
            cpu::preempt_point();
        }
    }

    /// A message about the task was read on CPU `here`, which does not have it, after [`TaskRef::want_refresh`]: sends it on if
    /// the task has been placed elsewhere meanwhile.
    pub(crate) fn follow(&self, here: &CpuShared) {
        // Pairs with the fence in `placement`: either the new home is seen here, or what is wanted is seen there.
        fence(Ordering::SeqCst);
        if !ptr::eq(self.header().home(), here) {
            self.notify_owner();
        }
    }

    /// Registers `cx` for the end, or takes the output.
    ///
    /// # Safety
    /// The caller holds the task's join claim, and `read` is for its future's type.
    pub(crate) unsafe fn poll_join<T>(
        &self,
        read: ReadOutput<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<T>> {
        let early = mutant!(JoinLooksFirst).then(|| self.is_finished());
        let old = {
            let mut join = self.header().join.lock();
            if early.unwrap_or_else(|| self.is_finished()) {
                mem::take(&mut *join)
            } else {
                match &*join {
                    Some(w) if w.will_wake(cx.waker()) => {}
                    _ => drop(join.replace(cx.waker().clone())),
                }
                return Poll::Pending;
            }
        };
        drop(old);
        // SAFETY: the task is complete; the rest is the caller's promise.
        Poll::Ready(unsafe { read(self.0) })
    }

    /// Gives the join claim up, and the reference. `registered` is whether [`TaskRef::poll_join`] ever left a waker.
    ///
    /// # Safety
    /// The caller holds the claim and does not use it again.
    #[inline]
    pub(crate) unsafe fn unjoin(self, registered: bool) {
        let state = &self.header().state;
        if !registered && (self.is_at_home(State::unjoin_at_home) || state.unjoin_early()) {
            // Given up with the claim.
            mem::forget(self);
            return;
        }
        // SAFETY: the contract is the same.
        unsafe { self.unjoin_late() };
    }

    /// Whether this is the CPU that polls the task, and `then` is true of its state there. Where tasks that nobody else refers
    /// to are not looked for, nothing is.
    #[inline(always)]
    fn is_at_home(&self, then: impl FnOnce(&State) -> bool) -> bool {
        if !LOOKS_FOR_SOLE || mutant!(NeverSole) {
            return false;
        }
        let header = self.header();
        // Only its own CPU sends a task elsewhere that nobody wakes, and not in the midst of this.
        let _stay = cpu::preempt_disable();
        cpu::shared().is_some_and(|here| ptr::eq(here, header.home())) && then(&header.state)
    }

    /// As [`TaskRef::unjoin`], whatever the state.
    ///
    /// # Safety
    /// As there.
    unsafe fn unjoin_late(self) {
        let header = self.header();
        let waker = mem::take(&mut *header.join.lock());
        drop(waker);
        if header.state.unjoin() {
            // SAFETY: complete, and the output was ours with the claim.
            unsafe { (header.vtable.drop_output)(self.0) };
        }
    }

    /// Drops a reference that is probably the last.
    #[inline]
    pub(crate) fn drop_last(self) {
        let task = mem::ManuallyDrop::new(self).0;
        // SAFETY: the reference is ours and not used again.
        unsafe { header::release_last(task) };
    }

    /// Queues a new task for the first time.
    pub(crate) fn launch(&self) {
        traced!(Spawned, self.0);
        self.header().home().push_woken(self.0);
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        self.header().state.ref_inc();
        Self(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and not used again.
        unsafe { header::release(self.0) };
    }
}

impl PartialEq for TaskRef {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for TaskRef {}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.name())
            .field("id", &format_args!("{:#x}", self.id()))
            .finish()
    }
}
