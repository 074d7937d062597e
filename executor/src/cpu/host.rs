//! Per-CPU access on the host: each thread plays a CPU, with its own word and, until [`set_cpu`], a number of its own.

use core::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    raw::{CpuShared, Header},
    softirq::Level,
};

use super::CpuLocal;

/// Whether interrupts were let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct IrqState(bool);

#[cfg(not(loom))]
static TOKENS: AtomicU64 = AtomicU64::new(1);
// Counted anew in each run of a model, which has to be the same each time.
#[cfg(loom)]
loom::lazy_static! {
    static ref TOKENS: AtomicU64 = AtomicU64::new(1);
}

struct HostCpu {
    word: Cell<u32>,
    calm: Cell<u32>,
    /// What [`set_cpu`] made of it, or else the token's.
    cpu: Cell<u32>,
    /// 0 before it is asked for: so a thread's area needs no code to be made.
    token: Cell<u64>,
    irqs: Cell<bool>,
    shared: Cell<*const CpuShared>,
    current: Cell<*const Header>,
    softirq: Cell<*const Level>,
}

impl HostCpu {
    const fn new() -> Self {
        Self {
            word: Cell::new(0),
            calm: Cell::new(1),
            cpu: Cell::new(u32::MAX),
            token: Cell::new(0),
            irqs: Cell::new(true),
            shared: Cell::new(core::ptr::null()),
            current: Cell::new(core::ptr::null()),
            softirq: Cell::new(core::ptr::null()),
        }
    }

    #[inline(always)]
    fn token(&self) -> u64 {
        match self.token.get() {
            0 => self.number(),
            token => token,
        }
    }

    #[cold]
    fn number(&self) -> u64 {
        let token = TOKENS.fetch_add(1, Ordering::Relaxed);
        self.token.set(token);
        token
    }

    #[inline(always)]
    fn cpu(&self) -> u32 {
        match self.cpu.get() {
            u32::MAX => {
                self.cpu.set((self.token() - 1) as u32);
                self.cpu.get()
            }
            cpu => cpu,
        }
    }
}

#[cfg(not(loom))]
std::thread_local! {
    static CPU: HostCpu = const { HostCpu::new() };
}

/// Calls `f` with the CPU that the calling thread plays.
#[cfg(not(loom))]
#[inline(always)]
fn here<R>(f: impl FnOnce(&HostCpu) -> R) -> R {
    CPU.with(f)
}

#[cfg(loom)]
loom::thread_local! {
    static CPU: Cell<&'static HostCpu> = Cell::new(Area::new().0);
}

#[cfg(loom)]
fn here<R>(f: impl FnOnce(&HostCpu) -> R) -> R {
    f(CPU.with(Cell::get))
}

/// A CPU as a model has it, whose threads stand for stacks: the one that stands on the CPU's current stack plays it. It
/// stays with the model run.
#[cfg(loom)]
#[derive(Clone, Copy)]
pub struct Area(&'static HostCpu);

#[cfg(loom)]
impl Area {
    /// A CPU that nobody plays yet.
    #[expect(clippy::new_without_default, reason = "each one is another")]
    pub fn new() -> Self {
        let cpu = alloc::boxed::Box::leak(alloc::boxed::Box::new(HostCpu::new()));
        cpu.number();
        Self(cpu)
    }

    /// Makes the calling thread play this CPU, which no other plays from now on.
    pub fn enter(self) {
        CPU.with(|cpu| cpu.set(self.0));
    }
}

/// Makes the calling thread play CPU `cpu` from now on.
pub fn set_cpu(cpu: u32) {
    here(|c| c.cpu.set(cpu));
}

pub(super) fn cpu() -> u32 {
    here(HostCpu::cpu)
}

/// See [`owner_token`].
pub(super) type OwnerToken = u64;

/// What tells this owner from others: here, the thread.
pub(super) fn owner_token() -> OwnerToken {
    here(HostCpu::token)
}

pub(super) fn this() -> *const CpuLocal {
    core::ptr::null()
}

pub(super) fn word() -> u32 {
    here(|c| c.word.get())
}

pub(super) fn word_and_calm() -> u64 {
    u64::from(calm()) << 32 | u64::from(word())
}

pub(super) fn word_add<const N: u32>() {
    here(|c| c.word.set(c.word.get() + N));
}

pub(super) fn word_sub<const N: u32>() {
    here(|c| c.word.set(c.word.get() - N));
}

pub(super) fn word_sub_and_look<const N: u32>() {
    word_sub::<N>();
    look();
}

/// Threads are preempted by the host, not by each other; a model's are not, and look as the machine's do.
pub(super) fn look() {
    #[cfg(loom)]
    if word_and_calm() == 0 {
        super::preempt_due();
    }
}

pub(super) fn calm() -> u32 {
    here(|c| c.calm.get())
}

pub(super) fn set_calm<const VALUE: u32>() {
    here(|c| c.calm.set(VALUE));
}

pub(super) fn shared() -> *const CpuShared {
    here(|c| c.shared.get())
}

pub(super) fn set_shared(shared: *const CpuShared) {
    here(|c| c.shared.set(shared));
}

pub(super) fn current() -> *const Header {
    here(|c| c.current.get())
}

pub(super) fn set_current(task: *const Header) {
    here(|c| c.current.set(task));
}

pub(super) fn softirq() -> *const Level {
    here(|c| c.softirq.get())
}

pub(super) fn set_softirq(level: *const Level) {
    here(|c| c.softirq.set(level));
}

pub(super) fn irq_enable() {
    here(|c| c.irqs.set(true));
}

pub(super) fn irq_disable() {
    here(|c| c.irqs.set(false));
}

/// Nobody looks.
pub(super) fn irqs_resume() {}

pub(super) fn calm_before_user() -> u32 {
    calm()
}

pub(super) fn irq_save() -> IrqState {
    here(|c| IrqState(c.irqs.replace(false)))
}

pub(super) fn irq_restore(state: IrqState) {
    here(|c| c.irqs.set(state.0));
}

pub(super) fn irqs_enabled() -> bool {
    here(|c| c.irqs.get())
}
