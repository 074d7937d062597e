//! What belongs to one CPU: the word that counts what forbids preemption, the CPU's number, and interrupt masking.
//!
//! The kernel puts a [`CpuLocal`] first in its per-CPU area and points `gs` at it; each access is then one instruction,
//! which an interrupt or a migration cannot split. On the host each thread has one, and plays a CPU.
//!
//! | bits of the word | counts | raised by |
//! | --- | --- | --- |
//! | 0-7 | preemption off | [`preempt_disable`], every spin lock |
//! | 8-15 | softirq: 1 while serving, 2 for each bottom-half lock | [`softirq_enter`], [`bh_disable`] |
//! | 16-19 | hard interrupts, nested | [`hardirq_enter`] |
//! | 20 | NMI | [`nmi_enter`] |
//! | 24-31 | the allocator is forbidden (debug builds) | [`forbid_alloc`] |
//!
//! Only when the whole word is zero may a poll be preempted or softirqs be run (rule 7).
#![allow(
    unsafe_code,
    reason = "per-CPU data is reached through gs: and interrupts are masked by instructions"
)]

use core::marker::PhantomData;

#[cfg(target_os = "none")]
mod bare;
#[cfg(not(target_os = "none"))]
mod host;
mod owned;
#[cfg(target_os = "none")]
pub mod sites;

#[cfg(target_os = "none")]
mod scratch;
#[cfg(target_os = "none")]
use bare as imp;
#[cfg(not(target_os = "none"))]
use host as imp;

use crate::{
    facade::mutant,
    platform,
    raw::{CpuShared, Header},
    softirq::{self, Level},
};

#[cfg(loom)]
pub use host::Area;
#[cfg(not(target_os = "none"))]
pub use host::set_cpu;
pub use owned::CpuOwned;

/// The most CPUs that a machine may have; on the host each thread of a test counts as one.
pub const MAX_CPUS: usize = if cfg!(target_os = "none") { 256 } else { 4096 };

pub(crate) const PREEMPT: u32 = 1;
const PREEMPT_MASK: u32 = 0xff;
pub(crate) const SOFTIRQ: u32 = 1 << 8;
const SOFTIRQ_MASK: u32 = 0xff << 8;
const BH_DISABLE: u32 = 2 << 8;
pub(crate) const HARDIRQ: u32 = 1 << 16;
const HARDIRQ_MASK: u32 = 0xf << 16;
const NMI: u32 = 1 << 20;
const NO_ALLOC: u32 = 1 << 24;
const NO_ALLOC_MASK: u32 = 0xff << 24;

/// The part of a CPU's area that this crate knows; the kernel's own area begins with it.
///
/// Offsets are fixed, since entry code in assembly uses them: `preempt` 0, `calm` 4, `cpu` 8, `this` 16.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct CpuLocal {
    preempt: u32,
    /// 0 where a reschedule is asked for, otherwise 1: so the first quadword is zero just when a poll is to be suspended.
    calm: u32,
    cpu: u32,
    _reserved: u32,
    this: *const CpuLocal,
    shared: *const CpuShared,
    current: *const Header,
    softirq: *const Level,
}

const _: () = {
    assert!(core::mem::offset_of!(CpuLocal, preempt) == 0);
    assert!(core::mem::offset_of!(CpuLocal, calm) == 4);
    assert!(core::mem::offset_of!(CpuLocal, cpu) == 8);
    assert!(core::mem::offset_of!(CpuLocal, this) == 16);
    assert!(core::mem::offset_of!(CpuLocal, shared) == 24);
    assert!(core::mem::offset_of!(CpuLocal, current) == 32);
    assert!(core::mem::offset_of!(CpuLocal, softirq) == 40);
};

impl CpuLocal {
    /// The area of CPU `cpu`, with preemption on. [`CpuLocal::bind`] completes it.
    pub const fn new(cpu: u32) -> Self {
        Self {
            preempt: 0,
            calm: 1,
            cpu,
            _reserved: 0,
            this: core::ptr::null(),
            shared: core::ptr::null(),
            current: core::ptr::null(),
            softirq: core::ptr::null(),
        }
    }

    /// Records the number and the final address, before `gs` is pointed here.
    ///
    /// # Context
    /// Boot, of the CPU in question.
    pub fn bind(&mut self, cpu: u32) {
        self.cpu = cpu;
        self.this = self;
    }
}

