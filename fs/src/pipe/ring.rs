//! The ring of page pieces inside a pipe.

use alloc::vec::Vec;

use super::Slots;
use crate::iobuf::{Sink, Source};
use crate::page::{PAGE_SIZE, Page};
use crate::{Errno, Result};

/// A piece of a page with bytes in it.
pub(crate) struct Slot {
    page: Page,
    start: u16,
    end: u16,
    packet: bool,
    /// The page is the pipe's own, so that more may be written behind the bytes.
    own: bool,
}

impl Slot {
    /// Makes a slot of the first `len` bytes of a page that nobody else has.
    pub(crate) fn new(page: Page, len: usize, packet: bool) -> Slot {
        Slot {
            page,
            start: 0,
            end: len as u16,
            packet,
            own: true,
        }
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn is_packet(&self) -> bool {
        self.packet
    }

    /// Returns how many bytes may be written behind those there are.
    pub(crate) fn room(&self) -> usize {
        if self.own && !self.packet {
            PAGE_SIZE - usize::from(self.end)
        } else {
            0
        }
    }

    /// Moves up to `len` bytes to `sink`.
    pub(crate) fn put_to(&mut self, len: usize, sink: &mut dyn Sink) -> usize {
        let start = usize::from(self.start);
        let moved = self.page.put_to(start..start + len.min(self.len()), sink);
        self.start += moved as u16;
        moved
    }

    /// Moves up to `len` bytes from `source`.
    pub(crate) fn take_from(&mut self, len: usize, source: &mut dyn Source) -> usize {
        let end = usize::from(self.end);
        let moved = self.page.take_from(end..end + len.min(self.room()), source);
        self.end += moved as u16;
        moved
    }

    /// Makes another slot of the first `len` bytes; neither may be written behind any more.
    pub(crate) fn share(&mut self, len: usize) -> Slot {
        self.own = false;
        let end = self.start + len.min(self.len()) as u16;
        Slot {
            page: self.page.clone(),
            start: self.start,
            end,
            packet: self.packet,
            own: false,
        }
    }

    /// Drops the first `len` bytes.
    pub(crate) fn advance(&mut self, len: usize) {
        self.start += len.min(self.len()) as u16;
    }
}

/// A bounded queue of slots.
pub(crate) struct Ring {
    slots: Slots,
    head: usize,
    used: usize,
}

fn new_slots(count: usize) -> Result<Slots> {
    let mut slots = Vec::new();
    slots.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    slots.resize_with(count, || None);
    Ok(slots.into_boxed_slice())
}

impl Ring {
    /// Makes a ring of `count` slots, a power of two.
    pub(crate) fn new(count: usize) -> Result<Ring> {
        Ok(Ring {
            slots: new_slots(count)?,
            head: 0,
            used: 0,
        })
    }

    fn index(&self, at: usize) -> usize {
        (self.head + at) & (self.slots.len() - 1)
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used == self.slots.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.iter().flatten().map(Slot::len).sum()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Slot> {
        self.slots[self.head].as_mut()
    }

    pub(crate) fn back_mut(&mut self) -> Option<&mut Slot> {
        let last = self.index(self.used.checked_sub(1)?);
        self.slots[last].as_mut()
    }

    /// Returns the slot number `at` from the front.
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut Slot> {
        let index = if at < self.used {
            self.index(at)
        } else {
            return None;
        };
        self.slots[index].as_mut()
    }

    /// Adds a slot; there must be room.
    pub(crate) fn push_back(&mut self, slot: Slot) {
        assert!(!self.is_full(), "no slot free in the pipe");
        let at = self.index(self.used);
        self.slots[at] = Some(slot);
        self.used += 1;
    }

    /// Takes the first slot out.
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots[self.head].take()?;
        self.head = self.index(1);
        self.used -= 1;
        Some(slot)
    }

    /// Takes the first slot out and returns its page if it may be written again.
    pub(crate) fn pop_front(&mut self) -> Option<Page> {
        self.pop().filter(|slot| slot.own).map(|slot| slot.page)
    }

    /// Changes the number of slots to another power of two, no less than are used.
    pub(crate) fn resize(&mut self, count: usize) -> Result<()> {
        debug_assert!(count >= self.used && count.is_power_of_two());
        let mut slots = new_slots(count)?;
        let used = self.used;
        for to in slots.iter_mut().take(used) {
            *to = self.pop();
        }
        *self = Ring {
            slots,
            head: 0,
            used,
        };
        Ok(())
    }

    /// Empties the ring; what was in it is the caller's to drop.
    pub(crate) fn take_all(&mut self) -> Option<Slots> {
        if self.used == 0 {
            return None;
        }
        let count = self.slots.len();
        let fresh = match new_slots(count) {
            Ok(fresh) => fresh,
            Err(_) => {
                while self.pop().is_some() {}
                return None;
            }
        };
        (self.head, self.used) = (0, 0);
        Some(core::mem::replace(&mut self.slots, fresh))
    }
}
