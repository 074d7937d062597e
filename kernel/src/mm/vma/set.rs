//! An ordered set of VMAs that do not overlap.
//!
//! A sorted list in leaves of up to [`LEAF`] VMAs: a search is two binary searches, an insertion moves at most a leaf, and
//! every allocation is small and may fail. A process of ordinary size has one leaf.

use super::{VmFlags, Vma};
use crate::mm::sysctl::max_map_count;
use alloc::vec::Vec;
use core::ops::Range;
use fs::{Errno, Result};

/// The most VMAs in a leaf.
pub(super) const LEAF: usize = 24;

/// Where a VMA is in the set; stale after any change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    leaf: usize,
    slot: usize,
}

/// The VMAs of an address space, in the order of their addresses.
#[derive(Default)]
pub struct VmaSet {
    /// Never empty ones.
    pub(super) leaves: Vec<Vec<Vma>>,
    len: usize,
    /// Where the last search ended.
    hint: Position,
}

impl VmaSet {
    /// An empty set.
    pub const fn new() -> Self {
        Self {
            leaves: Vec::new(),
            len: 0,
            hint: Position { leaf: 0, slot: 0 },
        }
    }

    /// How many VMAs there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The position of the first VMA that ends behind `address`.
    pub fn lower_bound(&self, address: u64) -> Position {
        let leaf = self
            .leaves
            .partition_point(|leaf| leaf.last().is_none_or(|vma| vma.end <= address));
        let slot = self
            .leaves
            .get(leaf)
            .map_or(0, |vmas| vmas.partition_point(|vma| vma.end <= address));
        Position { leaf, slot }
    }

    /// The VMA at a position.
    #[inline]
    pub fn at(&self, position: Position) -> Option<&Vma> {
        self.leaves.get(position.leaf)?.get(position.slot)
    }

    /// The VMA at a position, to change its flags.
    #[inline]
    pub fn at_mut(&mut self, position: Position) -> Option<&mut Vma> {
        self.leaves.get_mut(position.leaf)?.get_mut(position.slot)
    }

    /// The position after this one.
    pub fn next(&self, position: Position) -> Position {
        match self.leaves.get(position.leaf) {
            Some(leaf) if position.slot + 1 < leaf.len() => Position {
                slot: position.slot + 1,
                ..position
            },
            _ => Position {
                leaf: position.leaf + 1,
                slot: 0,
            },
        }
    }

    /// The position before this one.
    pub fn previous(&self, position: Position) -> Option<Position> {
        if position.slot > 0 {
            return Some(Position {
                slot: position.slot - 1,
                ..position
            });
        }
        let leaf = position.leaf.checked_sub(1)?;
        Some(Position {
            leaf,
            slot: self.leaves[leaf].len() - 1,
        })
    }

    /// The position of the VMA that contains `address`; remembers it for the next search.
    #[inline]
    pub fn find(&mut self, address: u64) -> Option<Position> {
        if self.at(self.hint).is_some_and(|vma| vma.contains(address)) {
            return Some(self.hint);
        }
        let found = self.lower_bound(address);
        self.at(found)?.contains(address).then(|| {
            self.hint = found;
            found
        })
    }

    /// The VMA that contains `address`.
    pub fn get(&self, address: u64) -> Option<&Vma> {
        self.at(self.lower_bound(address))
            .filter(|vma| vma.contains(address))
    }

    /// The VMAs from the first that ends behind `address`, in order.
    pub fn iter_from(&self, address: u64) -> impl Iterator<Item = &Vma> {
        let from = self.lower_bound(address);
        let first = self
            .leaves
            .get(from.leaf)
            .map_or(&[][..], |leaf| &leaf[from.slot..]);
        let rest = self.leaves.get(from.leaf + 1..).unwrap_or(&[]);
        first.iter().chain(rest.iter().flatten())
    }

