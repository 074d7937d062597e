//! Each CPU's segments, and the stacks that its interrupts and worst exceptions switch to.
//!
//! NMI, debug exception, double fault and machine check may strike where the stack pointer is of no use, so each has an
//! interrupt stack (IST) of its own. Other interrupts of kernel code switch to the interrupt stack by software (rule 13), and
//! softirqs to theirs.
//!
//! Source: Intel SDM 3A, 3.4.5 (descriptors), 6.14.5 (interrupt stack table), 7.7 (task state segment).

#![allow(unsafe_code, reason = "descriptor tables")]

use super::percpu::PerCpu;
use super::selectors::{KERNEL_CS, KERNEL_DS, TSS};
use super::stack;
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::{lgdt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::SegmentSelector;
use x86_64::structures::tss::TaskStateSegment;

/// Which entry of the interrupt stack table an exception uses: 0 to 6, or none.
pub mod ist {
    /// Non-maskable interrupts.
    pub const NMI: u16 = 0;
    /// Double faults.
    pub const DOUBLE_FAULT: u16 = 1;
    /// Machine checks.
    pub const MACHINE_CHECK: u16 = 2;
    /// Debug exceptions.
    pub const DEBUG: u16 = 3;
    /// How many there are.
    pub const COUNT: usize = 4;
}

const ENTRIES: usize = 10;
const KERNEL_CODE: u64 = 0x00af_9b00_0000_ffff;
const KERNEL_DATA: u64 = 0x00cf_9300_0000_ffff;
const USER_CODE_32: u64 = 0x00cf_fb00_0000_ffff;
const USER_DATA: u64 = 0x00cf_f300_0000_ffff;
const USER_CODE: u64 = 0x00af_fb00_0000_ffff;
const TSS_AVAILABLE: u64 = 0x89;

/// A descriptor table. The CPU itself writes to it: it marks the task state segment as busy.
#[repr(C, align(16))]
pub struct Gdt(UnsafeCell<[u64; ENTRIES]>);

// SAFETY: written by the CPU it belongs to only, while that sets itself up.
unsafe impl Sync for Gdt {}

impl Gdt {
    /// The segments in the order of [`super::selectors`], without a task state segment.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([
            0,
            0,
            KERNEL_CODE,
            KERNEL_DATA,
            USER_CODE_32,
            USER_DATA,
            USER_CODE,
            0,
            0,
            0,
        ]))
    }

    /// Makes this the table of the running CPU, with the task state segment of `area`.
    ///
    /// # Context
    /// Boot, once per table, interrupts off, after `area` has been installed.
    pub fn load(&'static self, area: &'static PerCpu) {
        let tss = area.tss.get() as u64;
        let limit = size_of::<TaskStateSegment>() as u64 - 1;
        let low = limit | (tss & 0xff_ffff) << 16 | TSS_AVAILABLE << 40 | (tss >> 24 & 0xff) << 56;
        // SAFETY: nobody else looks at the table until it is loaded, below.
        let entries = unsafe { &mut *self.0.get() };
        entries[usize::from(TSS >> 3)] = low;
        entries[usize::from(TSS >> 3) + 1] = tss >> 32;
        let pointer = DescriptorTablePointer {
            limit: size_of::<[u64; ENTRIES]>() as u16 - 1,
            base: VirtAddr::from_ptr(self.0.get()),
        };
        // SAFETY: the table lives for ever, and its entries are sound.
        unsafe { lgdt(&pointer) };
        // SAFETY: a 64-bit ring-0 code segment is there.
        unsafe { CS::set_reg(SegmentSelector(KERNEL_CS)) };
        // SAFETY: a ring-0 data segment is there.
        unsafe { SS::set_reg(SegmentSelector(KERNEL_DS)) };
        // SAFETY: null selectors, as the way back from user mode leaves them. FS and GS keep their bases.
        unsafe { DS::set_reg(SegmentSelector(0)) };
        // SAFETY: as above.
        unsafe { ES::set_reg(SegmentSelector(0)) };
        // SAFETY: the descriptor of an available task state segment is there, and the segment lives for ever.
        unsafe { load_tss(SegmentSelector(TSS)) };
    }
}

impl Default for Gdt {
    fn default() -> Self {
        Self::new()
    }
}

/// Gives the running CPU guarded stacks of its own for interrupts and for each exception that wants one.
///
/// # Panics
/// If memory is short.
///
/// # Context
/// Boot, interrupts off, once the kernel's memory is managed.
pub fn give_stacks(area: &'static PerCpu) {
    let tops = [(); ist::COUNT].map(|()| stack::new());
    set_stacks(area, tops, stack::new());
    // SAFETY: the area is the running CPU's, and no softirq has run yet.
    unsafe { *area.softirq_stack.get() = stack::new() };
}

/// Names the stacks of the running CPU.
///
/// # Context
/// Boot, interrupts off.
pub fn set_stacks(area: &'static PerCpu, ist: [u64; ist::COUNT], interrupts: u64) {
    // SAFETY: the area is the running CPU's, and interrupts are off.
    let tss = unsafe { &mut *area.tss.get() };
    for (index, top) in ist.into_iter().enumerate() {
        // The structure is packed, so the whole array is replaced.
        let mut table = tss.interrupt_stack_table;
        table[index] = VirtAddr::new(top);
        tss.interrupt_stack_table = table;
    }
    // SAFETY: as above.
    unsafe { *area.irq_stack.get() = interrupts };
}

/// Makes a descriptor table for another CPU.
pub fn allocate() -> &'static Gdt {
    Box::leak(Box::new(Gdt::new()))
}
