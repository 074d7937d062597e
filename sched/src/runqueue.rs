//! One CPU's run queue: the classes in their order.

use alloc::boxed::Box;
use core::marker::PhantomData;

use crate::class::{Class, Classes, Linux, List};
use crate::fill;
use crate::node::Node;
use crate::policy::Policy;
use crate::smp::Urgency;

/// Why a task becomes runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// It has just been made.
    New,
    /// What it waited for has happened.
    Event,
    /// It comes from another CPU's queue.
    Migrated,
    /// It was runnable, and has changed its attributes.
    Changed {
        /// Its priority was lowered: among its new equals it comes first.
        lowered: bool,
    },
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Another was to run first, or its slice was over.
    Preempted,
    /// It gave the CPU away by `sched_yield(2)`.
    Yielded,
    /// It waits for something.
    Sleeps,
    /// It goes to another CPU's queue, or to another class.
    Leaves,
}

/// The runnable tasks of one CPU in the order in which they are to run, by the classes `C`.
///
/// Owner CPU only, with preemption off. Times are in ns of one monotonic clock.
#[derive(Debug)]
pub struct RunQueue<T, C = Linux<T>> {
    pub(crate) classes: C,
    /// The task that runs. Its handle is with the caller.
    current: Option<Box<Node<T>>>,
    /// Tasks that wait in other classes than the common one, throttled or not: mostly none, and then nobody asks them.
    rare: usize,
    /// When the running task was last charged.
    charged_at: u64,
    /// No class has anything to do for time alone before then.
    next_event: u64,
    /// [`next_event`](Self::next_event) may be another, or tasks of other classes than the common one have come, gone, or had
    /// a turn: for an owner that has to follow both with one look.
    news: bool,
    items: PhantomData<T>,
}

impl<T, C: Default> Default for RunQueue<T, C> {
    fn default() -> Self {
        Self {
            classes: C::default(),
            current: None,
            rare: 0,
            charged_at: 0,
            next_event: u64::MAX,
            news: false,
            items: PhantomData,
        }
    }
}

impl<T> RunQueue<T> {
    /// An empty queue of Linux's classes.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T, C: Classes<T>> RunQueue<T, C> {
    #[inline(always)]
    fn is_common(node: &Node<T>) -> bool {
        C::Common::takes(&node.policy)
    }

    /// Calls `f` with the class of `policy`.
    fn with<R>(&mut self, policy: Policy, mut f: impl FnMut(&mut dyn Class<T>) -> R) -> R {
        match self.classes.with(&policy, &mut f) {
            Some(result) => result,
            None => panic!("no class takes {policy:?}"),
        }
    }

    /// Tasks that wait to run and may; the running one is not among them.
    #[inline]
    pub fn len(&self) -> usize {
        if self.rare == 0 {
            return self.classes.common().len();
        }
        self.len_of_all()
    }

    #[cold]
    fn len_of_all(&self) -> usize {
        let mut sum = 0;
        self.classes.find_ref::<()>(&mut |class| {
            sum += class.len();
            None
        });
        sum
    }