    /// All VMAs, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.leaves.iter().flatten()
    }

    /// The VMAs that have bytes in `range`, in order.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = &Vma> {
        self.iter_from(range.start)
            .take_while(move |vma| vma.start < range.end)
    }

    /// Whether all of `range` is mapped.
    pub fn covers(&self, range: Range<u64>) -> bool {
        let mut at = range.start;
        for vma in self.overlapping(range.clone()) {
            if vma.start > at {
                return false;
            }
            at = vma.end;
        }
        at >= range.end
    }

    /// Adds a VMA where nothing is, joined with its neighbours if they match.
    ///
    /// # Errors
    /// `ENOMEM` where there are too many, or there is no memory.
    pub fn insert(&mut self, vma: Vma) -> Result<()> {
        let at = self.lower_bound(vma.start);
        debug_assert!(
            self.at(at).is_none_or(|next| vma.end <= next.start),
            "VMAs overlap"
        );
        if let Some(previous) = self.previous(at)
            && let Some(before) = self.at_mut(previous)
            && before.merges_with(&vma)
        {
            before.end = vma.end;
            before.flags |= vma.flags & VmFlags::MERGE_IGNORES;
            self.merge_next(previous);
            return Ok(());
        }
        if let Some(after) = self.at_mut(at)
            && vma.merges_with(after)
        {
            after.start = vma.start;
            after.pgoff = vma.pgoff;
            after.flags |= vma.flags & VmFlags::MERGE_IGNORES;
            return Ok(());
        }
        if self.len >= max_map_count() {
            return Err(Errno::ENOMEM);
        }
        self.insert_at(at, vma)
    }

    /// Adds a VMA behind all others, as it is: for copying a set.
    pub fn push(&mut self, vma: Vma) -> Result<()> {
        let end = match self.leaves.last() {
            Some(leaf) => Position {
                leaf: self.leaves.len() - 1,
                slot: leaf.len(),
            },
            None => Position::default(),
        };
        self.insert_at(end, vma)
    }

    fn insert_at(&mut self, at: Position, vma: Vma) -> Result<()> {
        let Position { mut leaf, mut slot } = at;
        if leaf == self.leaves.len() {
            // Behind the last VMA: into the last leaf, if there is one.
            if let Some(last) = leaf.checked_sub(1) {
                leaf = last;
                slot = self.leaves[last].len();
            } else {
                self.leaves.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.leaves.push(new_leaf()?);
            }
        }
        if self.leaves[leaf].len() == LEAF {
            self.leaves.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let mut upper = new_leaf()?;
            // A full last leaf that is being appended to stays full.
            let cut = if slot == LEAF { LEAF } else { LEAF / 2 };
            upper.extend(self.leaves[leaf].drain(cut..));
            self.leaves.insert(leaf + 1, upper);
            if slot > cut || cut == LEAF {
                leaf += 1;
                slot -= cut;
            }
        }
        self.leaves[leaf].insert(slot, vma);
        self.len += 1;
        Ok(())
    }

    /// Removes the VMA at a position.
    pub fn remove(&mut self, at: Position) -> Option<Vma> {
        let leaf = self.leaves.get_mut(at.leaf)?;
        if at.slot >= leaf.len() {
            return None;
        }
        let vma = leaf.remove(at.slot);
        if leaf.is_empty() {
            self.leaves.remove(at.leaf);
        }
        self.len -= 1;
        Some(vma)
    }

    /// Makes `address` the boundary of two VMAs if it lies inside one.
    ///
    /// # Errors
    /// `ENOMEM` where there is no memory. The limit on their number is the caller's to check.
    pub fn split(&mut self, address: u64) -> Result<()> {
        let at = self.lower_bound(address);
        let Some(vma) = self.at(at).filter(|vma| vma.start < address) else {
            return Ok(());
        };
        let upper = Vma {
            start: address,
            pgoff: vma.index_of(address),
            ..vma.clone()
        };
        self.insert_at(
            Position {
                slot: at.slot + 1,
                ..at
            },
            upper,
        )?;
        // The insertion may have moved it to another leaf.
        let at = self.lower_bound(address - 1);
        if let Some(lower) = self.at_mut(at) {
            lower.end = address;
        }
        Ok(())
    }

    /// Joins the VMA at a position with the next one if they match.
    fn merge_next(&mut self, at: Position) -> bool {
        let next = self.next(at);
        let (Some(vma), Some(after)) = (self.at(at), self.at(next)) else {
            return false;
        };
        if !vma.merges_with(after) {
            return false;
        }
        let (end, flags) = (after.end, after.flags & VmFlags::MERGE_IGNORES);
        if let Some(vma) = self.at_mut(at) {
            vma.end = end;
            vma.flags |= flags;
        }
        self.remove(next);
        true
    }

    /// Joins all matching neighbours that touch `range`.
    pub fn merge(&mut self, range: Range<u64>) {
        let mut at = self.lower_bound(range.start);
        at = self.previous(at).unwrap_or(at);
        while self.at(at).is_some_and(|vma| vma.end <= range.end) {
            if !self.merge_next(at) {
                at = self.next(at);
            }
        }
    }

    /// Calls `f` on each VMA inside `range`, whose ends are boundaries, then joins what matches.
    pub fn update(&mut self, range: Range<u64>, mut f: impl FnMut(&mut Vma)) {
        let mut at = self.lower_bound(range.start);
        while let Some(vma) = self.at_mut(at).filter(|vma| vma.start < range.end) {
            f(vma);
            at = self.next(at);
        }
        self.merge(range);
    }
}

fn new_leaf() -> Result<Vec<Vma>> {
    let mut leaf = Vec::new();
    leaf.try_reserve_exact(LEAF).map_err(|_| Errno::ENOMEM)?;
    Ok(leaf)
}
