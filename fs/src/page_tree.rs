//! An ordered map from page index to page: a radix tree of 64-way nodes.
//!
//! A file of one page needs no node at all. Nodes are allocated fallibly, since how many a file takes is its
//! writer's choice, and freed when they empty.

use alloc::vec::Vec;
use core::ops::Range;

use crate::page::Page;
use crate::{Errno, Result};

const BITS: u32 = 6;
const FAN: usize = 1 << BITS;

enum Entry {
    Empty,
    Page(Page),
    /// Exactly [`FAN`] entries.
    Node(Vec<Entry>),
}

impl Entry {
    fn take(&mut self) -> Entry {
        core::mem::replace(self, Entry::Empty)
    }

    fn is_empty(&self) -> bool {
        matches!(self, Entry::Empty)
    }
}

fn new_node() -> Result<Vec<Entry>> {
    let mut node = Vec::new();
    node.try_reserve_exact(FAN).map_err(|_| Errno::ENOMEM)?;
    node.resize_with(FAN, || Entry::Empty);
    Ok(node)
}

/// Splits `index` below `height` levels into the slot at the top one and the rest.
#[inline]
fn slot(index: u64, height: u32) -> (usize, u64) {
    let shift = BITS * (height - 1);
    ((index >> shift) as usize, index & ((1 << shift) - 1))
}

/// The map. Indices are below 2^60.
pub struct PageTree {
    root: Entry,
    /// Levels of nodes; with none, the root is the page of index 0.
    height: u32,
}

impl Default for PageTree {
    fn default() -> Self {
        PageTree::new()
    }
}

impl PageTree {
    /// Makes an empty tree.
    pub const fn new() -> PageTree {
        PageTree {
            root: Entry::Empty,
            height: 0,
        }
    }

    /// Tells whether `index` lies in the range the present height covers.
    #[inline]
    fn covers(&self, index: u64) -> bool {
        index >> (BITS * self.height) == 0
    }

    /// Returns the page at `index`.
    #[inline]
    pub fn get(&self, index: u64) -> Option<&Page> {
        if !self.covers(index) {
            return None;
        }
        let (mut entry, mut height, mut index) = (&self.root, self.height, index);
        loop {
            match entry {
                Entry::Empty => return None,
                Entry::Page(page) => return Some(page),
                Entry::Node(node) => {
                    let (at, rest) = slot(index, height);
                    (entry, height, index) = (&node[at], height - 1, rest);
                }
            }
        }
    }

    /// Puts `page` at `index`, where none is.
    ///
    /// # Errors
    /// `ENOMEM`; the tree is as before.
    pub fn insert(&mut self, index: u64, page: Page) -> Result<()> {
        while !self.covers(index) {
            if !self.root.is_empty() {
                let mut node = new_node()?;
                node[0] = self.root.take();
                self.root = Entry::Node(node);
            }
            self.height += 1;
        }
        let (mut entry, mut height, mut index) = (&mut self.root, self.height, index);
        while height > 0 {
            if entry.is_empty() {
                // An empty node left behind by a failure further down is found and used by the next insertion.
                *entry = Entry::Node(new_node()?);
            }
            let Entry::Node(node) = entry else {
                unreachable!("pages sit at height 0")
            };
            let (at, rest) = slot(index, height);
            (entry, height, index) = (&mut node[at], height - 1, rest);
        }
        debug_assert!(entry.is_empty(), "page inserted twice");
        *entry = Entry::Page(page);
        Ok(())
    }

    /// Takes out the page at `index`.
    pub fn remove(&mut self, index: u64) -> Option<Page> {
        if !self.covers(index) {
            return None;
        }
        let page = remove(&mut self.root, self.height, index);
        if self.root.is_empty() {
            self.height = 0;
        }
        page
    }

    /// Returns the first page at or after `index`.
    pub fn next(&self, index: u64) -> Option<(u64, &Page)> {
        if !self.covers(index) {
            None
        } else {
            next(&self.root, self.height, index)
        }
    }

    /// Calls `f` with each page of a range and its index, in order.
    pub fn for_each(&self, range: Range<u64>, f: &mut dyn FnMut(u64, &Page)) {
        if range.start < range.end && self.covers(range.start) {
            for_each(&self.root, self.height, 0, &range, f);
        }
    }

    /// Returns the first index at or after `index` that has no page.
    pub fn next_hole(&self, index: u64) -> u64 {
        if !self.covers(index) {
            return index;
        }
        next_hole(&self.root, self.height, index).unwrap_or(1 << (BITS * self.height))
    }

    /// Takes out every page at or after `index`, as a tree of its own with the same indices.
    pub fn split_off(&mut self, index: u64) -> PageTree {
        if !self.covers(index) {
            return PageTree::new();
        }
        let height = self.height;
        let root = split(&mut self.root, height, index);
        if self.root.is_empty() {
            self.height = 0;
        }
        PageTree { root, height }
    }

    /// Counts the pages.
    pub fn count(&self) -> u64 {
        fn count(entry: &Entry) -> u64 {
            match entry {
                Entry::Empty => 0,
                Entry::Page(_) => 1,
                Entry::Node(node) => node.iter().map(count).sum(),
            }
        }
        count(&self.root)
    }
}

