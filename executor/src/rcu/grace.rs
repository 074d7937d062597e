//! Grace periods: who has yet to be seen outside of any reader.

use core::{fmt, ptr::NonNull, sync::atomic::Ordering};

use super::callback::{Callback, Callbacks, Head};
use crate::{
    cpu::{self, PreemptGuard},
    facade::{AtomicU64, const_fn, mutant},
    raw::CpuShared,
    spawn::spawn,
    sync::{SpinLockIrq, WaitQueue},
    yield_now::yield_now,
};

/// Callbacks that are run before others get a turn.
const BATCH: usize = 16;

struct Grace {
    state: SpinLockIrq<State>,
    /// The number of the last grace period that is over.
    done: AtomicU64,
    /// Callbacks that have run.
    called: AtomicU64,
    /// Woken when a grace period is over.
    over: WaitQueue,
    /// Woken when callbacks are ready, and when they have run.
    ready: WaitQueue,
    ran: WaitQueue,
}

struct State {
    /// The number of the last grace period that was begun: under way if it is not `done`.
    begun: u64,
    /// How many CPUs have yet to be seen outside of readers.
    owing: usize,
    /// The last grace period that somebody waits for.
    wanted: u64,
    /// Callbacks for the end of the grace period under way, for that of the next, and those whose time has come.
    current: Callbacks,
    next: Callbacks,
    ready: Callbacks,
    /// Callbacks given so far.
    given: u64,
}

#[cfg(not(loom))]
static GRACE: Grace = Grace::new();
#[cfg(loom)]
loom::lazy_static! {
    static ref GRACE: Grace = Grace::new();
}

/// What to do without the lock.
#[derive(Default)]
#[must_use]
struct After {
    ended: bool,
    began: bool,
}

impl Grace {
    const_fn! {
        fn new() -> Self {
            Self {
                state: SpinLockIrq::new(State {
                    begun: 0,
                    owing: 0,
                    wanted: 0,
                    current: Callbacks::new(),
                    next: Callbacks::new(),
                    ready: Callbacks::new(),
                    given: 0,
                }),
                done: AtomicU64::new(0),
                called: AtomicU64::new(0),
                over: WaitQueue::new(),
                ready: WaitQueue::new(),
                ran: WaitQueue::new(),
            }
        }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// Begins a grace period if one is wanted and none is under way; ends it if there is no CPU to wait for.
    fn advance(&self, state: &mut State) -> After {
        let mut after = After::default();
        while state.owing == 0 {
            if state.begun != self.done() {
                self.done.store(state.begun, Ordering::Release);
                state.ready.append(&mut state.current);
                state.current.append(&mut state.next);
                after.ended = true;
            }
            if state.wanted == state.begun {
                break;
            }
            state.begun += 1;
            after.began = true;
            CpuShared::each(|cpu| {
                if !mutant!(RcuForgetsOthers) || cpu.cpu() == cpu::id() {
                    state.owing += usize::from(cpu.rcu_owe());
                }
            });
        }
        after
    }

    /// Asks for a grace period that begins after this, and gives its number.
    fn want(&self, give: impl FnOnce(&mut State, bool)) -> u64 {
        let (target, after) = self.state.with(|state| {
            let under_way = state.begun != self.done();
            let target = state.begun + 1;
            state.wanted = target;
            give(state, under_way);
            (target, self.advance(state))
        });
        self.act(after);
        target
    }

    /// Notes that `cpu` is outside of any reader.
    #[cold]
    fn seen(&self, cpu: &CpuShared) {
        let after = self.state.with(|state| {
            state.owing -= usize::from(cpu.rcu_pay());
            self.advance(state)
        });
        self.act(after);
    }

    fn act(&self, after: After) {
        if after.began {
            CpuShared::each(CpuShared::rcu_ask);
        }
        if after.ended {
            self.over.wake_all();
            self.ready.wake_one();
        }
    }

    /// Runs callbacks whose time has come, for ever.
    async fn run_callbacks(&self) {
        loop {
            let next = || self.state.with(|state| state.ready.pop());
            let mut due = Some(self.ready.wait_until(next).await);
            let mut left = BATCH;
            while let Some((head, callback)) = due {
                // SAFETY: `call`'s promise, and its grace period is over.
                unsafe { callback(head) };
                self.called.fetch_add(1, Ordering::Release);
                left -= 1;
                due = if left > 0 { next() } else { None };
            }
            self.ran.wake_all();
            yield_now().await;
        }
    }
}

/// Keeps what it reads from going away; see [`read`].
#[must_use = "what was read may go when the guard is dropped"]
pub struct ReadGuard(PreemptGuard);

impl fmt::Debug for ReadGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadGuard").field(&self.0).finish()
    }
}

