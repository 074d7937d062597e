//! The frames that page tables are made of.
//!
//! A table that is freed is empty, a root has the kernel's half and nothing else. So both are kept, a few per CPU, and used
//! again as they are, which saves clearing them.
#![allow(unsafe_code, reason = "fills and checks frames through the direct map")]

use super::{ENTRIES, Entry, Table};
use crate::mm::frame::{Gfp, alloc_zeroed, frame, put, state};
use crate::mm::percpu;
use crate::mm::phys::Pfn;
use core::sync::atomic::{AtomicU32, Ordering::*};

const KEEP: usize = 24;
const KEEP_ROOTS: usize = 4;

/// A CPU's empty tables.
#[derive(Debug)]
pub struct TableStacks {
    tables: [Pfn; KEEP],
    len: usize,
    roots: [Pfn; KEEP_ROOTS],
    roots_len: usize,
}

impl TableStacks {
    pub(in crate::mm) const fn new() -> Self {
        Self {
            tables: [Pfn(0); KEEP],
            len: 0,
            roots: [Pfn(0); KEEP_ROOTS],
            roots_len: 0,
        }
    }
}

/// The kernel's top table, whose upper half every root copies. Fixed at boot.
static KERNEL_ROOT: AtomicU32 = AtomicU32::new(0);

/// Says where the kernel's top table is. Context: boot.
pub fn set_kernel_root(root: Pfn) {
    KERNEL_ROOT.store(root.0, Relaxed);
}

/// The kernel's top table.
pub fn kernel_root() -> Pfn {
    Pfn(KERNEL_ROOT.load(Relaxed))
}

/// A frame of zeros for a table.
#[inline]
pub(super) fn alloc() -> Option<Pfn> {
    let kept = percpu::with(|cpu| {
        let stack = &mut cpu.tables;
        stack.len = stack.len.checked_sub(1)?;
        stack.tables.get(stack.len).copied()
    });
    let pfn = match kept {
        Some(pfn) => pfn,
        None => {
            // A program may ask for any number of them, by reading far and wide.
            let pfn = alloc_zeroed(Gfp::USER)?;
            frame(pfn).set_state(state::TABLE);
            pfn
        }
    };
    if cfg!(debug_assertions) {
        assert_empty(pfn, ENTRIES);
    }
    Some(pfn)
}

/// Takes back an empty table that no CPU uses any more.
#[inline]
pub fn free(pfn: Pfn) {
    if cfg!(debug_assertions) {
        assert_empty(pfn, ENTRIES);
    }
    let kept = percpu::with(|cpu| {
        let stack = &mut cpu.tables;
        let Some(slot) = stack.tables.get_mut(stack.len) else {
            return false;
        };
        *slot = pfn;
        stack.len += 1;
        true
    });
    if !kept {
        frame(pfn).set_state(state::PLAIN);
        put(pfn);
    }
}

/// A top table with the kernel's half.
pub(super) fn alloc_root() -> Option<Pfn> {
    let kept = percpu::with(|cpu| {
        let stack = &mut cpu.tables;
        stack.roots_len = stack.roots_len.checked_sub(1)?;
        stack.roots.get(stack.roots_len).copied()
    });
    if let Some(root) = kept {
        if cfg!(debug_assertions) {
            assert_empty(root, ENTRIES / 2);
        }
        return Some(root);
    }
    let root = alloc_zeroed(Gfp::USER)?;
    frame(root).set_state(state::TABLE);
    let kernel = kernel_root();
    if kernel != Pfn(0) {
        let half = ENTRIES / 2;
        for (to, from) in entries(root)[half..].iter().zip(&entries(kernel)[half..]) {
            to.set(from.get());
        }
    }
    Some(root)
}

/// Takes back a top table whose user half is empty and that no CPU has loaded.
pub(super) fn free_root(root: Pfn) {
    if cfg!(debug_assertions) {
        assert_empty(root, ENTRIES / 2);
    }
    let kept = percpu::with(|cpu| {
        let stack = &mut cpu.tables;
        let Some(slot) = stack.roots.get_mut(stack.roots_len) else {
            return false;
        };
        *slot = root;
        stack.roots_len += 1;
        true
    });
    if !kept {
        frame(root).set_state(state::PLAIN);
        put(root);
    }
}

fn entries<'a>(pfn: Pfn) -> &'a Table {
    // SAFETY: both callers pass frames that hold page tables, whose entries are atomics, for as long as they look.
    unsafe { &*pfn.virt().cast::<Table>() }
}

fn assert_empty(pfn: Pfn, count: usize) {
    let values = || entries(pfn)[..count].iter().map(Entry::get).enumerate();
    if let Some((index, pte)) = values().find(|(_, pte)| !pte.is_none()) {
        let used = values().filter(|(_, pte)| !pte.is_none()).count();
        panic!(
            "page table {pfn:?} is not empty: {used} entries, the first at {index}: {:#x}",
            pte.0
        );
    }
}
