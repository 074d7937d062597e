//! One CPU's run queue: the classes in their order.

use alloc::boxed::Box;

use crate::node::Node;
use crate::policy::Policy;
use crate::{fair, rt};

/// Why a task becomes runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// It has just been made.
    New,
    /// What it waited for has happened.
    Event,
    /// It comes from another CPU's queue.
    Migrated,
}

/// How the turn of a task that is still runnable ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Another was to run first, or its slice was over.
    Preempted,
    /// It gave the CPU away by `sched_yield(2)`.
    Yielded,
}

/// The runnable tasks of one CPU but for the running one, in the order in which they are to run.
///
/// Owner CPU only, with preemption off. Times are in ns of one monotonic clock.
#[derive(Debug)]
pub struct RunQueue<T> {
    rt: rt::Queue<T>,
    fair: fair::Queue<T>,
    /// A fair task that has just yielded while others waited. It joins them once one of them was picked, so that a yield
    /// gives way, and between two tasks moves no tree about.
    yielded: Option<Box<Node<T>>>,
    /// When the running task was last charged.
    charged_at: u64,
    /// The running task's round-robin slice ran out: it goes to the tail.
    slice_over: bool,
}

impl<T> Default for RunQueue<T> {
    fn default() -> Self {
        Self {
            rt: rt::Queue::default(),
            fair: fair::Queue::default(),
            yielded: None,
            charged_at: 0,
            slice_over: false,
        }
    }
}

impl<T> RunQueue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tasks that wait to run.
    pub fn len(&self) -> usize {
        self.rt.len() + self.fair.len() + usize::from(self.yielded.is_some())
    }

    /// Whether nothing waits to run.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.fair.is_empty() && self.rt.is_empty() && self.yielded.is_none()
    }

    /// Adds a task that has become runnable. `running` is the node of the task that runs now, if one does; it is
    /// charged first, so that the newcomer is placed against the present. Whether the running task is to make way.
    pub fn enqueue(
        &mut self,
        mut node: Box<Node<T>>,
        item: T,
        why: Wake,
        running: Option<&mut Node<T>>,
        now: u64,
    ) -> bool {
        self.settle_yielded();
        let running = match running {
            Some(r) => {
                self.charge(r, now);
                Some(&*r)
            }
            None => None,
        };
        node.item = Some(item);
        if node.policy.is_realtime() {
            self.rt.insert(node, false);
        } else {
            self.fair.place(
                &mut node,
                running.filter(|r| !r.policy.is_realtime()),
                why == Wake::New,
            );
            self.fair.insert(node);
        }
        running.is_some_and(|r| {
            self.should_preempt(r) || (!r.policy.is_realtime() && self.fair.preempts(r))
        })
    }

    /// Takes the task that is to run next, and starts its turn.
    #[inline(always)]
    pub fn pick(&mut self, now: u64) -> Option<(Box<Node<T>>, T)> {
        let mut node = match self.rt.take_next() {
            Some(node) => node,
            None => match self.fair.take_next() {
                Some(node) => node,
                None => self.yielded.take()?,
            },
        };
        self.settle_yielded();
        self.charged_at = now;
        self.slice_over = false;
        let item = node.item.take().expect("a queued node carries its item");
        Some((node, item))
    }

    /// Ends a turn: charges the task, and where it now `sleeps` notes by how much it was ahead or behind.
    /// A task that does not sleep is [requeued](Self::requeue) next.
    #[inline(always)]
    pub fn end_turn(&mut self, node: &mut Node<T>, sleeps: bool, now: u64) {
        self.charge(node, now);
        if sleeps && !node.policy.is_realtime() {
            self.fair.leave(node);
        }
    }

    /// Puts a task whose turn ended, but which is still runnable, back into the order.
    #[inline(always)]
    pub fn requeue(&mut self, mut node: Box<Node<T>>, item: T, outcome: Outcome) {
        node.item = Some(item);
        if node.policy.is_realtime() {
            let to_head = outcome == Outcome::Preempted && !self.slice_over;
            self.requeue_realtime(node, to_head);
        } else {
            if outcome == Outcome::Yielded {
                // Renounce what is left of the slice: the deadline moves one slice on, as Linux's yield does.
                node.fair.deadline = node
                    .fair
                    .deadline
                    .wrapping_add(node.weight.scale(fair::SLICE_NS));
                if !self.fair.is_empty() {
                    self.settle_yielded();
                    self.yielded = Some(node);
                    return;
                }
            }
            self.fair.insert(node);
        }
    }

    /// Lets the task that yielded wait with the others.
    #[inline]
    fn settle_yielded(&mut self) {
        if let Some(node) = self.yielded.take() {
            self.fair.insert(node);
        }
    }

    #[cold]
    fn requeue_realtime(&mut self, node: Box<Node<T>>, to_head: bool) {
        self.rt.insert(node, to_head);
    }

    /// Charges the running task for the time since it was last charged.
    #[inline(always)]
    pub fn charge(&mut self, running: &mut Node<T>, now: u64) {
        let delta = now.saturating_sub(self.charged_at);
        self.charged_at = now;
        running.sum_exec_ns += delta;
        let over = if running.policy.is_realtime() {
            self.rt.charge(running, delta)
        } else {
            fair::Queue::charge(running, delta)
        };
        self.slice_over |= over;
    }

    /// Whether the running task is to make way for one of a higher class or priority, or because its slice is over and
    /// others wait. Within its slice a fair task makes way only to a newcomer, see [`enqueue`](Self::enqueue). Charge
    /// first.
    pub fn should_preempt(&self, running: &Node<T>) -> bool {
        let top = self.rt.top_priority();
        if running.policy.is_realtime() {
            return top > running.policy.priority()
                || (self.slice_over && top == running.policy.priority());
        }
        top > 0 || (!self.fair.is_empty() && self.slice_over)
    }

    /// Nanoseconds after which the running task's slice is over; `None` while nobody would run instead.
    pub fn slice_left_ns(&self, running: &Node<T>) -> Option<u64> {
        match running.policy {
            Policy::Fifo { .. } => None,
            Policy::RoundRobin { priority } => {
                (self.rt.top_priority() >= priority).then_some(running.rt.slice_ns)
            }
            _ if self.is_empty() => None,
            _ => Some(fair::Queue::slice_left_ns(running).max(1)),
        }
    }

    /// Takes some waiting task that `matches`: to change its attributes, or to move it to another CPU.
    pub fn take_where(
        &mut self,
        matches: impl Fn(&T, &Node<T>) -> bool,
    ) -> Option<(Box<Node<T>>, T)> {
        self.settle_yielded();
        let hit = |n: &Node<T>| n.item.as_ref().is_some_and(|item| matches(item, n));
        let mut node = match self.rt.take_where(hit) {
            Some(node) => node,
            None => {
                let mut node = self.fair.take_where(hit)?;
                self.fair.leave(&mut node);
                node
            }
        };
        let item = node.item.take()?;
        Some((node, item))
    }
}
