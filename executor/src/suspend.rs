//! Preempted polls keep their stack.
//!
//! Purpose: a poll that is under way can be left in its midst, for another task, and gone on with later, on this CPU or
//! another. What is left is the whole stack with the executor's loop at its bottom; the CPU's loop goes on elsewhere: on
//! the stack of another suspended poll, which is the common case, or on a fresh one. When the poll returns at last, it
//! returns into the loop that polled it, which is from then on the loop of whatever CPU that is.
//!
//! So the loop, [`run`], and its callees hold no reference to "their" CPU's executor across anything that may be
//! left: they ask the machine for it, with preemption off, each time anew (rule 10).
//!
//! Contexts: [`suspend`] is called in a poll, with interrupts masked and nothing counted in the word of rule 7: on the way
//! out of an interrupt, or by a plain call where a guard was dropped (rule 8). From its first line to the arrival on the
//! other stack preemption is held off. The count is the CPU's, not the task's: who leaves raises it, who arrives lowers it.
//!
//! A task that is left goes to the run queue before the switch, so that the policy weighs it against the others. That queue
//! is this CPU's own, and nothing else looks at it before the arrival; but the policy must not send the task elsewhere until
//! then ([`Runnable::is_leaving`]). What is to go to another CPU goes after the switch, since that one might be quicker
//! (rule 9); and the stack of a loop that makes way for good is given back by the side that was resumed (rule 11).

use core::ptr::NonNull;

use crate::{
    cpu::{self, PreemptGuard},
    executor::{Ended, Executor, Hooks, Own, Started, TaskTag, Turn, complete},
    facade::mutant,
    policy::{EnqueueKind, Outcome, Policy},
    raw::{CpuShared, Place, Runnable, Running, Saver},
    rcu,
    time::Instant,
};

/// A stack with a loop at its bottom: what the machine knows it by.
#[derive(Debug, PartialEq, Eq)]
pub struct Stack(pub NonNull<()>);

/// Where a switch goes.
pub enum To {
    /// To a poll that was suspended, in the midst of its own [`suspend`].
    Place(Place),
    /// To the fresh stack that the machine knows by this, whose first function is to call [`run`].
    Fresh(NonNull<()>),
}

/// A machine whose CPUs can leave a stack for another.
///
/// All functions are called with preemption off and interrupts masked, save [`Machine::executor`], where they may be on.
///
/// # Safety
/// `executor` gives the executor of the CPU that it is called on, for each CPU always the same. `switch` stores the stack
/// pointer through `from` before it uses another stack, comes back when that place is switched to, with the callee-saved
/// registers as they were, and only then; so `leave`, which stores nothing and never comes back. Stacks that are given
/// back are not in use.
#[expect(unsafe_code, reason = "what runs on a stack trusts the machine")]
pub unsafe trait Machine<P: Policy>: Hooks {
    /// This CPU's executor.
    fn executor(&self) -> &'static Executor<P>;

    /// A stack for a loop, or none where what is left is kept back: for what is `urgent`, or altogether.
    fn take_stack(&self, urgent: bool) -> Option<Stack>;

    /// Takes back a stack that nothing stands on.
    fn give_stack(&self, stack: Stack);

    /// Leaves this stack for another one until somebody switches back.
    fn switch(&self, from: &Saver, to: To);

    /// Leaves this stack for good.
    fn leave(&self, to: Place) -> !;
}

/// What a CPU's executor keeps about stacks.
pub(crate) struct Stacks<P: Policy> {
    /// The stack that the loop stands on, and the current poll with it; none if the machine keeps that stack.
    current: Option<Stack>,
    /// The stack that was left for good, to be given back on arrival.
    freed: Option<Stack>,
    /// The task that was left and that something is asked of: it is queued on arrival, here or elsewhere.
    left: Option<Runnable<P>>,
    /// The poll that a fresh stack begins with.
    first: Option<Started>,
}

impl<P: Policy> Default for Stacks<P> {
    fn default() -> Self {
        Self {
            current: None,
            freed: None,
            left: None,
            first: None,
        }
    }
}

