//! Loops that are always ready, and make way all the same.

use core::{future::Future, num::NonZeroU32};

use crate::{
    cpu,
    yield_now::{preempted, yield_now},
};

/// What a task may do before it lets others run: for a loop whose awaits may all be ready at once, as a queue's that is filled
/// faster than it is emptied, and which would keep its CPU for ever where polls are not preempted (bottom halves, hosts).
///
/// ```
/// use executor::{Budget, platform::host, spawn, sync::channel};
///
/// let seen = host::block_on(async {
///     let (send, receive) = channel(1000);
///     (0..1000).for_each(|i| send.try_send(i).unwrap());
///     drop(send);
///     let drains = spawn("drains", async move {
///         let mut budget = Budget::new(64);
///         let mut seen = 0;
///         while receive.recv().await.is_some() {
///             seen += 1;
///             budget.spend(1).await; // yields after 64 of them, or when others are to run
///         }
///         seen
///     });
///     drains.await
/// });
/// assert_eq!(seen, Ok(1000));
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    each_turn: NonZeroU32,
    left: u32,
}

impl Budget {
    /// One of `each_turn` units, whatever they are, for each turn.
    ///
    /// # Panics
    /// If that is none.
    pub const fn new(each_turn: u32) -> Self {
        let each_turn = NonZeroU32::new(each_turn).expect("a turn has something to spend");
        Self {
            each_turn,
            left: each_turn.get(),
        }
    }

    /// Spends `units`. If nothing is left, or another task is to run, that has its turn first, and the budget is whole again.
    ///
    /// # Context
    /// Task or softirq.
    /// # Cancel safety
    /// What was spent stays spent.
    pub fn spend(&mut self, units: u32) -> impl Future<Output = ()> + use<> {
        self.left = self.left.saturating_sub(units);
        let turn = if self.left == 0 {
            Some(yield_now())
        } else if cpu::need_resched() {
            Some(preempted())
        } else {
            None
        };
        if turn.is_some() {
            self.left = self.each_turn.get();
        }
        async move {
            if let Some(turn) = turn {
                turn.await;
            }
        }
    }

    /// What is left for this turn.
    pub const fn left(&self) -> u32 {
        self.left
    }
}