    /// Whether nothing waits that may run.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.classes.common().is_empty() && (self.rare == 0 || self.rest_is_empty())
    }

    #[cold]
    fn rest_is_empty(&self) -> bool {
        !self.classes.waits_above(C::LEN)
    }

    /// Whether a task waits that is not of the common class: a real-time or deadline task, throttled or not.
    #[inline]
    pub fn has_rare(&self) -> bool {
        self.rare > 0
    }

    /// Whether all that runs or waits is of the common class: no real-time or deadline task.
    #[inline(always)]
    pub fn is_common_only(&self) -> bool {
        self.rare == 0 && self.current.as_deref().is_none_or(Self::is_common)
    }

    /// The task that runs.
    pub fn current(&self) -> Option<&Node<T>> {
        self.current.as_deref()
    }

    /// Adds a task that has become runnable. The running task is charged first, so that the newcomer is placed against
    /// the present. Whether the running task is to make way.
    pub fn enqueue(&mut self, mut node: Box<Node<T>>, item: T, why: Wake, now: u64) -> bool {
        self.charge(now);
        fill(&mut node.item, item);
        let current = self.current.as_deref_mut();
        if Self::is_common(&node) && current.as_ref().is_none_or(|c| Self::is_common(c)) {
            let class = self.classes.common_mut();
            let preempts = match current {
                Some(current) => {
                    class.enqueue(node, why, Some(&mut *current), now);
                    class.preempts(current)
                }
                None => {
                    class.enqueue(node, why, None, now);
                    false
                }
            };
            return preempts || (self.rare > 0 && self.waits_above());
        }
        self.enqueue_any(node, why, now)
    }

    #[cold]
    fn enqueue_any(&mut self, node: Box<Node<T>>, why: Wake, now: u64) -> bool {
        self.rare += usize::from(!Self::is_common(&node));
        let (policy, mut node) = (node.policy, Some(node));
        let rank = C::rank(&policy);
        let mut current = self.current.take();
        let mut peer = current
            .as_deref_mut()
            .filter(|c| C::rank(&c.policy) == rank);
        let preempts = self.with(policy, |class| {
            if let Some(node) = node.take() {
                class.enqueue(node, why, peer.as_deref_mut(), now);
            }
            peer.as_deref().is_some_and(|c| class.preempts(c))
        });
        self.current = current;
        self.note_event();
        preempts || self.waits_above()
    }

    /// Whether a task waits whose class comes before that of the running task.
    #[cold]
    fn waits_above(&self) -> bool {
        let rank = |c: &Node<T>| C::rank(&c.policy).unwrap_or(C::LEN);
        self.current()
            .is_some_and(|c| self.classes.waits_above(rank(c)))
    }

    /// Takes the task that is to run next, and starts its turn; `None` where the CPU is to idle.
    #[inline(always)]
    pub fn pick(&mut self, now: u64) -> Option<T> {
        debug_assert!(self.current.is_none(), "a turn ends before the next begins");
        if now >= self.next_event {
            self.advance(now);
        }
        if self.rare > 0 {
            return self.pick_any(now);
        }
        let node = self.classes.common_mut().pick(now)?;
        Some(self.begin_turn(node, now))
    }

    #[inline(always)]
    fn begin_turn(&mut self, mut node: Box<Node<T>>, now: u64) -> T {
        self.charged_at = now;
        node.turn_over = false;
        let item = node.item.take().expect("a queued node carries its item");
        fill(&mut self.current, node);
        item
    }

    #[cold]
    fn pick_any(&mut self, now: u64) -> Option<T> {
        let node = self.classes.find(&mut |class| class.pick(now))?;
        let common = Self::is_common(&node);
        let item = self.begin_turn(node, now);
        if !common {
            self.rare -= 1;
            self.note_event();
        }
        Some(item)
    }

    /// Ends the turn of the running task and gives its node to the caller. After [`Preempted`](Outcome::Preempted) and
    /// [`Yielded`](Outcome::Yielded) it is [requeued](Self::requeue) next.
    ///
    /// # Panics
    /// When no task runs.
    #[inline(always)]
    pub fn end_turn(&mut self, outcome: Outcome, now: u64) -> Box<Node<T>> {
        self.charge(now);
        let mut node = self.current.take().expect("a turn ends that has begun");
        if matches!(outcome, Outcome::Sleeps | Outcome::Leaves) {
            self.leave(&mut node, outcome, now);
        }
        node
    }

    /// Notes that a task whose turn has ended is not runnable here any more.
    #[inline(always)]
    pub fn leave(&mut self, node: &mut Node<T>, outcome: Outcome, now: u64) {
        if Self::is_common(node) {
            self.classes.common_mut().sleep(node, outcome, now);
        } else {
            self.leave_any(node, outcome, now);
        }
    }

    #[cold]
    fn leave_any(&mut self, node: &mut Node<T>, outcome: Outcome, now: u64) {
        self.with(node.policy, |class| class.sleep(node, outcome, now));
        self.note_event();
    }

    /// Puts a task whose turn ended, but which is still runnable, back into the order.
    #[inline(always)]
    pub fn requeue(&mut self, mut node: Box<Node<T>>, item: T, outcome: Outcome, now: u64) {
        fill(&mut node.item, item);
        if Self::is_common(&node) {
            self.classes.common_mut().requeue(node, outcome, now);
        } else {
            self.requeue_any(node, outcome, now);
        }
    }

    #[cold]
    fn requeue_any(&mut self, node: Box<Node<T>>, outcome: Outcome, now: u64) {
        self.rare += 1;
        let (policy, mut node) = (node.policy, Some(node));
        self.with(policy, |class| {
            if let Some(node) = node.take() {
                class.requeue(node, outcome, now);
            }
        });
        self.note_event();
    }

    /// Charges the running task for the time since it was last charged.
    #[inline(always)]
    pub fn charge(&mut self, now: u64) {
        let Some(current) = self.current.as_deref_mut() else {
            return;
        };
        let delta = now.saturating_sub(self.charged_at);
        self.charged_at = now;
        current.sum_exec_ns += delta;
        if Self::is_common(current) {
            self.classes.common_mut().charge(current, delta, now);
            if current.turn_over {
                self.note_event();
            }
        } else {
            self.charge_any(delta, now);
        }
    }

    #[cold]
    fn charge_any(&mut self, delta: u64, now: u64) {
        if let Some(mut current) = self.current.take() {
            self.with(current.policy, |class| {
                class.charge(&mut current, delta, now);
            });
            self.current = Some(current);
        }
        self.note_event();
    }

    /// A budget may be spent, and wait for time to pass, or be about to be spent by the running task. The slices of the common
    /// class end at ticks.
    #[cold]
    fn note_event(&mut self) {
        let mut next = match self.current.as_deref() {
            Some(current) if !Self::is_common(current) => self
                .slice_left_ns()
                .map_or(u64::MAX, |left| self.charged_at.saturating_add(left)),
            _ => u64::MAX,
        };
        self.classes.find_ref::<()>(&mut |class| {
            next = class.next_event().min(next);
            None
        });
        self.next_event = next;
        self.news = true;
    }

    /// Whether there is something that an owner might have to follow since [`take_news`](Self::take_news): another
    /// [`next_event`](Self::next_event), or a change among tasks that are not of the common class.
    #[inline(always)]
    pub fn has_news(&self) -> bool {
        self.news
    }

    /// As [`has_news`](Self::has_news), which is false after it.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }

    /// Whether the running task is to make way for one of a higher class, or in its own class because its slice is over or
    /// its budget spent. Within its slice a task makes way only to a newcomer, see [`enqueue`](Self::enqueue).
    /// [Charge](Self::charge) first.
    pub fn should_preempt(&self) -> bool {
        let Some(current) = self.current.as_deref() else {
            return !self.is_empty();
        };
        if self.rare > 0 && self.waits_above() {
            return true;
        }
        self.classes
            .with_ref(&current.policy, &mut |class| class.turn_over(current))
            .unwrap_or(false)
    }

    /// Charges the running task, does what time has made due, and says whether the running task is to make way: what a
    /// timer interrupt calls.
    pub fn tick(&mut self, now: u64) -> bool {
        self.charge(now);
        if now >= self.next_event {
            self.advance(now);
        }
        self.should_preempt()
    }

    /// Nanoseconds after which the running task is to make way if nothing else happens, for a precise timer; `None` where
    /// it may go on for ever.
    pub fn slice_left_ns(&self) -> Option<u64> {
        let current = self.current.as_deref()?;
        self.classes
            .with_ref(&current.policy, &mut |class| class.slice_left_ns(current))?
    }

    /// When [`tick`](Self::tick) or [`pick`](Self::pick) is to be called because time alone makes a throttled task
    /// runnable, or ends the budget or turn of a running task that is not of the common class; `u64::MAX` for never.
    #[inline]
    pub fn next_event(&self) -> u64 {
        self.next_event
    }

    /// Does what is due by `now`.
    #[cold]
    pub fn advance(&mut self, now: u64) {
        let Self {
            classes, current, ..
        } = self;
        let rank = current.as_deref().and_then(|c| C::rank(&c.policy));
        let mut at = 0;
        classes.find::<()>(&mut |class| {
            let current = current.as_deref_mut().filter(|_| rank == Some(at));
            class.advance(current, now);
            at += 1;
            None
        });
        self.note_event();
    }

    /// What `sched_rr_get_interval(2)` answers for a task of this CPU, in ns.
    pub fn interval_ns(&self, node: &Node<T>) -> u64 {
        self.classes
            .with_ref(&node.policy, &mut |class| class.interval_ns(node))
            .unwrap_or(0)
    }

    /// Takes some waiting task that `matches`: to move it to another CPU. Looks at each in turn.
    pub fn take_where(
        &mut self,
        mut matches: impl FnMut(&T, &Node<T>) -> bool,
        now: u64,
    ) -> Option<(Box<Node<T>>, T)> {
        let mut hit = |n: &Node<T>| n.item.as_ref().is_some_and(|item| matches(item, n));
        let current = self.current.as_deref();
        let mut node = self
            .classes
            .find(&mut |class| class.take_where(&mut hit, current, now))?;
        if !Self::is_common(&node) {
            self.rare -= 1;
            self.news = true;
        }
        let item = node.item.take()?;
        Some((node, item))
    }

    /// Calls `f` for every waiting task.
    pub fn for_each(&self, mut f: impl FnMut(&T, &Node<T>)) {
        let mut visit = |n: &Node<T>| {
            if let Some(item) = &n.item {
                f(item, n);
            }
        };
        self.classes.find_ref::<()>(&mut |class| {
            class.for_each(&mut visit);
            None
        });
    }

    /// Changes the attributes (`f`) of a waiting task that `matches`. Whether the running task is to make way; `None` if no
    /// such task waits here.
    pub fn change(
        &mut self,
        matches: impl FnMut(&T, &Node<T>) -> bool,
        f: impl FnOnce(&mut Node<T>),
        now: u64,
    ) -> Option<bool> {
        self.charge(now);
        let (mut node, item) = self.take_where(matches, now)?;
        let before = node.policy.kernel_priority();
        f(&mut node);
        let lowered = node.policy.kernel_priority() > before;
        Some(self.enqueue(node, item, Wake::Changed { lowered }, now))
    }

    /// Changes the attributes (`f`) of the running task. Whether it is to make way.
    pub fn change_current(&mut self, f: impl FnOnce(&mut Node<T>), now: u64) -> bool {
        self.charge(now);
        let Some(mut node) = self.current.take() else {
            return false;
        };
        let before = node.policy.kernel_priority();
        self.leave(&mut node, Outcome::Leaves, now);
        f(&mut node);
        let lowered = node.policy.kernel_priority() > before;
        let why = Wake::Changed { lowered };
        let preempts = self.with(node.policy, |class| {
            class.resume(&mut node, why, now);
            class.preempts(&node)
        });
        self.current = Some(node);
        preempts || self.waits_above()
    }
}

