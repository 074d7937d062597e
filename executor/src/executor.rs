//! The loop of a CPU: take in what was woken, let the policy pick, poll, tell the policy.
//!
//! Here is the loop of a machine whose polls run to their next await; [`crate::suspend`] has the one whose polls may be left
//! in their midst.

use alloc::boxed::Box;
use core::{fmt, ptr};

use crate::{
    cpu::{self, CpuOwned},
    policy::{Outcome, Policy},
    raw::{
        CpuShared, EntityOps, Header, LevelKind, Place, Poll, Polled, Runnable, Running, TaskRef,
        drain_messages,
    },
    rcu,
    suspend::Stacks,
    time::Instant,
};

/// What the kernel does around polls: address space, registers, accounts.
///
/// Called with preemption off.
pub trait Hooks {
    /// `task` is about to be polled.
    fn poll_start(&self, task: &TaskTag) {
        let _ = task;
    }

    /// `task` was polled and may from now on be polled elsewhere.
    fn poll_end(&self, task: &TaskTag) {
        let _ = task;
    }
}

/// The spawner's word for the task that a hook is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskTag(pub *mut ());

/// No hooks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}

/// One CPU's executor. It lives as long as the machine.
pub struct Executor<P: Policy> {
    pub(crate) shared: &'static CpuShared,
    pub(crate) own: CpuOwned<Own<P>>,
}

/// What only the owner CPU touches.
pub(crate) struct Own<P: Policy> {
    pub(crate) policy: P,
    pub(crate) current: Option<Running<P>>,
    /// The task of the level below, whose poll this level's polls interrupt; null on the lowest.
    outer: *const Header,
    /// The word of rule 7 around this level's polls, with the guard under which this is used.
    word: u32,
    /// What is in suspense while stacks are switched.
    pub(crate) stacks: Stacks<P>,
}

/// What a turn begins with.
pub(crate) enum Turn {
    /// A poll.
    Poll(Started),
    /// The rest of a poll that was suspended: leave this stack for that place.
    Resume(Place),
    /// Nothing is to be done.
    Idle,
}

/// A poll about to happen: [`Started::poll`] it, on whatever stack, and give the result to [`Executor::finish`].
#[must_use = "a task that is not polled is lost"]
pub struct Started(pub(crate) Poll);

impl Started {
    /// Polls the task.
    #[inline]
    pub fn poll(self) -> Ended {
        Ended(self.0.run())
    }
}

/// A poll that has ended, for [`Executor::finish`].
#[must_use = "the executor must learn of a poll's end"]
pub struct Ended(Polled);

impl<P: Policy> Executor<P> {
    /// Makes the executor of the CPU that this runs on, which must not have one yet.
    ///
    /// # Context
    /// Boot of that CPU: the shared part is allocated once and stays for ever.
    pub fn new(policy: P) -> Self {
        let executor = Self::of_level(LevelKind::Task, policy);
        cpu::set_shared(executor.shared);
        executor
    }

