//! Waiting real-time tasks by priority: a bitmap of the priorities that have any, and a list for each.
//!
//! A list is a tree by order of arrival, since the node of a task must be taken out of the middle too, and an owned list
//! has no way back. Its first one stands in front, so a list of one or two needs no descent.

use alloc::boxed::Box;

use crate::node::Node;
use crate::tree::{Key, Tree};

/// Priorities 1 to 99, and 0, which nobody has.
const LEVELS: usize = 100;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Array<T> {
    /// Bit p is set where a task of priority p waits.
    bits: u128,
    lists: [Tree<T>; LEVELS],
    /// Where the next one goes that comes at the head of its list.
    head: i64,
    /// Where the next one goes that comes at the tail.
    tail: i64,
}

impl<T> Default for Array<T> {
    fn default() -> Self {
        Self {
            bits: 0,
            lists: core::array::from_fn(|_| Tree::new()),
            head: -1,
            tail: 0,
        }
    }
}

impl<T> Array<T> {
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// The highest priority that waits; 0 where nothing does.
    #[inline]
    pub fn top(&self) -> u8 {
        // 0 to 99.
        127u32.saturating_sub(self.bits.leading_zeros()) as u8
    }

    /// Whether a task of just this priority waits.
    pub fn has(&self, priority: u8) -> bool {
        self.bits >> priority & 1 != 0
    }

    /// Adds a task at the head or the tail of its priority. The key by which to [remove](Self::remove) it.
    pub fn insert(&mut self, mut node: Box<Node<T>>, priority: u8, at_head: bool) -> Key {
        let (place, step) = if at_head {
            (&mut self.head, -1)
        } else {
            (&mut self.tail, 1)
        };
        let key = Key {
            major: u64::from(priority),
            seq: *place,
        };
        *place += step;
        node.key = key;
        self.bits |= 1 << priority;
        self.lists[usize::from(priority)].insert(node);
        key
    }

    /// Takes the first task of the highest priority.
    pub fn pop(&mut self) -> Option<Box<Node<T>>> {
        let top = self.top();
        let node = self.lists[usize::from(top)].pop_first();
        self.note(top);
        node
    }

    /// Takes the task at `key`.
    pub fn remove(&mut self, key: Key) -> Option<Box<Node<T>>> {
        let priority = key.major as u8;
        let node = self.lists[usize::from(priority)].remove(key);
        self.note(priority);
        node
    }

    /// Takes some task that `matches`.
    pub fn remove_where(
        &mut self,
        matches: &mut dyn FnMut(&Node<T>) -> bool,
    ) -> Option<Box<Node<T>>> {
        let mut bits = self.bits;
        while bits != 0 {
            let priority = 127 - bits.leading_zeros() as u8;
            if let Some(node) = self.lists[usize::from(priority)].remove_where(&mut *matches) {
                self.note(priority);
                return Some(node);
            }
            bits &= !(1 << priority);
        }
        None
    }

    /// Brings the bit of `priority` up to date.
    fn note(&mut self, priority: u8) {
        if self.lists[usize::from(priority)].is_empty() {
            self.bits &= !(1 << priority);
        }
    }

    pub fn for_each(&self, f: &mut dyn FnMut(&Node<T>)) {
        for list in self.lists.iter().rev() {
            list.for_each(&mut *f);
        }
    }
}