/// The number of the CPU this code runs on, which stays true only while preemption is off.
///
/// # Context
/// Any.
#[inline(always)]
pub fn id() -> u32 {
    imp::cpu()
}

/// The address of this CPU's [`CpuLocal`], and so of the kernel's per-CPU area.
///
/// # Context
/// Any; preemption off, or the answer is stale at once.
#[inline(always)]
pub fn local() -> *const CpuLocal {
    imp::this()
}

/// The word that counts everything that forbids preemption.
#[inline(always)]
pub fn preempt_word() -> u32 {
    imp::word()
}

/// Whether a poll may be preempted here: nothing is counted and interrupts are on.
#[inline]
pub fn preemptible() -> bool {
    imp::word() == 0 && imp::irqs_enabled()
}

/// Whether this is an interrupt: hard, soft, or NMI.
#[inline(always)]
pub fn in_interrupt() -> bool {
    imp::word() & (SOFTIRQ_MASK | HARDIRQ_MASK | NMI) != 0
}

/// Whether this is a hard interrupt or an NMI.
#[inline(always)]
pub fn in_hardirq() -> bool {
    imp::word() & (HARDIRQ_MASK | NMI) != 0
}

/// Whether this is an NMI, which may have interrupted anything.
#[inline(always)]
pub fn in_nmi() -> bool {
    imp::word() & NMI != 0
}

/// Whether a softirq is being served, as opposed to held off.
#[inline(always)]
pub fn in_softirq() -> bool {
    imp::word() & SOFTIRQ != 0
}

/// Notes the entry of a hard interrupt. Only entry code calls it.
#[inline(always)]
pub fn hardirq_enter() {
    imp::word_add::<HARDIRQ>();
}

/// Notes the end of a hard interrupt.
#[inline(always)]
pub fn hardirq_exit() {
    debug_assert!(imp::word() & HARDIRQ_MASK != 0);
    imp::word_sub::<HARDIRQ>();
}

/// Notes the entry of an NMI.
#[inline(always)]
pub fn nmi_enter() {
    imp::word_add::<NMI>();
}

/// Notes the end of an NMI.
#[inline(always)]
pub fn nmi_exit() {
    imp::word_sub::<NMI>();
}

/// Notes that softirqs are being served.
#[inline(always)]
pub fn softirq_enter() {
    debug_assert!(imp::word() & SOFTIRQ == 0, "softirqs do not nest");
    imp::word_add::<SOFTIRQ>();
}

/// Notes that softirqs are served no more.
#[inline(always)]
pub fn softirq_exit() {
    imp::word_sub::<SOFTIRQ>();
}

/// Asks the code of this CPU to come back to its executor soon.
///
/// # Context
/// Any.
#[inline(always)]
pub fn set_need_resched() {
    imp::set_calm::<0>();
}

/// Whether [`set_need_resched`] was called since the last [`clear_need_resched`].
#[inline(always)]
pub fn need_resched() -> bool {
    imp::calm() == 0
}

/// Takes the request back; the executor does it before it looks at its queues.
#[inline(always)]
pub fn clear_need_resched() {
    imp::set_calm::<1>();
}

/// Keeps this code on its CPU and unpreempted until dropped.
///
/// Dropping the last guard is a preemption point (rule 8).
#[derive(Debug)]
#[must_use = "preemption comes back when the guard is dropped"]
pub struct PreemptGuard(PhantomData<*mut ()>);

/// Holds preemption off until the guard is dropped.
///
/// # Context
/// Any.
#[inline(always)]
pub fn preempt_disable() -> PreemptGuard {
    debug_assert!(
        imp::word() & PREEMPT_MASK != PREEMPT_MASK,
        "preemption count overflows"
    );
    imp::word_add::<PREEMPT>();
    PreemptGuard(PhantomData)
}

/// Takes over the count that the code which switched to this stack raised.
#[inline(always)]
pub(crate) fn adopt_preempt_disable() -> PreemptGuard {
    debug_assert!(imp::word() & PREEMPT_MASK != 0, "nothing is counted");
    PreemptGuard(PhantomData)
}

impl Drop for PreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        imp::word_sub_and_look::<PREEMPT>();
    }
}

/// Lets the loop run if it is asked for and nothing forbids it: a preemption point (rule 8).
///
/// # Context
/// Any; it does nothing where preemption is off or interrupts are masked.
#[inline(always)]
pub fn preempt_point() {
    imp::look();
}

