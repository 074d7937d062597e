//! Has the instructions that begin and end sections with interrupts or preemption off tell of it, or be quiet again.
//!
//! The executor lists them and knows what takes their place ([`executor::cpu::sites`]); here they are written. All CPUs
//! stand still meanwhile, with interrupts masked, so that none runs what is half written, and each goes on with an
//! instruction that serializes (SDM 3A 9.1.3). Text is read-only, so this CPU's write protection is off while it writes. An
//! NMI's handler holds no such guard, and may come.

#![allow(unsafe_code, reason = "writes instructions")]

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use executor::CpuShared;
use executor::cpu::sites::{self, Instruction};
use executor::sync::SpinLock;
use x86_64::registers::control::{Cr0, Cr0Flags};

use super::{layout, smp};

/// An instruction, where it stands, and what takes its place.
struct Site {
    at: u64,
    quiet: Instruction,
    telling: Instruction,
}

/// The sites while they tell; empty while they are quiet. Held while they are written, so that one CPU does it at a time.
static TELLING: SpinLock<Vec<Site>> = SpinLock::new(Vec::new());

/// Whether sections are being measured.
pub fn are_telling() -> bool {
    !TELLING.lock().is_empty()
}

/// Begins to measure sections and polls, from nothing, or stops it.
///
/// # Context
/// Task. All CPUs stand still for some hundred microseconds.
///
/// # Errors
/// `ENOMEM`, and all is as it was.
pub fn set_telling(on: bool) -> fs::Result<()> {
    let mut found = Vec::new();
    if on {
        found
            .try_reserve_exact(entries().len())
            .map_err(|_| fs::Errno::ENOMEM)?;
    }
    let mut telling = TELLING.lock();
    let written = match (on, telling.is_empty()) {
        (true, true) => {
            find(&mut found);
            stand_still(&found, |site| &site.telling, true);
            core::mem::replace(&mut *telling, found)
        }
        (false, false) => {
            let sites = core::mem::take(&mut *telling);
            stand_still(&sites, |site| &site.quiet, false);
            sites
        }
        // It is so already: only the figures begin anew.
        _ => {
            stand_still(&[], |site| &site.quiet, on);
            Vec::new()
        }
    };
    drop(telling);
    // Where nothing is locked.
    drop(written);
    Ok(())
}

/// The linker's list: how far each instruction stands from its entry.
fn entries() -> &'static [i32] {
    let range = layout::cpu_sites();
    let len = (range.end - range.start) as usize / size_of::<i32>();
    // SAFETY: the section is part of the image, of whole entries, and nothing writes to it.
    unsafe { core::slice::from_raw_parts(range.start as *const i32, len) }
}

/// Finds all the sites, which are quiet, for which there is room in `found`.
///
/// # Context
/// The lock is held.
fn find(found: &mut Vec<Site>) {
    for distance in entries() {
        let entry = core::ptr::from_ref(distance) as u64;
        let at = entry.wrapping_add_signed((*distance).into());
        if !layout::text().contains(&at) {
            continue;
        }
        let len = (layout::text().end - at).min(sites::MAX_LEN as u64);
        // SAFETY: within the kernel's text, which only this module writes, under the lock.
        let bytes = unsafe { core::slice::from_raw_parts(at as *const u8, len as usize) };
        if let Some((quiet, telling)) = sites::find(bytes, at) {
            found.push(Site { at, quiet, telling });
        }
    }
}

/// Writes what `which` says of all `sites` while every other CPU stands still, and has each begin its figures anew.
fn stand_still(sites: &[Site], which: fn(&Site) -> &Instruction, on: bool) {
    let _all_stay = smp::hold();
    let (me, cpus) = (executor::cpu::id(), smp::online());
    let standing = AtomicU32::new(0);
    let written = AtomicBool::new(false);
    smp::call(cpus, &|| {
        let cpu = executor::cpu::id();
        if cpu == me {
            while standing.load(Ordering::Acquire) + 1 < cpus.count_ones() {
                core::hint::spin_loop();
            }
            write(sites, which);
            written.store(true, Ordering::Release);
        } else {
            standing.fetch_add(1, Ordering::AcqRel);
            while !written.load(Ordering::Acquire) {
                core::hint::spin_loop();
            }
        }
        // Serializes.
        core::arch::x86_64::__cpuid(0);
        if let Some(shared) = CpuShared::of(cpu) {
            shared.begin_latency(on);
        }
    });
}

/// Context: interrupts are masked, and no other CPU runs any of this code.
fn write(sites: &[Site], which: fn(&Site) -> &Instruction) {
    let before = Cr0::read();
    // SAFETY: interrupts are masked, so only the writes below happen without the protection.
    unsafe { Cr0::write(before - Cr0Flags::WRITE_PROTECT) };
    for site in sites {
        for (at, byte) in (site.at..).zip(which(site).bytes()) {
            // SAFETY: `find` found an instruction of this length there, and both forms of it do what it is for.
            unsafe { (at as *mut u8).write_volatile(*byte) };
        }
    }
    // SAFETY: as it was.
    unsafe { Cr0::write(before) };
}
