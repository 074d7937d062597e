//! The interface of a scheduling class, and the list of classes in their order.
//!
//! The run queue knows classes by this interface only. Which there are, and which comes before which, is a type: a
//! [`Chain`] of classes, then the one that most tasks are in, then another chain ([`Ranks`]). [`Linux`] is that of Linux.
//! Adding a class is writing another such type; `sched/tests/class.rs` puts one between real-time and fair.
//!
//! | Linux's `sched_class` | here |
//! |---|---|
//! | `next` | the order in a [`Chain`] |
//! | `enqueue_task`, `task_fork`, `migrate_task_rq` | [`Class::enqueue`], by its [`Wake`] |
//! | `dequeue_task` | [`Class::sleep`] for the running task, [`Class::take_where`] for a waiting one |
//! | `yield_task`, `put_prev_task` | [`Class::requeue`], by its [`Outcome`] |
//! | `check_preempt_curr` | [`Class::preempts`] |
//! | `pick_next_task`, `set_curr_task` | [`Class::pick`], [`Class::resume`] |
//! | `update_curr`, `task_tick` | [`Class::charge`], then [`Class::turn_over`] |
//! | `get_rr_interval` | [`Class::interval_ns`] |
//! | `switched_from`, `switched_to`, `prio_changed`, `task_change_group`, `set_cpus_allowed` | the run queue takes the task out, changes it, puts it back |
//! | `select_task_rq`, `task_woken`, `rq_online`, `rq_offline` | the functions of [`smp`](crate::smp) over all CPUs |
//! | `task_dead` | a node that sleeps is dropped |

use alloc::boxed::Box;

use crate::node::Node;
use crate::policy::Policy;
use crate::runqueue::{Outcome, Wake};
use crate::{dl, fair, fifo, rt};

/// A scheduling class: the waiting tasks of certain policies on one CPU, and the rule by which they run.
///
/// `current` is always the running task, and one of this class. Times are in ns of one monotonic clock.
pub trait Class<T> {
    /// Whether tasks of `policy` belong to this class.
    fn takes(policy: &Policy) -> bool
    where
        Self: Sized;

    /// Whether no task waits that may run. Must be cheap: it is asked at each switch.
    fn is_empty(&self) -> bool;

    /// How many tasks wait that may run.
    fn len(&self) -> usize;

    /// Takes in a task that was not runnable here before.
    fn enqueue(&mut self, node: Box<Node<T>>, why: Wake, current: Option<&mut Node<T>>, now: u64);

    /// Takes back a task whose turn ended and which is still runnable.
    fn requeue(&mut self, node: Box<Node<T>>, outcome: Outcome, now: u64);

    /// Gives the task that is to run next. It is current from now on.
    fn pick(&mut self, now: u64) -> Option<Box<Node<T>>>;

    /// The running task has changed its attributes, or come to this class, while it runs.
    fn resume(&mut self, current: &mut Node<T>, why: Wake, now: u64) {
        let _ = (current, why, now);
    }

    /// Charges `delta_ns` of run time to the running task. Sets its `turn_over` when a slice or budget is used up.
    fn charge(&mut self, current: &mut Node<T>, delta_ns: u64, now: u64);

    /// The running task stops being runnable here.
    fn sleep(&mut self, current: &mut Node<T>, why: Outcome, now: u64);

    /// Whether a task that has just become runnable should run at once instead of the running one.
    fn preempts(&self, current: &Node<T>) -> bool;

    /// Whether the running task should make way for another of this class, now that time has passed.
    fn turn_over(&self, current: &Node<T>) -> bool;

    /// Time after which [`turn_over`](Self::turn_over) would hold, if nothing else happens; `None` for never.
    fn slice_left_ns(&self, current: &Node<T>) -> Option<u64>;

    /// What `sched_rr_get_interval(2)` answers for such a task.
    fn interval_ns(&self, node: &Node<T>) -> u64 {
        let _ = node;
        0
    }

    /// Takes some waiting task that `matches`, as one that stops being runnable here. Here `current` may be of any class.
    fn take_where(
        &mut self,
        matches: &mut dyn FnMut(&Node<T>) -> bool,
        current: Option<&Node<T>>,
        now: u64,
    ) -> Option<Box<Node<T>>>;

    /// Calls `f` for every waiting task.
    fn for_each(&self, f: &mut dyn FnMut(&Node<T>));

    /// When time alone will make a task runnable: [`advance`](Self::advance) is to be called then. `u64::MAX` for never.
    fn next_event(&self) -> u64 {
        u64::MAX
    }

    /// Does what is due by `now`: refills budgets, lets throttled tasks run.
    fn advance(&mut self, current: Option<&mut Node<T>>, now: u64) {
        let _ = (current, now);
    }
}

/// What is done with one class out of several.
type With<'a, T, R> = &'a mut dyn FnMut(&mut dyn Class<T>) -> R;
/// As [`With`], to look only.
type WithRef<'a, T, R> = &'a mut dyn FnMut(&dyn Class<T>) -> R;