    /// Makes this CPU's executor of a level.
    pub(crate) fn of_level(kind: LevelKind, policy: P) -> Self {
        let _stay = cpu::preempt_disable();
        let shared: &'static CpuShared = Box::leak(Box::new(CpuShared::new(
            cpu::id(),
            kind,
            EntityOps::of::<P>(),
        )));
        shared.publish();
        let own = Own {
            policy,
            current: None,
            outer: ptr::null(),
            word: kind.word() + 1,
            stacks: Stacks::default(),
        };
        Self {
            shared,
            own: CpuOwned::new(own),
        }
    }

    /// The part that other CPUs may touch.
    pub fn shared(&self) -> &'static CpuShared {
        self.shared
    }

    /// Polls tasks until there are none that could run.
    ///
    /// # Context
    /// The executor's CPU, outside any poll, preemption on.
    #[inline]
    pub fn run_until_idle(&self, hooks: &impl Hooks) {
        self.run_while(hooks, || true);
    }

    /// Polls tasks until there are none that could run, or `go_on`, asked after each poll, says no. False if there was none at
    /// first.
    ///
    /// # Context
    /// As [`Executor::run_until_idle`].
    #[inline]
    pub fn run_while(&self, hooks: &impl Hooks, mut go_on: impl FnMut() -> bool) -> bool {
        let mut next = self.begin(hooks);
        let found = next.is_some();
        while let Some(started) = next {
            let ended = started.poll();
            if !go_on() {
                self.finish(ended, hooks);
                break;
            }
            next = self.finish_and_begin(ended, hooks);
        }
        self.shared.free_dead();
        found
    }

    /// Does one turn: takes in what was woken and polls one task. False if there was none.
    ///
    /// # Context
    /// As [`Executor::run_until_idle`].
    #[inline]
    pub fn run_once(&self, hooks: &impl Hooks) -> bool {
        let started = self.begin(hooks);
        let found = started.is_some();
        if let Some(started) = started {
            self.finish(started.poll(), hooks);
        }
        self.shared.free_dead();
        found
    }

    /// Takes in what was woken and begins the poll of the task that the policy picks.
    #[inline]
    pub fn begin(&self, hooks: &impl Hooks) -> Option<Started> {
        self.own
            .with(|own| own.begin(self.shared, now::<P>(), hooks))
            .unsuspended()
    }

    /// Ends a poll: on the CPU where it ended, which is the one that began it unless its stack has moved.
    #[inline]
    pub fn finish(&self, ended: Ended, hooks: &impl Hooks) {
        let done = self
            .own
            .with(|own| own.finish(self.shared, ended, now::<P>(), hooks));
        complete(done);
    }

    /// As [`Executor::finish`] and then [`Executor::begin`], with one look at the clock.
    #[inline]
    pub fn finish_and_begin(&self, ended: Ended, hooks: &impl Hooks) -> Option<Started> {
        let (done, started) = self.own.with(|own| {
            let now = now::<P>();
            let done = own.finish(self.shared, ended, now, hooks);
            // A finished task is seen to first, with preemption on; then there is time for a turn.
            let turn = if done.is_none() {
                own.begin(self.shared, now, hooks)
            } else {
                Turn::Idle
            };
            (done, turn.unsuspended())
        });
        self.shared.free_dead();
        if done.is_some() {
            complete(done);
            return self.begin(hooks);
        }
        started
    }

    /// Whether the current task should come back to the loop: takes in what was woken and asks the policy.
    ///
    /// The way out of an interrupt, and a loop that runs a user program, ask it when `need_resched` is set.
    ///
    /// # Context
    /// The executor's CPU, any place where the word of rule 7 is zero or only holds preemption off.
    pub fn should_resched(&self) -> bool {
        self.own.with(|own| {
            cpu::clear_need_resched();
            let now = now::<P>();
            let asked = own.take_in(self.shared, now);
            let resched = match &mut own.current {
                Some(current) => {
                    let started = self.shared.started();
                    own.policy.should_resched(current, started, now) || asked || current.is_wanted()
                }
                None => true,
            };
            if resched {
                cpu::set_need_resched();
            }
            resched
        })
    }

    /// Whether others may wait for the task that is being polled. It may say so for a task that has gone elsewhere.
    ///
    /// # Context
    /// Task, on the executor's CPU.
    #[inline(always)]
    pub fn others_wait(&self) -> bool {
        self.shared.has_waiting()
    }

    /// Whether a turn would find something to do.
    pub fn has_work(&self) -> bool {
        self.own.with(|own| !own.policy.is_empty()) || self.shared.has_woken()
    }

    /// Marks the CPU idle, so that whoever wakes a task for it sends an interrupt. False, and not marked, if there is
    /// work; then go on with the loop.
    ///
    /// Call it with interrupts masked, and if it is true halt in the same masked section (`sti; hlt`): rule 6.
    #[must_use]
    pub fn prepare_idle(&self) -> bool {
        self.own.with(|own| own.policy.is_empty()) && self.shared.set_idle()
    }

    /// Notes that the CPU is awake again after [`Executor::prepare_idle`] was true.
    ///
    /// # Context
    /// The executor's CPU.
    pub fn end_idle(&self) {
        self.shared.end_idle();
    }

    /// Takes this CPU out of service: nobody finds the executor any more, and what is woken for it is
    /// [sent on](Executor::send_on). False, and nothing has changed, if there is something to do still.
    ///
    /// The policy must have given up its tasks before, but for those that are pinned, which run to their next wait first.
    ///
    /// # Context
    /// The executor's CPU, which is not the machine's first, outside any poll, with interrupts masked.
    #[must_use]
    pub fn go_away(&self) -> bool {
        self.own.with(|own| own.policy.is_empty()) && self.shared.go_away()
    }

    /// Puts this CPU into service again.
    ///
    /// # Context
    /// As [`Executor::go_away`]. The CPU then goes on with its loop.
    pub fn come_back(&self) {
        self.shared.come_back();
    }

    /// Sends on what this CPU itself has woken here since it is away.
    ///
    /// # Context
    /// Any.
    pub fn send_on(&self) {
        self.shared.send_on();
    }

    /// Takes in what was woken, and begins nothing.
    pub(crate) fn take_in(&self) {
        self.own.with(|own| {
            self.shared.set_looking();
            own.take_in(self.shared, now::<P>());
        });
    }

    /// Calls `f` with the policy.
    ///
    /// # Context
    /// The executor's CPU; `f` runs with preemption off.
    pub fn with_policy<R>(&self, f: impl FnOnce(&mut P) -> R) -> R {
        self.own.with(|own| f(&mut own.policy))
    }
}