/// Says that this loop stands on `stack`, which is to be given back when the loop makes way.
///
/// # Context
/// The CPU's loop, before its first poll.
pub fn adopt_stack<P: Policy>(machine: &impl Machine<P>, stack: Stack) {
    let stay = cpu::preempt_disable();
    let executor = machine.executor();
    executor
        .own
        .with_held(&stay, |own| own.stacks.current = Some(stack));
}

/// The loop of a stack: arrives there, goes on with the poll that the stack was taken for, if any, and polls for ever what
/// can run on whatever CPU this is at the moment.
///
/// `unmask` lets interrupts in. `idle` is called where nothing can run, outside any poll: it waits for an interrupt after a
/// last look ([`Executor::prepare_idle`]).
///
/// # Context
/// The first thing on a stack that [`To::Fresh`] was switched to, interrupts masked, the count of preemption raised by
/// the side that left.
pub fn run<P: Policy>(machine: &impl Machine<P>, unmask: impl FnOnce(), idle: impl Fn()) -> ! {
    let stay = cpu::adopt_preempt_disable();
    let executor = machine.executor();
    let mut next = executor.own.with_held(&stay, |own| {
        own.arrive(executor.shared, machine);
        own.stacks.first.take()
    });
    drop(stay);
    unmask();
    // What was woken since the other side looked is not left to the next interrupt.
    cpu::preempt_point();
    loop {
        next = match next {
            Some(started) => finish_and_begin(machine, started.poll()),
            None => {
                free_dead(machine);
                idle();
                begin(machine)
            }
        };
    }
}

/// Frees the tasks that were left to this CPU's loop.
fn free_dead<P: Policy>(machine: &impl Machine<P>) {
    let stay = cpu::preempt_disable();
    let shared = machine.executor().shared;
    drop(stay);
    // Any CPU may free them.
    shared.free_dead();
}

/// Begins the next poll. A suspended one is gone on with instead, and this stack is given back.
fn begin<P: Policy>(machine: &impl Machine<P>) -> Option<Started> {
    let stay = cpu::preempt_disable();
    let executor = machine.executor();
    let turn = executor
        .own
        .with_held(&stay, |own| own.begin_apart(executor.shared, machine));
    take_turn(machine, executor.shared, turn, stay)
}

/// Ends a poll, on the CPU where it ended, and begins the next.
#[inline(always)]
fn finish_and_begin<P: Policy>(machine: &impl Machine<P>, ended: Ended) -> Option<Started> {
    let stay = cpu::preempt_disable();
    let executor = machine.executor();
    let shared = executor.shared;
    let (done, turn) = executor.own.with_held(&stay, |own| {
        let now = Instant::now();
        let done = own.finish(shared, ended, now, machine);
        // A finished task is seen to first, with preemption on; then there is time for a turn.
        let turn = if done.is_none() {
            own.begin(shared, now, machine)
        } else {
            Turn::Idle
        };
        (done, turn)
    });
    if done.is_some() {
        drop(stay);
        complete(done);
        return begin(machine);
    }
    take_turn(machine, shared, turn, stay)
}

#[inline(always)]
fn take_turn<P: Policy>(
    machine: &impl Machine<P>,
    shared: &'static CpuShared,
    turn: Turn,
    stay: PreemptGuard,
) -> Option<Started> {
    match turn {
        Turn::Poll(started) => {
            drop(stay);
            // Any CPU may free them.
            shared.free_dead();
            Some(started)
        }
        Turn::Idle => None,
        Turn::Resume(place) => make_way(machine, place, &stay),
    }
}

/// Leaves this loop's stack for good, for a suspended poll's.
#[cold]
fn make_way<P: Policy>(machine: &impl Machine<P>, place: Place, stay: &PreemptGuard) -> ! {
    // They come back on where the other stack had them on.
    core::mem::forget(cpu::irq_save());
    machine.executor().own.with_held(stay, |own| {
        own.stacks.freed = own.stacks.current.take();
        if mutant!(GiveStackTooSoon) {
            own.arrive(machine.executor().shared, machine);
        }
    });
    machine.leave(place)
}