/// A place in a long loop where the poll makes way if another task is to run, also on a machine that preempts code only where
/// it asks. Nothing happens under a guard.
///
/// # Context
/// Any.
#[inline]
pub fn point() {
    if is_preemption_due() {
        point_due();
    }
}

#[cold]
fn point_due() {
    if imp::irqs_enabled() && in_poll() {
        platform::get().point();
    }
}

/// Whether a reschedule is asked for and nothing is counted that forbids preemption. Interrupts may be masked.
///
/// # Context
/// Any.
#[inline(always)]
pub fn is_preemption_due() -> bool {
    imp::word_and_calm() == 0 || mutant!(IgnoreGuards) && need_resched()
}

/// Whether a task is being polled here: not the loop itself.
///
/// # Context
/// Any.
#[inline(always)]
pub fn in_poll() -> bool {
    !imp::current().is_null()
}

/// Preemption came back, or was on, and a reschedule is asked for. Whether it is met here is the platform's affair.
#[cold]
#[cfg_attr(
    not(any(target_os = "none", loom)),
    expect(dead_code, reason = "the host preempts its threads itself")
)]
extern "C" fn preempt_due() {
    if imp::irqs_enabled() && !imp::current().is_null() {
        platform::get().preempt();
    }
}

/// Forbids the allocator on this CPU until dropped; counted in debug builds only.
#[derive(Debug)]
#[must_use = "the allocator is allowed again when the guard is dropped"]
pub struct NoAlloc(PhantomData<*mut ()>);

/// Forbids the allocator until the guard is dropped: wake-ups do, which may come from any context (rule 1).
#[inline(always)]
pub fn forbid_alloc() -> NoAlloc {
    if cfg!(debug_assertions) {
        imp::word_add::<NO_ALLOC>();
    }
    NoAlloc(PhantomData)
}

impl Drop for NoAlloc {
    #[inline(always)]
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            imp::word_sub::<NO_ALLOC>();
        }
    }
}

/// Whether the allocator may be entered here: not from a hard interrupt, an NMI or a wake-up.
#[inline(always)]
pub fn may_alloc() -> bool {
    imp::word() & (HARDIRQ_MASK | NMI | NO_ALLOC_MASK) == 0
}

/// Holds softirqs and preemption off until dropped.
#[derive(Debug)]
#[must_use = "softirqs come back when the guard is dropped"]
pub struct BhGuard(PhantomData<*mut ()>);

/// Holds softirqs, and with them preemption, off this CPU.
///
/// # Context
/// Task or softirq.
#[inline(always)]
pub fn bh_disable() -> BhGuard {
    debug_assert!(
        !in_hardirq(),
        "bottom halves are held off from below hard interrupts"
    );
    imp::word_add::<BH_DISABLE>();
    BhGuard(PhantomData)
}

impl Drop for BhGuard {
    /// Runs what was raised meanwhile, if this was the last guard of any kind.
    #[inline(always)]
    fn drop(&mut self) {
        imp::word_sub::<BH_DISABLE>();
        if imp::word() == 0 {
            if softirq::is_pending() {
                softirq::bh_exit();
            }
            imp::look();
        }
    }
}

/// Masks interrupts until dropped; what was before comes back then.
#[derive(Debug)]
#[must_use = "interrupts come back when the guard is dropped"]
pub struct IrqGuard {
    state: imp::IrqState,
    _not_send: PhantomData<*mut ()>,
}

/// Masks interrupts on this CPU.
///
/// # Context
/// Any.
#[inline(always)]
pub fn irq_save() -> IrqGuard {
    IrqGuard {
        state: imp::irq_save(),
        _not_send: PhantomData,
    }
}

impl Drop for IrqGuard {
    #[inline(always)]
    fn drop(&mut self) {
        imp::irq_restore(self.state);
        imp::look();
    }
}

/// Masks interrupts and holds preemption off until dropped; both come back together.
#[derive(Debug)]
#[must_use = "interrupts and preemption come back when the guard is dropped"]
pub struct IrqPreemptGuard {
    state: imp::IrqState,
    _not_send: PhantomData<*mut ()>,
}