fn remove(entry: &mut Entry, height: u32, index: u64) -> Option<Page> {
    if height == 0 {
        return match entry.take() {
            Entry::Page(page) => Some(page),
            _ => None,
        };
    }
    let Entry::Node(node) = entry else {
        return None;
    };
    let (at, rest) = slot(index, height);
    let page = remove(&mut node[at], height - 1, rest)?;
    if node.iter().all(Entry::is_empty) {
        *entry = Entry::Empty;
    }
    Some(page)
}

fn next(entry: &Entry, height: u32, index: u64) -> Option<(u64, &Page)> {
    match entry {
        Entry::Empty => None,
        Entry::Page(page) => Some((0, page)),
        Entry::Node(node) => {
            let (at, mut rest) = slot(index, height);
            let base = |at: usize| (at as u64) << (BITS * (height - 1));
            for (at, entry) in node.iter().enumerate().skip(at) {
                if let Some((found, page)) = next(entry, height - 1, rest) {
                    return Some((base(at) + found, page));
                }
                rest = 0;
            }
            None
        }
    }
}

/// `base` is the index of the first page beneath `entry`; some of the range lies beneath it.
fn for_each(
    entry: &Entry,
    height: u32,
    base: u64,
    range: &Range<u64>,
    f: &mut dyn FnMut(u64, &Page),
) {
    match entry {
        Entry::Empty => {}
        Entry::Page(page) => f(base, page),
        Entry::Node(node) => {
            let shift = BITS * (height - 1);
            let first = range.start.saturating_sub(base) >> shift;
            let last = ((range.end - 1 - base) >> shift).min(FAN as u64 - 1);
            for (at, entry) in (first..).zip(&node[first as usize..=last as usize]) {
                for_each(entry, height - 1, base + (at << shift), range, f);
            }
        }
    }
}

fn next_hole(entry: &Entry, height: u32, index: u64) -> Option<u64> {
    match entry {
        Entry::Empty => Some(index),
        Entry::Page(_) => None,
        Entry::Node(node) => {
            let (at, mut rest) = slot(index, height);
            for (at, entry) in node.iter().enumerate().skip(at) {
                if let Some(found) = next_hole(entry, height - 1, rest) {
                    return Some(((at as u64) << (BITS * (height - 1))) + found);
                }
                rest = 0;
            }
            None
        }
    }
}

fn split(entry: &mut Entry, height: u32, index: u64) -> Entry {
    if index == 0 {
        return entry.take();
    }
    let Entry::Node(node) = entry else {
        return Entry::Empty;
    };
    let (at, rest) = slot(index, height);
    let tail = split(&mut node[at], height - 1, rest);
    let tail = if tail.is_empty() && node[at + 1..].iter().all(Entry::is_empty) {
        Entry::Empty
    } else if let Ok(mut other) = new_node() {
        other[at] = tail;
        for (to, from) in other[at + 1..].iter_mut().zip(&mut node[at + 1..]) {
            *to = from.take();
        }
        Entry::Node(other)
    } else {
        // No memory to carry them off in: free them here and now.
        node[at + 1..].fill_with(|| Entry::Empty);
        Entry::Empty
    };
    if node.iter().all(Entry::is_empty) {
        *entry = Entry::Empty;
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Remove(u64),
        Split(u64),
        Next(u64),
        Hole(u64),
    }

    fn index() -> impl Strategy<Value = u64> {
        prop_oneof![
            0u64..4,
            0u64..200,
            4000u64..4200,
            (1u64 << 50)..(1 << 50) + 4
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => index().prop_map(Op::Insert),
            2 => index().prop_map(Op::Remove),
            1 => index().prop_map(Op::Split),
            2 => index().prop_map(Op::Next),
            2 => index().prop_map(Op::Hole),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_an_ordered_map(ops in prop::collection::vec(op(), 1..120)) {
            let mut tree = PageTree::new();
            let mut model = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Insert(i) => {
                        if tree.get(i).is_none() {
                            let page = Page::alloc().unwrap();
                            model.insert(i, page.pfn());
                            tree.insert(i, page).unwrap();
                        }
                    }
                    Op::Remove(i) => {
                        prop_assert_eq!(tree.remove(i).map(|p| p.pfn()), model.remove(&i));
                    }
                    Op::Split(i) => {
                        let tail = tree.split_off(i);
                        let cut = model.split_off(&i);
                        prop_assert_eq!(tail.count(), cut.len() as u64);
                        for (i, pfn) in cut {
                            prop_assert_eq!(tail.get(i).map(Page::pfn), Some(pfn));
                        }
                    }
                    Op::Next(i) => {
                        let found = tree.next(i).map(|(i, p)| (i, p.pfn()));
                        prop_assert_eq!(found, model.range(i..).next().map(|(i, p)| (*i, *p)));
                        let mut seen = Vec::new();
                        tree.for_each(i..i + 150, &mut |i, page| seen.push((i, page.pfn())));
                        let there: Vec<_> = model.range(i..i + 150).map(|(i, p)| (*i, *p)).collect();
                        prop_assert_eq!(seen, there);
                    }
                    Op::Hole(i) => {
                        let hole = (i..).find(|i| !model.contains_key(i)).unwrap();
                        prop_assert_eq!(tree.next_hole(i), hole);
                    }
                }
                prop_assert_eq!(tree.count(), model.len() as u64);
            }
            for (i, pfn) in &model {
                prop_assert_eq!(tree.get(*i).map(Page::pfn), Some(*pfn));
            }
        }
    }
}