impl<T> RunQueue<T, Linux<T>> {
    /// The weights of the fair tasks that run or could: how much fair load this CPU has.
    pub fn fair_load(&self) -> u64 {
        self.classes.common.load(self.current.as_deref())
    }

    /// The most urgent thing that waits and may run.
    pub fn waiting_urgency(&self) -> Urgency {
        if let Some(deadline) = self.deadline().earliest() {
            return Urgency::Deadline(deadline);
        }
        match self.realtime().top_priority() {
            0 => Urgency::Fair,
            priority => Urgency::Realtime(priority),
        }
    }

    /// Takes the most urgent waiting real-time or deadline task that `matches` and is not throttled: to move it to another CPU.
    pub fn take_urgent(
        &mut self,
        mut matches: impl FnMut(&T, Urgency) -> bool,
        now: u64,
    ) -> Option<(Box<Node<T>>, T)> {
        self.charge(now);
        let mut hit = |n: &Node<T>| {
            let urgency = Urgency::of(n);
            let may = urgency != Urgency::Fair && !n.dl.is_throttled();
            may && n.item.as_ref().is_some_and(|item| matches(item, urgency))
        };
        let current = self.current.as_deref();
        let above = &mut self.classes.above;
        let mut node = above.find(&mut |class| class.take_where(&mut hit, current, now))?;
        self.rare -= 1;
        self.news = true;
        let item = node.item.take()?;
        Some((node, item))
    }