/// Masks interrupts on this CPU and holds preemption off.
///
/// # Context
/// Any.
#[inline(always)]
pub fn irq_save_preempt_disable() -> IrqPreemptGuard {
    let state = imp::irq_save();
    imp::word_add::<PREEMPT>();
    IrqPreemptGuard {
        state,
        _not_send: PhantomData,
    }
}

impl Drop for IrqPreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        imp::irq_restore(self.state);
        imp::word_sub_and_look::<PREEMPT>();
    }
}

/// Calls `f` with interrupts let in, and masks them again if they were masked.
pub(crate) fn with_irqs<R>(f: impl FnOnce() -> R) -> R {
    let masked = !imp::irqs_enabled();
    if masked {
        imp::irq_enable();
    }
    let result = f();
    if masked {
        imp::irq_save();
    }
    result
}

/// Whether the word holds preemption off, rather than only tells of a hard interrupt.
#[cfg(any(target_os = "none", test))]
pub(crate) fn holds_preemption(word: u32) -> bool {
    word & (PREEMPT_MASK | SOFTIRQ_MASK) != 0
}

/// Whether the word's change is the entry of a hard interrupt.
#[cfg(any(target_os = "none", test))]
pub(crate) fn begins_hardirq(before: u32, after: u32) -> bool {
    after & HARDIRQ_MASK > before & HARDIRQ_MASK
}

/// Masks interrupts, for code that lets them in again with [`irq_enable`]: no guard, and no preemption point after it.
///
/// # Context
/// Any.
#[inline(always)]
pub fn irq_disable() {
    imp::irq_disable();
}

/// Lets interrupts in that [`irq_disable`], or the way into the kernel, has masked.
///
/// # Context
/// Where interrupts are allowed, and nothing holds a lock that masks them.
#[inline(always)]
pub fn irq_enable() {
    imp::irq_enable();
}

/// Says that interrupts are let in next, by an instruction that also does something else (`iret`, `sti; hlt`).
///
/// # Context
/// Interrupts masked.
#[inline(always)]
pub fn irqs_resume() {
    imp::irqs_resume();
}

/// As [`need_resched`], asked in the last look before a user program is entered.
///
/// # Context
/// Interrupts masked.
#[inline(always)]
pub fn need_resched_before_user() -> bool {
    imp::calm_before_user() == 0
}

/// Whether interrupts are let in.
#[inline(always)]
pub fn irqs_enabled() -> bool {
    imp::irqs_enabled()
}

/// What other CPUs may use of this CPU's executor, once there is one.
#[inline(always)]
pub(crate) fn shared() -> Option<&'static CpuShared> {
    // SAFETY: the pointer is null or was set from a `&'static CpuShared` by `set_shared`.
    unsafe { imp::shared().as_ref() }
}

#[inline]
pub(crate) fn set_shared(shared: &'static CpuShared) {
    imp::set_shared(shared);
}

/// The header of the task being polled here, or null.
#[inline(always)]
pub(crate) fn current() -> *const Header {
    imp::current()
}

#[inline(always)]
pub(crate) fn set_current(task: *const Header) {
    imp::set_current(task);
}

/// This CPU's softirq level, once there is one.
#[inline(always)]
pub(crate) fn softirq_level() -> Option<&'static Level> {
    // SAFETY: the pointer is null or was set from a `&'static Level` by `set_softirq_level`.
    unsafe { imp::softirq().as_ref() }
}

pub(crate) fn set_softirq_level(level: &'static Level) {
    imp::set_softirq(level);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn guards_nest_and_return_the_word_to_zero() {
        assert!(preemptible());
        {
            let _a = preempt_disable();
            let _b = preempt_disable();
            assert_eq!(preempt_word(), 2);
            assert!(!in_interrupt());
            let _c = bh_disable();
            assert!(in_interrupt() && !in_softirq());
        }
        assert!(preemptible());
    }

    #[test]
    fn contexts_are_told_apart() {
        softirq_enter();
        assert!(in_softirq() && in_interrupt() && !in_hardirq());
        hardirq_enter();
        assert!(in_hardirq() && in_softirq());
        hardirq_exit();
        softirq_exit();
        assert!(!in_interrupt());
    }

    #[test]
    fn irq_guards_restore_what_was() {
        assert!(irqs_enabled());
        let outer = irq_save();
        drop(irq_save());
        assert!(!irqs_enabled());
        drop(outer);
        assert!(irqs_enabled());
    }
}
