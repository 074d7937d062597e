//! What hot paths and entry stubs ask of the CPU's features, as single loads; [`super::cpu`] has them all.
#![allow(unsafe_code, reason = "reads MXCSR's mask out of an FXSAVE image")]

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::cpu::Features;
use super::fpu;

/// Nonzero where supervisor accesses to user pages are forbidden unless announced; read by entry stubs.
pub static SMAP: AtomicU8 = AtomicU8::new(0);

static XSAVE: AtomicBool = AtomicBool::new(false);
static XCR0: AtomicU64 = AtomicU64::new(0);
static MXCSR_MASK: AtomicU32 = AtomicU32::new(0xffbf);
static FSGSBASE: AtomicBool = AtomicBool::new(false);

/// Whether XSAVE is used for vector state.
#[inline]
pub fn has_xsave() -> bool {
    XSAVE.load(Ordering::Relaxed)
}

/// The state components in use.
pub fn xcr0() -> u64 {
    XCR0.load(Ordering::Relaxed)
}

/// The bits of MXCSR that may be set.
pub fn mxcsr_mask() -> u32 {
    MXCSR_MASK.load(Ordering::Relaxed)
}

/// Whether `rdfsbase` and its kin are enabled (for user mode too).
#[inline]
pub fn has_fsgsbase() -> bool {
    FSGSBASE.load(Ordering::Relaxed)
}

/// Keeps what hot paths ask for. Context: boot, on the first CPU, before any of the features is used.
pub fn record(features: &Features) {
    if features.xsave && __cpuid(0).eax >= 0xd {
        let leaf = __cpuid_count(0xd, 0);
        XSAVE.store(true, Ordering::Relaxed);
        XCR0.store(
            (u64::from(leaf.edx) << 32 | u64::from(leaf.eax)) & fpu::XCR0,
            Ordering::Relaxed,
        );
    }
    FSGSBASE.store(features.fsgsbase, Ordering::Relaxed);
    SMAP.store(u8::from(features.smap), Ordering::Relaxed);
}

/// Reads which bits of MXCSR exist. Context: boot, on the first CPU, once the vector unit is on.
pub fn record_mxcsr_mask() {
    MXCSR_MASK.store(read_mxcsr_mask(), Ordering::Relaxed);
}

/// MXCSR_MASK is at offset 28 of an FXSAVE image; zero stands for 0xffbf (SDM 1, 11.6.6).
fn read_mxcsr_mask() -> u32 {
    let mut image = fpu::FpuArea::initial();
    // SAFETY: the image is 512 bytes or more, aligned to 64; FXSAVE only writes there. CR0.EM and TS are clear, see
    // `fpu::init`, which runs before.
    unsafe { asm!("fxsave64 [{}]", in(reg) &raw mut image, options(nostack)) };
    match u32::from_le_bytes(image.0[28..32].try_into().expect("four bytes")) {
        0 => 0xffbf,
        mask => mask,
    }
}