/// Begins to read: what is reachable now stays until the guard is dropped. It holds off preemption, and so may be nested.
///
/// # Context
/// Any, on a CPU that has an executor.
#[inline(always)]
pub fn read() -> ReadGuard {
    ReadGuard(cpu::preempt_disable())
}

/// Waits until everybody who reads now has stopped.
///
/// # Context
/// Task; without a [`ReadGuard`], of course.
/// # Cancel safety
/// Nothing is lost but the wait.
pub async fn synchronize() {
    let target = GRACE.want(|_, _| ());
    GRACE
        .over
        .wait_until(|| (GRACE.done() >= target).then_some(()))
        .await;
}

/// Has `callback` called with `head` when everybody who reads now has stopped: in a task, by [`init`]'s.
///
/// # Context
/// Any; nothing is allocated.
/// # Safety
/// The head lives until then, where it is, and nobody else gives it meanwhile. The callback may be called with it, once, from
/// another task, and what it does with it is sound there.
pub unsafe fn call(head: NonNull<Head>, callback: Callback) {
    GRACE.want(|state, under_way| {
        let list = if under_way {
            &mut state.next
        } else {
            &mut state.current
        };
        // SAFETY: by the contract.
        unsafe { list.push(head, callback) };
        state.given += 1;
    });
}

/// Waits until all callbacks given before this call have run.
///
/// # Context
/// Task.
pub async fn barrier() {
    let target = GRACE.state.with(|state| state.given);
    GRACE
        .ran
        .wait_until(|| (GRACE.called.load(Ordering::Acquire) >= target).then_some(()))
        .await;
}

/// Spawns the task that runs callbacks.
///
/// # Context
/// Boot, once, after the CPU's executor was made.
pub fn init() {
    spawn("rcu", GRACE.run_callbacks()).detach();
}

/// How many grace periods there have been.
pub fn grace_periods() -> u64 {
    GRACE.done()
}

/// This CPU's loop is outside of any poll: it reads nothing.
#[inline(always)]
pub(crate) fn turn(cpu: &CpuShared) {
    // The end of one grace period may begin the next, for which this is a quiescent state as well; and nobody asks the CPU that
    // it is on again before it sleeps.
    while cpu.rcu_owes() {
        GRACE.seen(cpu);
    }
}

/// The way out of an interrupt: if nothing is counted in the word, then nobody was interrupted while reading.
#[inline(always)]
pub(crate) fn irq_exit() {
    if cpu::preempt_word() == 0
        && let Some(cpu) = cpu::shared()
    {
        turn(cpu);
    }
}

/// A CPU has come: calls `publish` such that grace periods see it or it sees what they saw.
pub(crate) fn online(publish: impl FnOnce()) {
    GRACE.state.with(|_| publish());
}

/// A CPU goes, reading nothing any more: calls `retract`, after which grace periods do not wait for it.
pub(crate) fn offline(cpu: &CpuShared, retract: impl FnOnce()) {
    GRACE.state.with(|_| retract());
    GRACE.seen(cpu);
}