    /// Takes the waiting fair task of which `misfit` makes the least, to move it to another CPU, and gives with it how much of
    /// [`fair_load`](Self::fair_load) it is, which `misfit` is told as well. Looks at a few tasks only, however many there are.
    pub fn take_best(
        &mut self,
        mut misfit: impl FnMut(&T, &Node<T>, u64) -> Option<u64>,
        now: u64,
    ) -> Option<(Box<Node<T>>, T, u64)> {
        self.charge(now);
        let mut of = |n: &Node<T>, load| n.item.as_ref().and_then(|item| misfit(item, n, load));
        let current = self.current.as_deref();
        let (mut node, load) = self.classes.common.take_best(&mut of, current, now)?;
        let item = node.item.take()?;
        Some((node, item, load))
    }

    /// The fair class, for its groups and averages.
    pub fn fair(&self) -> &crate::fair::Fair<T> {
        &self.classes.common
    }

    /// As [`fair`](Self::fair), to change.
    pub fn fair_mut(&mut self) -> &mut crate::fair::Fair<T> {
        &mut self.classes.common
    }

    /// The real-time class, for its bandwidth.
    pub fn realtime(&self) -> &crate::rt::Realtime<T> {
        &self.classes.above.rest.rest.first
    }

    /// As [`realtime`](Self::realtime), to change.
    pub fn realtime_mut(&mut self) -> &mut crate::rt::Realtime<T> {
        &mut self.classes.above.rest.rest.first
    }

    /// The deadline class, for its bandwidth.
    pub fn deadline(&self) -> &crate::dl::Deadline<T> {
        &self.classes.above.rest.first
    }

    /// As [`deadline`](Self::deadline), to change.
    pub fn deadline_mut(&mut self) -> &mut crate::dl::Deadline<T> {
        &mut self.classes.above.rest.first
    }
}
