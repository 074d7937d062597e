//! What other CPUs may touch of a CPU's executor: its wake queue, its messages, and whether it sleeps.

use core::{any::TypeId, ptr::NonNull, sync::atomic::Ordering};

#[cfg(target_os = "none")]
use super::latency::Event;
use super::{
    blocks::Blocks,
    header::{Header, WANT_NOTHING, WANT_REFRESH},
    latency::{Latency, PollLatency},
    queue::{Batch, MessageLink, PushStack, RunLink},
};
use crate::{
    cpu::{self, CpuOwned},
    facade::{AtomicU32, fence, mutant},
    platform,
    policy::{Policy, Urgency},
    softirq,
    time::{Instant, TimerQueue},
};

/// The CPU is in its loop and looks at the queue before it does anything else.
const LOOKING: u32 = 0;
/// The CPU polls a task or runs a user program: an interrupt makes it look.
const BUSY: u32 = 1;
/// The CPU sleeps, or is about to: an interrupt ends that.
const IDLE: u32 = 2;
/// The CPU has left: who pushes sends on what it finds (see [`away`](super::away)).
pub(super) const AWAY: u32 = 3;

/// Which of a CPU's executors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LevelKind {
    /// Tasks.
    Task = 0,
    /// Bottom halves.
    Softirq = 1,
}

impl LevelKind {
    /// What the word of rule 7 holds while the level's futures are polled.
    pub(crate) const fn word(self) -> u32 {
        match self {
            Self::Task => 0,
            Self::Softirq => cpu::SOFTIRQ,
        }
    }
}

/// How to make the entity of a task whose spawner does not know the policy.
#[derive(Clone, Copy)]
pub(crate) struct EntityOps {
    pub(super) len: u16,
    /// What the policy is asked when the task is queued first.
    pub(super) first_want: u32,
    pub(super) type_id: fn() -> TypeId,
    /// Writes the entity of a task of that urgency to the address.
    pub(super) init: unsafe fn(*mut u8, Urgency),
    /// Drops the entity at the address.
    pub(super) drop: unsafe fn(*mut u8),
}

impl EntityOps {
    /// The operations of policy `P`'s entities.
    pub(crate) const fn of<P: Policy>() -> Self {
        const {
            assert!(
                align_of::<P::Entity>() <= align_of::<Header>(),
                "an entity is aligned as the header at most"
            );
            assert!(size_of::<P::Entity>() < 4096);
        }
        Self {
            len: entity_len::<P>(),
            first_want: if P::REFRESHES {
                WANT_REFRESH
            } else {
                WANT_NOTHING
            },
            type_id: TypeId::of::<P::Entity>,
            init: init_entity::<P>,
            drop: drop_entity::<P>,
        }
    }
}

/// The room of `P`'s entity in front of a header, so that both are aligned.
pub(super) const fn entity_len<P: Policy>() -> u16 {
    size_of::<P::Entity>().next_multiple_of(align_of::<Header>()) as u16
}

impl EntityOps {
    /// Whether these are the entities of policy `P`.
    pub(super) fn is<P: Policy>(&self) -> bool {
        (self.type_id)() == TypeId::of::<P::Entity>()
    }
}

unsafe fn init_entity<P: Policy>(at: *mut u8, urgency: Urgency) {
    // SAFETY: the caller gives the aligned, unshared room of an entity.
    unsafe { at.cast::<P::Entity>().write(P::entity(urgency)) };
}

unsafe fn drop_entity<P: Policy>(at: *mut u8) {
    // SAFETY: the caller gives an entity that nobody uses any more.
    unsafe { at.cast::<P::Entity>().drop_in_place() };
}

