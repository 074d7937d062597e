//! The descriptors by number.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use conquer_once::noblock::OnceCell;

use super::descriptor::Descriptor;
use super::request::IrqError;

/// As many lines as there can be; `/proc/stat` has a number for each.
pub const IRQS: u32 = 256;
/// Numbers from here on are given to messages; those below are lines of controllers.
const FIRST_DYNAMIC: u32 = 24;

static TABLE: [OnceCell<&'static Descriptor>; IRQS as usize] =
    [const { OnceCell::uninit() }; IRQS as usize];
/// A bit for each number in use.
static USED: [AtomicU64; IRQS as usize / 64] = [const { AtomicU64::new(0) }; IRQS as usize / 64];

/// The descriptor of number `irq`, made when it is first asked for and never freed.
fn descriptor(irq: u32) -> Option<&'static Descriptor> {
    let cell = TABLE.get(irq as usize)?;
    // Fails only if it is there.
    let _ = cell.try_init_once(|| &*Box::leak(Box::new(Descriptor::new(irq))));
    cell.try_get().ok().copied()
}

/// The line of number `irq`, if it is in use.
pub fn get(irq: u32) -> Option<&'static Descriptor> {
    let word = USED.get(irq as usize / 64)?;
    let used = word.load(Ordering::Acquire) >> (irq % 64) & 1 != 0;
    let cell = TABLE.get(irq as usize).filter(|_| used)?;
    cell.try_get().ok().copied()
}

/// All lines in use, by number.
pub fn existing() -> impl Iterator<Item = &'static Descriptor> {
    (0..IRQS).filter_map(get)
}

/// Takes number `irq`.
///
/// # Errors
/// [`IrqError::Busy`] if it is in use; [`IrqError::NoIrq`] if there is none.
pub fn reserve(irq: u32) -> Result<&'static Descriptor, IrqError> {
    let line = descriptor(irq).ok_or(IrqError::NoIrq)?;
    let bit = 1 << (irq % 64);
    if USED[irq as usize / 64].fetch_or(bit, Ordering::AcqRel) & bit != 0 {
        return Err(IrqError::Busy);
    }
    Ok(line)
}

/// Takes a free number for a message.
///
/// # Errors
/// [`IrqError::NoIrq`] if none is free.
pub fn allocate() -> Result<&'static Descriptor, IrqError> {
    (FIRST_DYNAMIC..IRQS)
        .find_map(|irq| reserve(irq).ok())
        .ok_or(IrqError::NoIrq)
}

/// Gives back a number that [`allocate`] gave, whose line nobody answers any more.
///
/// # Panics
/// If somebody does.
///
/// # Context
/// Task or boot.
pub fn retire(line: &'static Descriptor) {
    let torn_down = line.tear_down();
    assert_eq!(torn_down, Ok(()), "irq {}: still answered", line.number());
    release(line);
}

/// Gives a number back.
pub(super) fn release(line: &Descriptor) {
    let bit = 1 << (line.number() % 64);
    USED[line.number() as usize / 64].fetch_and(!bit, Ordering::AcqRel);
}