/// Leaves the current poll for another task, if the policy would have that run and there is a stack for it. Comes back
/// when the poll is gone on with, or at once; true if it was left.
///
/// What is woken meanwhile is seen: where this is the way out of an interrupt, nobody might look for it before the next.
///
/// # Context
/// A poll of the task level, interrupts masked, nothing counted in the word of rule 7. It may come back on another CPU.
pub fn suspend<P: Policy>(machine: &impl Machine<P>) -> bool {
    let stay = cpu::preempt_disable();
    let mut executor = machine.executor();
    let mut was_left = false;
    loop {
        let plan = executor
            .own
            .with_held(&stay, |own| own.plan(executor.shared, machine));
        match plan {
            Verdict::Stay => return was_left,
            Verdict::LookAgain => continue,
            Verdict::Leave(Plan { from, to, stack }) => {
                machine.switch(&from, to);
                was_left = true;
                // This may be another CPU, and much later.
                if !mutant!(KeepExecutor) {
                    executor = machine.executor();
                }
                executor.own.with_held(&stay, |own| {
                    own.stacks.current = stack;
                    own.arrive(executor.shared, machine);
                });
            }
        }
        if !cpu::need_resched() {
            return was_left;
        }
    }
}

/// Leaves the current poll and its stack for ever: its task is never polled again, nor its future dropped, nor its join
/// handle answered; whoever waits for it is to be told otherwise (rule 23). Comes back only where there is no stack to go on.
///
/// # Context
/// As [`suspend`].
pub fn abandon<P: Policy>(machine: &impl Machine<P>) {
    let stay = cpu::preempt_disable();
    let executor = machine.executor();
    let plan = executor
        .own
        .with_held(&stay, |own| own.plan_to_abandon(executor.shared, machine));
    // The stack that is left is as lost as what stands on it.
    if let Some(Plan { from, to, .. }) = plan {
        machine.switch(&from, to);
        unreachable!("nobody knows the way back to a poll that was abandoned");
    }
}

/// How the current stack is left.
struct Plan {
    from: Saver,
    to: To,
    /// The stack that is left, which this loop finds itself on again.
    stack: Option<Stack>,
}

/// What becomes of the current poll.
enum Verdict {
    /// It goes on.
    Stay,
    /// It might go on, but something was woken while that was decided.
    LookAgain,
    /// Its stack is left.
    Leave(Plan),
}

impl<P: Policy> Own<P> {
    /// Decides whether the current poll makes way. If so, its task is queued, the next one current, and the stack is to
    /// be left.
    fn plan(&mut self, shared: &'static CpuShared, machine: &impl Machine<P>) -> Verdict {
        let now = Instant::now();
        cpu::clear_need_resched();
        rcu::turn(shared);
        shared.set_looking();
        let asked = self.take_in(shared, now);
        let started = shared.started();
        // Also where it is alone: something may be asked of it, or its budget be spent.
        let wanted = match &mut self.current {
            Some(current) => {
                self.policy.should_resched(current, started, now) || asked || current.is_wanted()
            }
            None => false,
        };
        let plan = if wanted {
            self.plan_for(shared, machine, now)
        } else {
            Verdict::Stay
        };
        match plan {
            Verdict::Stay if mutant!(StayLooking) => Verdict::Stay,
            Verdict::Stay if shared.set_busy() && !mutant!(LookOnce) => Verdict::LookAgain,
            plan => plan,
        }
    }