/// A CPU as the others see it: where to push what it shall run, and whether it must be interrupted for that.
pub struct CpuShared {
    woken: PushStack<RunLink>,
    messages: PushStack<MessageLink>,
    dead: PushStack<RunLink>,
    /// Pinned tasks that were woken while the CPU is away.
    pub(super) parked: PushStack<RunLink>,
    mode: AtomicU32,
    /// The CPU is about to leave, or away. Only asked where a task may be put, so it is not the model's.
    pub(super) leaving: core::sync::atomic::AtomicBool,
    /// Tasks that the policy has, waiting to be polled. Written by the owner; others only want to know about how many.
    waiting: core::sync::atomic::AtomicU32,
    /// The number of the task being polled, zero for none. Written by the owner; others only compare it, and may as well not
    /// know, so it is not the model's.
    polled: core::sync::atomic::AtomicUsize,
    /// Since when, in ns; of no meaning while none is. Written by the owner.
    polled_since: core::sync::atomic::AtomicU64,
    /// A grace period waits for this CPU. Changed under RCU's lock; the owner looks without it. Not the model's: whoever looks
    /// too early is interrupted, and whoever sees it set looks again under the lock.
    rcu_owes: core::sync::atomic::AtomicBool,
    cpu: u32,
    kind: LevelKind,
    entity: EntityOps,
    timers: TimerQueue,
    latency: Latency,
    /// Memory for tasks (owner only).
    pub(super) blocks: CpuOwned<Blocks>,
}

impl CpuShared {
    pub(crate) fn new(cpu: u32, kind: LevelKind, entity: EntityOps) -> Self {
        Self {
            woken: PushStack::new(),
            messages: PushStack::new(),
            dead: PushStack::new(),
            parked: PushStack::new(),
            mode: AtomicU32::new(LOOKING),
            leaving: core::sync::atomic::AtomicBool::new(false),
            waiting: core::sync::atomic::AtomicU32::new(0),
            polled: core::sync::atomic::AtomicUsize::new(0),
            polled_since: core::sync::atomic::AtomicU64::new(0),
            rcu_owes: core::sync::atomic::AtomicBool::new(false),
            cpu,
            kind,
            entity,
            timers: TimerQueue::new(cpu),
            latency: Latency::default(),
            blocks: CpuOwned::new(Blocks::new()),
        }
    }

    /// How long polls and sections have taken here, and how often polls were suspended.
    pub fn latency(&self) -> PollLatency {
        self.latency.read()
    }

    /// Forgets what [`CpuShared::latency`] gives, and measures from now on if `on`. Sections are measured where the machine
    /// has their instructions tell ([`cpu::sites`]). What the CPU notes at this very moment may be lost or stay.
    pub fn begin_latency(&self, on: bool) {
        let now = platform::get().now().as_ns();
        self.latency.begin(on.then_some(now));
    }

    /// Notes for how long a task was polled without making way.
    #[inline(always)]
    pub(crate) fn note_poll(&self, ns: u64, poll: impl Fn() -> usize) {
        if ns > self.latency.longest_ns.load(Ordering::Relaxed) {
            self.note_long_poll(ns, &poll);
        }
    }

    #[cold]
    fn note_long_poll(&self, ns: u64, poll: &dyn Fn() -> usize) {
        let now = platform::get().now().as_ns();
        self.latency.poll_ends(now.saturating_sub(ns), now, poll);
    }

    /// Notes what the instruction in front of `at` does. `irqs_on` is whether interrupts are let in after it.
    ///
    /// # Context
    /// This CPU, interrupts masked.
    #[cfg(target_os = "none")]
    pub(crate) fn note(&self, event: Event, irqs_on: bool, at: u64) {
        let now = platform::get().now();
        self.latency.note(event, irqs_on, at, now.as_ns());
        if event == Event::EnterUser
            && let Some(task) = NonNull::new(cpu::current().cast_mut())
        {
            let since = self.polled_since.load(Ordering::Relaxed);
            // SAFETY: the task that is being polled here lives.
            let poll = || unsafe { task.as_ref() }.vtable.poll as usize;
            self.latency.poll_ends(since, now.as_ns(), poll);
        }
    }

