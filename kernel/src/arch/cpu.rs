//! What the CPU can do, and the protections that are switched on where it can.

#![allow(unsafe_code, reason = "control registers")]

use core::arch::x86_64::{__cpuid, __cpuid_count};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};

/// The features that the kernel asks for, read from CPUID by each CPU; all CPUs are taken to be alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// No-execute pages.
    pub nx: bool,
    /// Pages that survive a change of address space in the TLB.
    pub global_pages: bool,
    /// Pages of 1 GiB.
    pub gib_pages: bool,
    /// Supervisor mode does not execute user pages.
    pub smep: bool,
    /// Supervisor mode does not touch user pages, but between `stac` and `clac`.
    pub smap: bool,
    /// User mode does not read descriptor-table registers.
    pub umip: bool,
    /// `rdfsbase` and the like.
    pub fsgsbase: bool,
    /// `xsave`.
    pub xsave: bool,
    /// The local APIC has its registers in MSRs.
    pub x2apic: bool,
    /// The local APIC timer can be set to a time-stamp counter value.
    pub tsc_deadline: bool,
    /// The time-stamp counter runs at one rate in every state of the CPU.
    pub invariant_tsc: bool,
    /// `rdtscp`.
    pub rdtscp: bool,
    /// `rdrand`.
    pub rdrand: bool,
    /// `rdseed`.
    pub rdseed: bool,
    /// Runs under a hypervisor.
    pub hypervisor: bool,
}

impl Features {
    /// Asks the CPU.
    pub fn read() -> Self {
        let max = __cpuid(0).eax;
        let one = __cpuid(1);
        let seven = if max >= 7 { __cpuid_count(7, 0) } else { EMPTY };
        let max_extended = __cpuid(0x8000_0000).eax;
        let extended = if max_extended >= 0x8000_0001 {
            __cpuid(0x8000_0001)
        } else {
            EMPTY
        };
        let power = if max_extended >= 0x8000_0007 {
            __cpuid(0x8000_0007)
        } else {
            EMPTY
        };
        let bit = |word: u32, n: u32| word >> n & 1 != 0;
        Self {
            nx: bit(extended.edx, 20),
            global_pages: bit(one.edx, 13),
            gib_pages: bit(extended.edx, 26),
            smep: bit(seven.ebx, 7),
            smap: bit(seven.ebx, 20),
            umip: bit(seven.ecx, 2),
            fsgsbase: bit(seven.ebx, 0),
            xsave: bit(one.ecx, 26),
            x2apic: bit(one.ecx, 21),
            tsc_deadline: bit(one.ecx, 24),
            invariant_tsc: bit(power.edx, 8),
            rdtscp: bit(extended.edx, 27),
            rdrand: bit(one.ecx, 30),
            rdseed: bit(seven.ebx, 18),
            hypervisor: bit(one.ecx, 31),
        }
    }
}

const EMPTY: core::arch::x86_64::CpuidResult = core::arch::x86_64::CpuidResult {
    eax: 0,
    ebx: 0,
    ecx: 0,
    edx: 0,
};

/// Switches on what this CPU has to protect the kernel, before the final page tables are loaded.
///
/// # Context
/// Boot, once per CPU.
pub fn enable_protections(features: &Features) {
    if features.nx {
        // SAFETY: the CPU has it, and no page table in use has the bit set by accident.
        unsafe { Efer::update(|efer| efer.insert(EferFlags::NO_EXECUTE_ENABLE)) };
    }
    // SAFETY: the kernel writes to no page that it maps read-only.
    unsafe { Cr0::update(|cr0| cr0.insert(Cr0Flags::WRITE_PROTECT)) };
    let wanted = [
        (features.global_pages, Cr4Flags::PAGE_GLOBAL),
        (
            features.smep,
            Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION,
        ),
        (features.smap, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        (features.umip, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
        (features.fsgsbase, Cr4Flags::FSGSBASE),
    ];
    let bits = wanted
        .iter()
        .filter(|(has, _)| *has)
        .fold(Cr4Flags::empty(), |all, (_, bit)| all | *bit);
    // SAFETY: the CPU has each of them; the kernel touches user pages between `stac` and `clac` only.
    unsafe { Cr4::update(|cr4| cr4.insert(bits)) };
}