impl<P: Policy> Drop for Executor<P> {
    /// Ends the tasks that were still to be taken in; the policy's own go with it.
    fn drop(&mut self) {
        Runnable::<P>::drain(self.shared, drop);
        drain_messages(self.shared, drop);
        self.shared.free_dead();
        self.shared.retract();
        self.shared.close_blocks();
    }
}

impl Turn {
    /// The poll that begins, in a loop that does not suspend polls.
    #[inline(always)]
    fn unsuspended(self) -> Option<Started> {
        match self {
            Self::Poll(started) => Some(started),
            Self::Resume(_) => unreachable!("only the loop of `suspend` suspends polls"),
            Self::Idle => None,
        }
    }
}

/// The time, for a policy that wants it.
#[inline(always)]
fn now<P: Policy>() -> Instant {
    if P::TIMED {
        Instant::now()
    } else {
        Instant::ZERO
    }
}

/// Ends a finished task: wakes who joins it, and gives up the reference of its own life.
#[inline]
pub(crate) fn complete<P: Policy>(done: Option<(Running<P>, Polled)>) {
    if let Some((running, polled)) = done {
        running.complete(polled).drop_last();
    }
}

impl<P: Policy> Own<P> {
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        shared: &'static CpuShared,
        now: Instant,
        hooks: &impl Hooks,
    ) -> Turn {
        match shared.kind() {
            LevelKind::Task => {
                cpu::clear_need_resched();
                rcu::turn(shared);
            }
            LevelKind::Softirq => self.outer = cpu::current(),
        }
        shared.set_looking();
        self.take_in(shared, now);
        let Some(runnable) = self.pick(shared, now) else {
            return Turn::Idle;
        };
        self.turn_to(shared, runnable, now, hooks)
    }

    /// Takes the task that the policy would have run next.
    #[inline(always)]
    pub(crate) fn pick(&mut self, shared: &'static CpuShared, now: Instant) -> Option<Runnable<P>> {
        let picked = self.policy.pick(now)?;
        shared.note_taken();
        Some(picked)
    }

    /// Makes the picked task the current one.
    #[inline(always)]
    pub(crate) fn turn_to(
        &mut self,
        shared: &'static CpuShared,
        runnable: Runnable<P>,
        now: Instant,
        hooks: &impl Hooks,
    ) -> Turn {
        let tag = TaskTag(runnable.tag());
        let (running, turn) = if runnable.is_suspended() {
            let (running, place) = runnable.resume();
            (running, Turn::Resume(place))
        } else {
            let (running, poll) = runnable.start();
            (running, Turn::Poll(Started(poll)))
        };
        cpu::set_current(running.header());
        shared.set_polled(running.header(), now);
        self.current = Some(running);
        hooks.poll_start(&tag);
        if shared.set_busy() && shared.kind() == LevelKind::Task {
            cpu::set_need_resched();
        }
        turn
    }

    /// [`Own::begin`] as a call of its own, for where no poll has just ended.
    #[inline(never)]
    pub(crate) fn begin_apart(&mut self, shared: &'static CpuShared, hooks: &impl Hooks) -> Turn {
        self.begin(shared, now::<P>(), hooks)
    }

    /// [`Own::turn_to`] as a call of its own, for where a poll is left.
    #[inline(never)]
    pub(crate) fn turn_to_apart(
        &mut self,
        shared: &'static CpuShared,
        runnable: Runnable<P>,
        now: Instant,
        hooks: &impl Hooks,
    ) -> Turn {
        self.turn_to(shared, runnable, now, hooks)
    }

    /// The task and the proof of its last poll, if that was it.
    #[inline(always)]
    pub(crate) fn finish(
        &mut self,
        shared: &'static CpuShared,
        ended: Ended,
        now: Instant,
        hooks: &impl Hooks,
    ) -> Option<(Running<P>, Polled)> {
        // Rule 10: whoever leaves a guard behind is found here.
        #[cfg(all(debug_assertions, not(loom)))]
        crate::sync::validator::poll_ended();
        assert_eq!(
            cpu::preempt_word(),
            self.word,
            "a poll ended in another context than it began in"
        );
        shared.set_looking();
        let mut running = self.current.take().expect("a poll that ends was begun");
        cpu::set_current(self.outer);
        shared.set_polled_none();
        let started = shared.started();
        let ns = now.ns_since(started);
        running.account(ns);
        shared.note_poll(ns, || running.poll_addr());
        hooks.poll_end(&TaskTag(running.tag()));
        let polled = ended.0;
        if polled.finished {
            self.policy.put(&mut running, Outcome::Done, started, now);
            return Some((running, polled));
        }
        if running.is_woken() {
            running.mark_again();
            self.policy
                .put(&mut running, Outcome::Runnable, started, now);
            self.enqueue(shared, running.suspend_woken(polled), now);
            return None;
        }
        running.clear_kind();
        self.policy
            .put(&mut running, Outcome::Blocked, started, now);
        if let Some(runnable) = running.suspend(polled) {
            self.accept(shared, runnable, now);
        }
        None
    }

    /// Moves what was woken, and what others ask of this CPU's tasks, to the policy. True if one of them should run
    /// instead of the current task.
    #[inline(always)]
    pub(crate) fn take_in(&mut self, shared: &'static CpuShared, now: Instant) -> bool {
        shared.has_woken() && self.take_in_all(shared, now)
    }

    fn take_in_all(&mut self, shared: &'static CpuShared, now: Instant) -> bool {
        let mut resched = false;
        Runnable::drain(shared, |runnable| {
            resched |= self.accept(shared, runnable, now)
        });
        drain_messages(shared, |task| resched |= self.message(shared, &task, now));
        resched
    }

    /// [`Own::enqueue`] as a call of its own: only the end of a poll has it in line.
    fn accept(&mut self, shared: &'static CpuShared, runnable: Runnable<P>, now: Instant) -> bool {
        self.enqueue(shared, runnable, now)
    }

    /// Gives a runnable task to the policy, or to the CPU that it was asked to be on.
    #[inline(always)]
    fn enqueue(
        &mut self,
        shared: &'static CpuShared,
        mut runnable: Runnable<P>,
        now: Instant,
    ) -> bool {
        if runnable.is_wanted() {
            match self.attend(shared, runnable) {
                Some(stays) => runnable = stays,
                None => return false,
            }
        }
        let kind = runnable.take_kind();
        shared.note_queued();
        self.policy
            .enqueue(runnable, kind, self.current.as_mut(), now)
    }

    /// Does what was asked of a task since it was last queued. `None` if it has gone to another CPU.
    #[cold]
    pub(crate) fn attend(
        &mut self,
        shared: &'static CpuShared,
        mut runnable: Runnable<P>,
    ) -> Option<Runnable<P>> {
        let wanted = runnable.take_wanted();
        let target = self.policy.refresh(&mut runnable).or(wanted);
        match target {
            // Where there is no such CPU, the task stays.
            Some(cpu) if cpu != shared.cpu() => runnable.pass_to(cpu).err(),
            _ => Some(runnable),
        }
    }

    #[cold]
    fn message(&mut self, shared: &'static CpuShared, task: &TaskRef, now: Instant) -> bool {
        task.want_refresh();
        if let Some(current) = self.current.as_mut().filter(|c| c.is(task)) {
            self.policy.update(current, now);
            return true;
        }
        match self.policy.remove(task) {
            Some(runnable) => {
                shared.note_taken();
                self.accept(shared, runnable, now)
            }
            // It waits, or another CPU has just woken it: the one that queues it next will see to it.
            None => {
                task.follow(shared);
                false
            }
        }
    }
}

impl<P: Policy> fmt::Debug for Executor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("cpu", &self.shared.cpu())
            .finish_non_exhaustive()
    }
}