    pub(crate) fn count_suspension(&self) {
        let count = &self.latency.suspensions;
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn count_refusal(&self) {
        let count = &self.latency.refusals;
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The number of the CPU.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    pub(crate) fn kind(&self) -> LevelKind {
        self.kind
    }

    /// The CPU's timers.
    pub fn timers(&self) -> &TimerQueue {
        &self.timers
    }

    pub(super) fn entity(&self) -> &EntityOps {
        &self.entity
    }

    /// Queues a task that the caller turned SCHEDULED, and makes the CPU look if it would not.
    #[inline]
    pub(super) fn push_woken(&'static self, task: NonNull<Header>) {
        // SAFETY: a scheduled task lives until its end, which only its poll brings; only the one who set the bit pushes.
        if unsafe { self.woken.push(task) } {
            self.kick();
        }
    }

    /// Queues a message about a task; the caller gives it a reference.
    pub(super) fn push_message(&'static self, task: NonNull<Header>) {
        // SAFETY: the message owns a reference, and only the one who set MESSAGE pushes.
        if unsafe { self.messages.push(task) } {
            self.kick();
        }
    }

    /// Queues a task without references to be freed by the loop.
    pub(super) fn push_dead(&self, task: NonNull<Header>) {
        // SAFETY: no reference is left: nobody else touches the task, and it is in no queue, being complete.
        unsafe { self.dead.push(task) };
    }

    /// Makes the CPU look at its queue soon.
    #[inline]
    fn kick(&'static self) {
        if self.cpu == cpu::id() {
            match self.kind {
                LevelKind::Task => cpu::set_need_resched(),
                LevelKind::Softirq => softirq::raised(),
            }
            return;
        }
        self.kick_remote();
    }

    fn kick_remote(&'static self) {
        // Pairs with the fence in `set_mode_and_look`: either that CPU sees the push, or this one sees the mode.
        if !mutant!(NoFenceAfterPush) {
            fence(Ordering::SeqCst);
        }
        match self.mode.load(Ordering::Relaxed) {
            LOOKING => {}
            BUSY => platform::get().pend(self.cpu),
            AWAY if mutant!(LeaveOnQueue) => {}
            AWAY => self.send_on(),
            _ => {
                let cleared =
                    self.mode
                        .compare_exchange(IDLE, LOOKING, Ordering::AcqRel, Ordering::Relaxed);
                if cleared.is_ok() {
                    super::placement::idle_ends(self.cpu);
                }
                if cleared != Err(LOOKING) {
                    platform::get().pend(self.cpu);
                }
            }
        }
    }

    /// Announces what the CPU is about to do. True if something was pushed before the announcement could be seen.
    #[inline]
    pub(super) fn set_mode_and_look(&self, mode: u32) -> bool {
        self.mode.store(mode, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.has_woken()
    }

    /// Whether the CPU has left.
    pub(super) fn is_away(&self) -> bool {
        self.mode.load(Ordering::Relaxed) == AWAY
    }

    /// The CPU is about to poll: pushes from elsewhere interrupt it from now on. True if one came before.
    ///
    /// A thread of the host cannot be interrupted, and looks after a task's poll anyway: it says nothing.
    #[inline]
    pub(crate) fn set_busy(&self) -> bool {
        if cfg!(any(target_os = "none", loom)) || self.kind == LevelKind::Softirq {
            self.set_mode_and_look(BUSY)
        } else {
            self.has_woken()
        }
    }

    /// The CPU is in its loop again and looks before it leaves it.
    #[inline]
    pub(crate) fn set_looking(&self) {
        self.mode.store(LOOKING, Ordering::Relaxed);
    }

    /// Marks the CPU idle. False, and not marked, if there is something to do.
    pub(crate) fn set_idle(&self) -> bool {
        if mutant!(IdleAfterLook) {
            let work = self.has_woken();
            self.mode.store(IDLE, Ordering::SeqCst);
            return !work;
        }
        if self.set_mode_and_look(IDLE) || !self.dead.is_empty() {
            self.set_looking();
            return false;
        }
        super::placement::idle_begins(self.cpu);
        true
    }

    /// Notes which task is being polled, and since when.
    #[inline(always)]
    pub(crate) fn set_polled(&self, task: *const Header, since: Instant) {
        self.polled_since.store(since.as_ns(), Ordering::Relaxed);
        self.polled.store(task.addr(), Ordering::Release);
    }

    /// When the poll under way here began, or was last resumed. Context: the owner.
    #[inline(always)]
    pub(crate) fn started(&self) -> Instant {
        Instant::from_ns(self.polled_since.load(Ordering::Relaxed))
    }

    /// Notes that no task is being polled.
    #[inline(always)]
    pub(crate) fn set_polled_none(&self) {
        self.polled.store(0, Ordering::Release);
    }

    /// Since when the task of that number is being polled here, if it is.
    pub(super) fn polled_since(&self, task: usize) -> Option<Instant> {
        let polled = self.polled.load(Ordering::Acquire) == task;
        polled.then(|| self.started())
    }

    /// Whether the task of that number is being polled here at this moment.
    pub(crate) fn polls(&self, task: usize) -> bool {
        self.polled.load(Ordering::Relaxed) == task
    }

    /// Whether the CPU sleeps, or is about to.
    pub(super) fn sleeps(&self) -> bool {
        self.mode.load(Ordering::Relaxed) == IDLE
    }

    /// The CPU was idle and is so no more.
    pub(crate) fn end_idle(&self) {
        self.set_looking();
        super::placement::idle_ends(self.cpu);
    }

    /// Notes that the policy is given a task that waits. Context: the owner.
    #[inline(always)]
    pub(crate) fn note_queued(&self) {
        // Written by the owner alone, so load and store need not be one step.
        let waiting = self.waiting.load(Ordering::Relaxed).wrapping_add(1);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Notes that the policy has given one up. Context: the owner.
    #[inline(always)]
    pub(crate) fn note_taken(&self) {
        let waiting = self.waiting.load(Ordering::Relaxed).wrapping_sub(1);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Tasks that wait in the CPU's run queue, those included that may not run for now; at about this time.
    ///
    /// # Context
    /// Any.
    #[inline(always)]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether tasks may wait here, taken in or not.
    #[inline(always)]
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting() != 0 || self.has_woken()
    }

    /// Whether tasks or messages wait to be taken in.
    #[inline(always)]
    pub(crate) fn has_woken(&self) -> bool {
        // One branch for both.
        !(self.woken.is_empty() & self.messages.is_empty())
    }

    /// Notes that a grace period waits for this CPU. True if none did.
    pub(crate) fn rcu_owe(&self) -> bool {
        !self.rcu_owes.swap(true, Ordering::Relaxed)
    }

    /// Notes that none does any more. True if one did.
    pub(crate) fn rcu_pay(&self) -> bool {
        self.rcu_owes.swap(false, Ordering::Relaxed)
    }

    /// Whether a grace period waits for this CPU.
    #[inline(always)]
    pub(crate) fn rcu_owes(&self) -> bool {
        self.rcu_owes.load(Ordering::Relaxed)
    }

    /// Makes the CPU take a turn, if a grace period waits for it.
    pub(crate) fn rcu_ask(&self) {
        if !self.rcu_owes() {
        } else if self.cpu == cpu::id() {
            cpu::set_need_resched();
        } else {
            // Even if it looks: it may have looked already, and be about to sleep.
            platform::get().pend(self.cpu);
        }
    }

    #[inline]
    pub(super) fn take_woken(&self) -> Batch<RunLink> {
        self.woken.take()
    }

    #[inline]
    pub(super) fn take_messages(&self) -> Batch<MessageLink> {
        self.messages.take()
    }

    /// Frees the tasks whose last reference was dropped where nothing may be freed.
    ///
    /// # Context
    /// Task, preemption on.
    #[inline]
    pub(crate) fn free_dead(&self) {
        if !self.dead.is_empty() {
            self.free_all_dead();
        }
    }

    #[cold]
    fn free_all_dead(&self) {
        for task in self.dead.take() {
            // SAFETY: `push_dead` gave us a task without references; its memory lives until this call.
            let dealloc = unsafe { task.as_ref() }.vtable.dealloc;
            // SAFETY: as `free` has it: complete, its output gone, and nobody else's.
            unsafe { dealloc(task) };
        }
    }
}

impl core::fmt::Debug for CpuShared {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CpuShared")
            .field("cpu", &self.cpu)
            .finish_non_exhaustive()
    }
}
