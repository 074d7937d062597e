//! The per-CPU area: what `gs:` points at while the CPU is in the kernel.
//!
//! Its first field is the executor's [`CpuLocal`], whose layout is a contract with that crate; behind it comes what
//! only the machine's own code needs. The entry stubs address fields by `offset_of!`, so the order may change freely.
//!
//! Lock key: every field is written by its own CPU only, except those that say otherwise.
#![allow(
    unsafe_code,
    reason = "reads the GS base and hands out the area it points at"
)]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering};

use executor::cpu::CpuLocal;
use x86_64::structures::tss::TaskStateSegment;

use super::fpu::FpuOwner;
use crate::process::Thread;

/// The most CPUs that one image starts.
pub const MAX_CPUS: usize = 64;

/// What one CPU keeps for itself.
#[repr(C, align(64))]
pub struct PerCpu {
    /// The executor's words, at `gs:0` by contract.
    pub local: CpuLocal,
    /// The kernel stack pointer that the way back from user mode restores; written by `enter_user`.
    pub kernel_rsp: UnsafeCell<u64>,
    /// Where the system-call stub parks the user's stack pointer for a few instructions.
    pub scratch: UnsafeCell<u64>,
    /// Top of the stack on which interrupts of kernel code are handled.
    pub irq_stack: UnsafeCell<u64>,
    /// Top of the stack on which softirqs run; zero until there is memory for it.
    pub softirq_stack: UnsafeCell<u64>,
    /// How many NMIs there were; read by every CPU.
    pub nmis: AtomicU64,
    /// Of how many of them the log knows.
    pub nmis_told: AtomicU64,
    /// The task state segment; its `RSP0` is also where the system-call stub saves registers.
    pub tss: UnsafeCell<TaskStateSegment>,
    /// Whose vector state the FPU registers hold.
    pub fpu: FpuOwner,
    /// The page table that CR3 holds (physical address); read by other CPUs' shootdowns.
    pub cr3: AtomicU64,
    /// The local APIC's identity.
    pub apic_id: AtomicU64,
    /// The CPU's executor and what goes with it: a `crate::task::CpuTasks`.
    pub tasks: AtomicPtr<()>,
    /// What the base registers of FS and of the user's GS hold, where only the kernel changes them.
    pub fs_base: AtomicU64,
    /// As `fs_base`.
    pub gs_base: AtomicU64,
    /// The user thread that is being polled, or null.
    pub thread: AtomicPtr<Thread>,
    /// How often the CPU turned to a user thread; read by every CPU.
    pub switches: AtomicU64,
    /// The CPUs that would take tasks from this one, a bit each, set by them; its own, where it is time to look around.
    pub asked: AtomicU64,
    /// The CPU has nothing to poll.
    pub idle: AtomicBool,
    /// The interrupt that is being handled came out of user mode.
    pub interrupted_user: AtomicBool,
    /// Set while the CPU runs its executor loop; read by every CPU.
    pub online: AtomicBool,
    /// Whether it is to go on doing so: a `crate::task::hotplug::Stage`.
    pub stage: AtomicU8,
}

// SAFETY: the `UnsafeCell` fields are touched only by the CPU that owns the area (through `gs:` or with interrupts off
// before that CPU runs); all others are atomics.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    /// Makes the area of CPU `cpu`. Context: boot.
    pub const fn new(cpu: u32) -> Self {
        Self {
            local: CpuLocal::new(cpu),
            kernel_rsp: UnsafeCell::new(0),
            scratch: UnsafeCell::new(0),
            irq_stack: UnsafeCell::new(0),
            softirq_stack: UnsafeCell::new(0),
            nmis: AtomicU64::new(0),
            nmis_told: AtomicU64::new(0),
            tss: UnsafeCell::new(TaskStateSegment::new()),
            fpu: FpuOwner::new(),
            cr3: AtomicU64::new(0),
            apic_id: AtomicU64::new(0),
            tasks: AtomicPtr::new(core::ptr::null_mut()),
            // No base is that: the first thread loads its own.
            fs_base: AtomicU64::new(u64::MAX),
            gs_base: AtomicU64::new(u64::MAX),
            thread: AtomicPtr::new(core::ptr::null_mut()),
            switches: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            interrupted_user: AtomicBool::new(false),
            online: AtomicBool::new(false),
            stage: AtomicU8::new(0),
        }
    }

    /// Makes this the area of the running CPU: GS base here, user GS base 0.
    ///
    /// # Safety
    /// `this` lives for ever, is the area of the CPU that calls, `cpu` its number, and is installed once; interrupts are off.
    pub unsafe fn install(this: *const PerCpu, cpu: u32) {
        use x86_64::registers::model_specific::{GsBase, KernelGsBase};
        let addr = x86_64::VirtAddr::from_ptr(this);
        GsBase::write(addr);
        KernelGsBase::write(x86_64::VirtAddr::zero());
        // SAFETY: the caller gives a live area that nobody else is looking at yet.
        unsafe { (*this.cast_mut()).local.bind(cpu) };
        AREAS[cpu as usize].store(this.cast_mut(), Ordering::Release);
    }
}

/// What `gs:` points at until the boot CPU has its area: locks and the heap count preemption from the first lines of boot on.
struct Early(UnsafeCell<CpuLocal>);

// SAFETY: only the boot CPU uses it, alone.
unsafe impl Sync for Early {}

/// Gives the boot CPU the words of the executor before there is memory for its area.
///
/// # Context
/// Boot, as the first thing, interrupts off.
pub fn install_early() {
    static EARLY: Early = Early(UnsafeCell::new(CpuLocal::new(0)));
    let local = EARLY.0.get();
    // SAFETY: the boot CPU runs alone, and nothing looks at the area yet.
    unsafe { (*local).bind(0) };
    x86_64::registers::model_specific::GsBase::write(x86_64::VirtAddr::from_ptr(local));
}

static AREAS: [AtomicPtr<PerCpu>; MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// The running CPU's area. The caller must not be moved to another CPU while it uses it: hold off preemption.
///
/// # Context
/// Any.
#[inline]
pub fn this() -> &'static PerCpu {
    let area: *const PerCpu;
    // SAFETY: `gs:16` is the self pointer by the contract of `CpuLocal`. Volatile on purpose: after a park the CPU may
    // be another one, so the read must not be merged with an earlier one (rule 10).
    unsafe { asm!("mov {}, gs:[16]", out(reg) area, options(nostack, preserves_flags)) };
    // SAFETY: areas live for ever once installed, and all code that gets here runs after `install`.
    unsafe { &*area }
}

/// The area of CPU `cpu`, once that CPU has been set up.
pub fn of(cpu: u32) -> Option<&'static PerCpu> {
    let area = AREAS.get(cpu as usize)?.load(Ordering::Acquire);
    // SAFETY: a pointer in the table is an installed area, which lives for ever.
    unsafe { area.as_ref() }
}