/// Classes in their order.
pub trait List<T>: Default {
    /// Calls `f` with the class of `policy`, if it is here.
    fn with<R>(&mut self, policy: &Policy, f: With<'_, T, R>) -> Option<R>;

    /// As [`with`](Self::with), to look only.
    fn with_ref<R>(&self, policy: &Policy, f: WithRef<'_, T, R>) -> Option<R>;

    /// Calls `f` for each class in order, until it gives something.
    fn find<R>(&mut self, f: With<'_, T, Option<R>>) -> Option<R>;

    /// As [`find`](Self::find), to look only.
    fn find_ref<R>(&self, f: WithRef<'_, T, Option<R>>) -> Option<R>;

    /// How many classes there are.
    const LEN: usize;

    /// The place of the class of `policy` in the order, 0 being the most urgent; `None` if it is not here.
    fn rank(policy: &Policy) -> Option<usize>;

    /// Whether a task waits whose class comes before the one of rank `rank`.
    fn waits_above(&self, rank: usize) -> bool {
        let mut at = 0;
        self.find_ref(&mut |class| {
            at += 1;
            (at <= rank && !class.is_empty()).then_some(())
        })
        .is_some()
    }
}

/// The classes of a run queue: a list, one of which has most of the tasks and is dealt with inline.
pub trait Classes<T>: List<T> {
    /// The class of most tasks.
    type Common: Class<T>;

    /// That class.
    fn common(&self) -> &Self::Common;

    /// That class.
    fn common_mut(&mut self) -> &mut Self::Common;
}

/// The class `First`, before those of `Rest`.
#[derive(Debug, Default)]
pub struct Chain<First, Rest> {
    /// The most urgent class.
    pub first: First,
    /// Those that come after it.
    pub rest: Rest,
}

/// The end of a [`Chain`].
#[derive(Debug, Default)]
pub struct End;

/// The classes of `Above`, then `Common`, then those of `Below`.
#[derive(Debug, Default)]
pub struct Ranks<Above, Common, Below> {
    /// Those that come before the common one.
    pub above: Above,
    /// The class of most tasks.
    pub common: Common,
    /// Those that come after it.
    pub below: Below,
}

/// Linux's classes: stop, deadline, real-time, fair, idle.
pub type Linux<T> = Ranks<
    Chain<fifo::Stop<T>, Chain<dl::Deadline<T>, Chain<rt::Realtime<T>, End>>>,
    fair::Fair<T>,
    Chain<fifo::CpuIdle<T>, End>,
>;

impl<T, First: Class<T> + Default, Rest: List<T>> List<T> for Chain<First, Rest> {
    const LEN: usize = 1 + Rest::LEN;

    fn with<R>(&mut self, policy: &Policy, f: With<'_, T, R>) -> Option<R> {
        match First::takes(policy) {
            true => Some(f(&mut self.first)),
            false => self.rest.with(policy, f),
        }
    }

    fn with_ref<R>(&self, policy: &Policy, f: WithRef<'_, T, R>) -> Option<R> {
        match First::takes(policy) {
            true => Some(f(&self.first)),
            false => self.rest.with_ref(policy, f),
        }
    }

    fn find<R>(&mut self, f: With<'_, T, Option<R>>) -> Option<R> {
        f(&mut self.first).or_else(|| self.rest.find(f))
    }

    fn find_ref<R>(&self, f: WithRef<'_, T, Option<R>>) -> Option<R> {
        f(&self.first).or_else(|| self.rest.find_ref(f))
    }

    fn rank(policy: &Policy) -> Option<usize> {
        match First::takes(policy) {
            true => Some(0),
            false => Rest::rank(policy).map(|rank| rank + 1),
        }
    }
}

impl<T> List<T> for End {
    const LEN: usize = 0;

    fn with<R>(&mut self, _: &Policy, _: With<'_, T, R>) -> Option<R> {
        None
    }

    fn with_ref<R>(&self, _: &Policy, _: WithRef<'_, T, R>) -> Option<R> {
        None
    }

    fn find<R>(&mut self, _: With<'_, T, Option<R>>) -> Option<R> {
        None
    }

    fn find_ref<R>(&self, _: WithRef<'_, T, Option<R>>) -> Option<R> {
        None
    }

    fn rank(_: &Policy) -> Option<usize> {
        None
    }
}

impl<T, Above, Common, Below> List<T> for Ranks<Above, Common, Below>
where
    Above: List<T>,
    Common: Class<T> + Default,
    Below: List<T>,
{
    const LEN: usize = Above::LEN + 1 + Below::LEN;

    fn with<R>(&mut self, policy: &Policy, f: With<'_, T, R>) -> Option<R> {
        if Common::takes(policy) {
            return Some(f(&mut self.common));
        }
        match self.above.with(policy, &mut *f) {
            None => self.below.with(policy, f),
            found => found,
        }
    }

    fn with_ref<R>(&self, policy: &Policy, f: WithRef<'_, T, R>) -> Option<R> {
        if Common::takes(policy) {
            return Some(f(&self.common));
        }
        match self.above.with_ref(policy, &mut *f) {
            None => self.below.with_ref(policy, f),
            found => found,
        }
    }

    fn find<R>(&mut self, f: With<'_, T, Option<R>>) -> Option<R> {
        self.above
            .find(&mut *f)
            .or_else(|| f(&mut self.common))
            .or_else(|| self.below.find(f))
    }

    fn find_ref<R>(&self, f: WithRef<'_, T, Option<R>>) -> Option<R> {
        self.above
            .find_ref(&mut *f)
            .or_else(|| f(&self.common))
            .or_else(|| self.below.find_ref(f))
    }

    fn rank(policy: &Policy) -> Option<usize> {
        if Common::takes(policy) {
            return Some(Above::LEN);
        }
        let below = || Below::rank(policy).map(|rank| rank + Above::LEN + 1);
        Above::rank(policy).or_else(below)
    }
}

impl<T, Above, Common, Below> Classes<T> for Ranks<Above, Common, Below>
where
    Above: List<T>,
    Common: Class<T> + Default,
    Below: List<T>,
{
    type Common = Common;

    #[inline(always)]
    fn common(&self) -> &Common {
        &self.common
    }

    #[inline(always)]
    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}
