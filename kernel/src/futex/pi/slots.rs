//! Places for values, named by number, that are made ahead of their use.

use alloc::vec::Vec;

enum Slot<T> {
    Used(T),
    /// The next free one.
    Free(Option<u32>),
}

/// Values by number. Numbers of values that are gone are used again.
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Option<u32>,
    used: usize,
}

/// Memory for more values than there is room for, made with no lock held.
pub struct Spare<T>(Vec<Slot<T>>);

impl<T> Spare<T> {
    /// Room for `count` values; `None` where memory is short.
    pub fn new(count: usize) -> Option<Self> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).ok()?;
        Some(Self(slots))
    }
}

impl<T> Slots<T> {
    /// None.
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: None,
            used: 0,
        }
    }

    /// How large a [`Spare`] is wanted before `more` values go in; 0 if they fit.
    pub fn wanted(&self, more: usize) -> usize {
        let need = self.used + more;
        if need <= self.slots.capacity() {
            0
        } else {
            need.next_power_of_two().max(16)
        }
    }

    /// Moves over to `spare` if it is larger; gives back what is to be freed with no lock held.
    pub fn grow(&mut self, mut spare: Spare<T>) -> Spare<T> {
        if spare.0.capacity() > self.slots.capacity() {
            spare.0.append(&mut self.slots);
            core::mem::swap(&mut self.slots, &mut spare.0);
        }
        spare
    }

    /// Puts a value in. There is room for it, as [`wanted`](Self::wanted) has said.
    pub fn insert(&mut self, value: T) -> u32 {
        self.used += 1;
        let Some(at) = self.free else {
            debug_assert!(self.slots.len() < self.slots.capacity());
            self.slots.push(Slot::Used(value));
            return (self.slots.len() - 1) as u32;
        };
        let Slot::Free(next) = core::mem::replace(&mut self.slots[at as usize], Slot::Used(value))
        else {
            unreachable!("the chain holds free slots");
        };
        self.free = next;
        at
    }

    /// Takes the value with this number out.
    pub fn remove(&mut self, at: u32) -> T {
        let free = Slot::Free(self.free.replace(at));
        self.used -= 1;
        match core::mem::replace(&mut self.slots[at as usize], free) {
            Slot::Used(value) => value,
            Slot::Free(_) => unreachable!("numbers stand for values"),
        }
    }

    /// Values that are in.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.used
    }
}

impl<T> core::ops::Index<u32> for Slots<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        match &self.slots[at as usize] {
            Slot::Used(value) => value,
            Slot::Free(_) => unreachable!("numbers stand for values"),
        }
    }
}

impl<T> core::ops::IndexMut<u32> for Slots<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        match &mut self.slots[at as usize] {
            Slot::Used(value) => value,
            Slot::Free(_) => unreachable!("numbers stand for values"),
        }
    }
}
