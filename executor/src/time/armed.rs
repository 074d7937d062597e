//! What timers a CPU has armed, for who looks into it.

use core::fmt;

use super::{Instant, heap::Key, queue::Action};
use crate::raw::CpuShared;

/// What happens when a timer expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// Nothing any more.
    Nothing,
    /// A task is woken.
    Wake,
    /// The function at this address is called.
    Call(usize),
}

/// An armed timer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Armed {
    key: Key,
    /// What happens then.
    pub expiry: Expiry,
}

impl Armed {
    /// What a place holds that no timer has taken yet.
    pub const NONE: Self = Self {
        key: (Instant::from_ns(0), 0),
        expiry: Expiry::Nothing,
    };

    /// When it expires.
    pub fn deadline(&self) -> Instant {
        self.key.0
    }
}

impl fmt::Debug for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Armed")
            .field("deadline", &self.key.0)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// Fills `into` with the timers of CPU `cpu` that expire first, in their order: all there are, or those after `last` of a
/// call before. Gives how many there are of them; fewer than fit means that there are no more.
///
/// # Context
/// Any. Holds the CPU's queue, with interrupts off, for as long as it takes to look at every timer: for the curious only.
pub fn armed(cpu: u32, last: Option<&Armed>, into: &mut [Armed]) -> usize {
    let Some(shared) = CpuShared::of(cpu) else {
        return 0;
    };
    let inner = shared.timers().inner.lock();
    let mut found = 0;
    // SAFETY: the queue is locked.
    unsafe {
        inner.heap.each(|node| {
            let timer = node.as_ref();
            let key = timer.links().key;
            let seen = last.is_some_and(|last| key <= last.key);
            let place = into[..found].partition_point(|other| other.key < key);
            if seen || place == into.len() {
                return;
            }
            // The last one falls out where there is no room.
            found = (found + 1).min(into.len());
            into[place..found].rotate_right(1);
            let expiry = match &timer.body().action {
                Action::None => Expiry::Nothing,
                Action::Wake(_) => Expiry::Wake,
                Action::Call(call, _) => Expiry::Call(*call as usize),
            };
            into[place] = Armed { key, expiry };
        });
    }
    found
}