    fn plan_for(
        &mut self,
        shared: &'static CpuShared,
        machine: &impl Machine<P>,
        now: Instant,
    ) -> Verdict {
        let Some(fresh) = machine.take_stack(self.policy.is_urgent()) else {
            shared.count_refusal();
            // The poll makes way where it ends, or where its user program is entered.
            if !mutant!(ForgetRefusal) {
                cpu::set_need_resched();
            }
            return Verdict::Stay;
        };
        let running = self
            .take_current(shared, machine, Outcome::Runnable, now)
            .expect("a poll is under way that is to make way");
        let (left, from) = running.suspend_poll();
        let me = left.task_addr();
        if left.is_wanted() && mutant!(SendBeforeSwitch) {
            self.stacks.left = self.attend(shared, left);
        } else if left.is_wanted() {
            // It may go to another CPU.
            self.stacks.left = Some(left);
        } else {
            shared.note_queued();
            self.policy.enqueue(left, EnqueueKind::Preempted, None, now);
        }
        let mut next = self.pick(shared, now);
        if let Some(next) = next.take_if(|next| next.task_addr() == me) {
            // The policy has thought better of it.
            machine.give_stack(fresh);
            machine.poll_start(&TaskTag(next.tag()));
            let running = next.unsuspend();
            shared.set_polled(running.header(), now);
            self.current = Some(running);
            return Verdict::Stay;
        }
        shared.count_suspension();
        let (to, stack) = self.turn_away(shared, machine, next, fresh, now);
        Verdict::Leave(Plan { from, to, stack })
    }

    /// As [`Own::plan`], for a task that is not to go on: it stays RUNNING, so that no wake-up ever queues it.
    fn plan_to_abandon(
        &mut self,
        shared: &'static CpuShared,
        machine: &impl Machine<P>,
    ) -> Option<Plan> {
        let now = Instant::now();
        let fresh = machine.take_stack(true)?;
        cpu::clear_need_resched();
        rcu::turn(shared);
        shared.set_looking();
        self.take_in(shared, now);
        let running = self.take_current(shared, machine, Outcome::Done, now)?;
        let (left, from) = running.suspend_poll();
        core::mem::forget(left);
        let next = self.pick(shared, now);
        let (to, stack) = self.turn_away(shared, machine, next, fresh, now);
        Some(Plan { from, to, stack })
    }

    /// Takes the task of the current poll, which ends here or is left, and accounts for it.
    fn take_current(
        &mut self,
        shared: &'static CpuShared,
        machine: &impl Machine<P>,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Running<P>> {
        let mut running = self.current.take()?;
        let started = shared.started();
        let ns = now.ns_since(started);
        shared.set_polled_none();
        running.account_part(ns);
        shared.note_poll(ns, || running.poll_addr());
        machine.poll_end(&TaskTag(running.tag()));
        self.policy.put(&mut running, outcome, started, now);
        Some(running)
    }

    /// Makes `next` the current task, on its own stack or on `fresh`. Tells where that is, and which stack is left.
    fn turn_away(
        &mut self,
        shared: &'static CpuShared,
        machine: &impl Machine<P>,
        next: Option<Runnable<P>>,
        fresh: Stack,
        now: Instant,
    ) -> (To, Option<Stack>) {
        let turn = match next {
            Some(next) => self.turn_to_apart(shared, next, now, machine),
            None => {
                // Nothing can run, or the policy keeps it back: a fresh loop waits.
                cpu::set_current(core::ptr::null());
                shared.set_polled_none();
                Turn::Idle
            }
        };
        let stack = self.stacks.current.take();
        let to = match turn {
            Turn::Resume(place) => {
                machine.give_stack(fresh);
                To::Place(place)
            }
            other => {
                if let Turn::Poll(started) = other {
                    self.stacks.first = Some(started);
                }
                To::Fresh(self.stacks.current.insert(fresh).0)
            }
        };
        (to, stack)
    }

    /// The first thing on a stack that was switched to: what the other side could not do while it stood on its own.
    fn arrive(&mut self, shared: &'static CpuShared, machine: &impl Machine<P>) {
        if let Some(left) = self.stacks.left.take()
            && let Some(stays) = self.attend(shared, left)
        {
            shared.note_queued();
            let current = self.current.as_mut();
            self.policy
                .enqueue(stays, EnqueueKind::Preempted, current, shared.started());
        }
        if let Some(stack) = self.stacks.freed.take() {
            machine.give_stack(stack);
        }
    }
}
