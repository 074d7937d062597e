//! The vector state of user threads: x87, SSE and AVX registers.
//!
//! The kernel itself is compiled without them, so they hold the state of the user thread that ran last. It is saved at
//! the end of a poll that was in user mode, and restored when a thread enters user mode unless the CPU still holds
//! that thread's newest state (rule 16).
//!
//! Source: Intel SDM 1 chapter 13 (XSAVE), 1 section 10.5 (FXSAVE).
#![allow(
    unsafe_code,
    reason = "saves and loads registers by instructions that take raw pointers"
)]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::cpu_features;
use super::percpu;

/// State components in use: x87, SSE, AVX. Larger ones (AVX-512) stay off, so that a thread's state stays small.
pub const XCR0: u64 = 0b111;
/// Bytes of the largest state saved: legacy area 512, header 64, AVX 256.
pub const AREA_SIZE: usize = 832;

const NO_CPU: u32 = u32::MAX;

/// The memory image of the registers, in the standard XSAVE format (FXSAVE's where there is no XSAVE).
#[repr(C, align(64))]
#[derive(Clone)]
pub struct FpuArea(pub [u8; AREA_SIZE]);

impl FpuArea {
    /// The state a program starts with: everything masked and zero.
    pub const fn initial() -> Self {
        let mut area = [0; AREA_SIZE];
        // FCW = 0x37f, MXCSR = 0x1f80.
        area[0] = 0x7f;
        area[1] = 0x03;
        area[24] = 0x80;
        area[25] = 0x1f;
        Self(area)
    }
}

/// One thread's vector state.
pub struct FpuState {
    area: UnsafeCell<FpuArea>,
    /// The CPU whose registers hold the newest state if it also names this as owner.
    cpu: AtomicU32,
}

// SAFETY: `area` is touched only by the thread's own poll, which runs on one CPU at a time.
unsafe impl Sync for FpuState {}

impl FpuState {
    /// A state with contents `area`.
    pub const fn new(area: FpuArea) -> Self {
        Self {
            area: UnsafeCell::new(area),
            cpu: AtomicU32::new(NO_CPU),
        }
    }

    fn is_loaded(&self) -> bool {
        let cpu = percpu::this();
        self.cpu.load(Ordering::Relaxed) == executor::cpu::id()
            && core::ptr::eq(cpu.fpu.0.load(Ordering::Relaxed), self)
    }

    /// Loads the state into the registers unless they hold it.
    ///
    /// # Context
    /// The thread's own poll, interrupts off, on the way to user mode.
    #[inline]
    pub fn load(&self) {
        if !self.is_loaded() {
            self.restore();
        }
    }

    #[cold]
    fn restore(&self) {
        let area = self.area.get();
        if cpu_features::has_xsave() {
            // SAFETY: the area is aligned to 64 bytes, large enough for XCR0's components, and its header was written by
            // XSAVE or passed `set`.
            unsafe {
                asm!("xrstor64 [{}]", in(reg) area, in("eax") XCR0 as u32, in("edx") 0, options(nostack))
            };
        } else {
            // SAFETY: the area is aligned to 16 bytes and 512 bytes long, and reserved MXCSR bits are clear (`set`).
            unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack)) };
        }
        let cpu = percpu::this();
        cpu.fpu
            .0
            .store(core::ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        self.cpu.store(executor::cpu::id(), Ordering::Relaxed);
    }

    /// Stores the registers if they are this thread's newest state. They stay loaded.
    ///
    /// # Context
    /// The thread's own poll, preemption off.
    #[inline]
    pub fn save(&self) {
        if !self.is_loaded() {
            return;
        }
        let area = self.area.get();
        if cpu_features::has_xsave() {
            // SAFETY: the area is aligned to 64 bytes and large enough for XCR0's components.
            unsafe {
                asm!("xsave64 [{}]", in(reg) area, in("eax") XCR0 as u32, in("edx") 0, options(nostack))
            };
        } else {
            // SAFETY: the area is aligned to 16 bytes and 512 bytes long.
            unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack)) };
        }
    }

    /// A copy of the newest state. Context: the thread's own poll.
    pub fn get(&self) -> FpuArea {
        let _held = executor::cpu::preempt_disable();
        self.save();
        // SAFETY: only the thread's own poll touches the area, and that is our caller.
        unsafe { (*self.area.get()).clone() }
    }

    /// Replaces the state. What the CPU would refuse (reserved bits of MXCSR and of the header) is cleared first.
    /// Context: the thread's own poll.
    pub fn set(&self, mut new: FpuArea) {
        let mxcsr = u32::from_le_bytes(new.0[24..28].try_into().expect("four bytes"))
            & cpu_features::mxcsr_mask();
        new.0[24..28].copy_from_slice(&mxcsr.to_le_bytes());
        if cpu_features::has_xsave() {
            let present = u64::from_le_bytes(new.0[512..520].try_into().expect("eight bytes"))
                & cpu_features::xcr0();
            new.0[512..576].fill(0);
            new.0[512..520].copy_from_slice(&present.to_le_bytes());
        }
        let _held = executor::cpu::preempt_disable();
        // SAFETY: only the thread's own poll touches the area, and that is our caller.
        unsafe { *self.area.get() = new };
        self.cpu.store(NO_CPU, Ordering::Relaxed);
    }
}

/// Which [`FpuState`] the CPU's registers hold. Compared only, never followed: a state that was freed and another made
/// in its place is told apart by `FpuState::cpu`, which starts as "none".
pub struct FpuOwner(AtomicPtr<FpuState>);

impl Default for FpuOwner {
    fn default() -> Self {
        Self::new()
    }
}

impl FpuOwner {
    /// Nobody's.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }
}

/// Turns the vector units on for user code. Context: boot, once per CPU.
pub fn init() {
    use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
    // SAFETY: native error reporting and no emulation is what user code expects; the kernel uses no vector registers.
    unsafe {
        Cr0::update(|f| {
            f.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
            f.insert(Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::NUMERIC_ERROR);
        })
    };
    // SAFETY: tells the CPU that FXSAVE and SIMD exceptions are handled, which they are.
    unsafe { Cr4::update(|f| f.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE)) };
    if cpu_features::has_xsave() {
        // SAFETY: CPUID says the bit exists.
        unsafe { Cr4::update(|f| f.insert(Cr4Flags::OSXSAVE)) };
        let components = cpu_features::xcr0();
        // SAFETY: only components that CPUID leaf 0xd reports are enabled, x87 among them.
        unsafe {
            asm!("xsetbv", in("ecx") 0, in("eax") components as u32, in("edx") 0, options(nostack, preserves_flags))
        };
    }
}
