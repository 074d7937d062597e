//! What a user thread keeps of the machine besides its general registers.
#![allow(unsafe_code, reason = "writes the bases of FS and GS")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::registers::model_specific::{FsBase, KernelGsBase};

use super::fpu::{FpuArea, FpuState};
use super::{cpu_features, percpu};

/// Vector registers and segment bases. All but `fpu` may be read by others; only the thread's own poll writes.
pub struct Machine {
    /// x87, SSE and AVX registers.
    pub fpu: FpuState,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new(FpuArea::initial(), 0, 0)
    }
}

impl Machine {
    /// The state of a thread that starts with these registers.
    pub const fn new(fpu: FpuArea, fs_base: u64, gs_base: u64) -> Self {
        Self {
            fpu: FpuState::new(fpu),
            fs_base: AtomicU64::new(fs_base),
            gs_base: AtomicU64::new(gs_base),
        }
    }

    /// Loads the bases into this CPU. `KernelGsBase` holds the user's GS base while the kernel runs.
    ///
    /// # Context
    /// The start of the thread's poll, preemption off.
    #[inline]
    pub fn load_bases(&self) {
        let fs = self.fs_base.load(Ordering::Relaxed);
        let gs = self.gs_base.load(Ordering::Relaxed);
        if cpu_features::has_fsgsbase() {
            // SAFETY: CR4.FSGSBASE is on; the kernel does not use FS, and the value is canonical (`set_fs_base`).
            unsafe { asm!("wrfsbase {}", in(reg) fs, options(nostack, preserves_flags)) };
            KernelGsBase::write(VirtAddr::new_truncate(gs));
            return;
        }
        // User mode cannot change them here, so the CPU still has what was last written.
        let here = percpu::this();
        if here.fs_base.load(Ordering::Relaxed) != fs {
            FsBase::write(VirtAddr::new_truncate(fs));
            here.fs_base.store(fs, Ordering::Relaxed);
        }
        if here.gs_base.load(Ordering::Relaxed) != gs {
            KernelGsBase::write(VirtAddr::new_truncate(gs));
            here.gs_base.store(gs, Ordering::Relaxed);
        }
    }

    /// Stores the bases, which user mode may have changed where the CPU lets it.
    ///
    /// # Context
    /// The end of the thread's poll, preemption off.
    #[inline]
    pub fn save_bases(&self) {
        if cpu_features::has_fsgsbase() {
            let fs: u64;
            // SAFETY: CR4.FSGSBASE is on; reading FS's base has no effect.
            unsafe { asm!("rdfsbase {}", out(reg) fs, options(nostack, preserves_flags)) };
            self.fs_base.store(fs, Ordering::Relaxed);
            self.gs_base
                .store(KernelGsBase::read().as_u64(), Ordering::Relaxed);
        }
    }

    /// The newest bases of FS and GS. Context: the thread's own poll.
    pub fn bases(&self) -> (u64, u64) {
        let _stay = executor::cpu::preempt_disable();
        self.save_bases();
        (
            self.fs_base.load(Ordering::Relaxed),
            self.gs_base.load(Ordering::Relaxed),
        )
    }

    /// Sets and loads both bases. Both must be canonical. Context: the thread's own poll.
    pub fn set_bases(&self, fs: u64, gs: u64) {
        let _stay = executor::cpu::preempt_disable();
        self.fs_base.store(fs, Ordering::Relaxed);
        self.gs_base.store(gs, Ordering::Relaxed);
        self.load_bases();
    }
}
