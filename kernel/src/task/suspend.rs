//! Preemption of kernel code: where the machine leaves a poll in its midst, and how it turns from stack to stack.
//!
//! The executor decides ([`executor::suspend`]); here are the places that ask it, the switch itself, and `preempt=`:
//!
//! | `preempt=` | kernel code makes way |
//! | --- | --- |
//! | `none` | at its awaits only |
//! | `voluntary` | also where long loops ask ([`cpu::point`]) |
//! | `full` | also on the way out of interrupts, where the last guard is dropped, and where it wakes a task of its CPU |
//!
//! User programs are preempted by interrupts in all three.
#![allow(
    unsafe_code,
    reason = "switches stacks, and knows stacks by their addresses"
)]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};

use executor::suspend::{self, Machine, Stack, To};
use executor::{CpuShared, Executor, Place, Saver, cpu};

use super::order::Order;
use super::{ThreadHooks, stacks, this};
use crate::arch::{percpu, switch};
use crate::mm::vmalloc::KernelStack;

/// How far kernel code may be preempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mode {
    /// At its awaits only.
    None = 0,
    /// Also where it asks.
    Voluntary = 1,
    /// Wherever no guard forbids it.
    Full = 2,
}

impl Mode {
    /// The mode that `preempt=NAME` names.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "voluntary" => Some(Self::Voluntary),
            "full" => Some(Self::Full),
            _ => None,
        }
    }

    /// The name that `preempt=` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Voluntary => "voluntary",
            Self::Full => "full",
        }
    }
}

static MODE: AtomicU8 = AtomicU8::new(Mode::None as u8);

/// How far kernel code may be preempted.
#[inline]
pub fn mode() -> Mode {
    match MODE.load(Ordering::Relaxed) {
        0 => Mode::None,
        1 => Mode::Voluntary,
        _ => Mode::Full,
    }
}

/// Sets what [`mode`] gives.
pub fn set_mode(mode: Mode) {
    MODE.store(mode as u8, Ordering::Relaxed);
}

/// Takes `preempt=` and `latency=`, and fills the pool of stacks.
///
/// # Context
/// Boot, in the first task.
pub fn init() {
    stacks::init();
    super::reap::init();
    let named = crate::boot::info().cmdline().value("preempt");
    let mode = match named.map(Mode::from_name) {
        Some(Some(mode)) => mode,
        Some(None) => {
            log::warn!("preempt: none, voluntary or full is known");
            DEFAULT
        }
        None => DEFAULT,
    };
    set_mode(mode);
    log::info!("preempt: {}", mode.name());
    if crate::boot::info().cmdline().value("latency") == Some("on")
        && let Err(error) = crate::arch::sites::set_telling(true)
    {
        log::warn!("latency: {error}");
    }
}

/// The mode without `preempt=`.
const DEFAULT: Mode = Mode::Full;

#[cfg(feature = "ktest")]
static STRESS: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// Has every task make way for any other from now on, wherever it is asked.
#[cfg(feature = "ktest")]
pub(super) fn stress(on: bool) {
    STRESS.store(on, Ordering::Relaxed);
}

/// Whether every task is to make way for any other.
#[inline(always)]
pub(super) fn is_stressed() -> bool {
    #[cfg(feature = "ktest")]
    return STRESS.load(Ordering::Relaxed);
    #[cfg(not(feature = "ktest"))]
    false
}

/// The end of an interrupt of kernel code.
///
/// # Context
/// Interrupts masked, on the interrupted stack. It may come back later, on another CPU.
#[inline]
pub fn interrupted() {
    if cpu::is_preemption_due() && mode() == Mode::Full {
        suspend::suspend(&Cpus);
    }
}

/// A guard was dropped, or a task woken, and another task is to run.
///
/// # Context
/// A poll; nothing forbids that it makes way.
pub(super) fn dropped_guard() {
    if mode() == Mode::Full {
        leave();
    }
}

/// A long loop asks, and another task is to run.
///
/// # Context
/// As [`dropped_guard`].
pub(super) fn asked() {
    if mode() >= Mode::Voluntary {
        leave();
    }
}

/// Leaves the current poll and its stack for ever. Comes back only where there is no stack to go on.
///
/// # Context
/// A poll that may be preempted.
pub fn abandon() {
    cpu::irq_disable();
    stacks::lose(true);
    suspend::abandon(&Cpus);
    stacks::lose(false);
    cpu::irq_enable();
}

fn leave() {
    // Masked by hand: a guard would look whether another task is to run as it is dropped, and so on.
    cpu::irq_disable();
    suspend::suspend(&Cpus);
    cpu::irq_enable();
}

/// Goes over to a stack of the pool and runs the loop there for ever.
///
/// # Context
/// The end of each CPU's boot, interrupts masked.
pub(super) fn start() -> ! {
    let stack = stacks::make().expect("there is memory for the stack of every CPU");
    let to = fresh(stack.bottom());
    suspend::adopt_stack(&Cpus, into_known(stack));
    // As every side that leaves a stack: the arrival lowers the count.
    core::mem::forget(cpu::preempt_disable());
    // SAFETY: the stack is prepared and nobody else's; this one is left for good.
    unsafe { switch::leave(to) }
}

/// Makes the stack with this bottom begin in [`enter`].
fn fresh(bottom: usize) -> *mut () {
    // SAFETY: whoever has taken the stack has it alone, and its top is aligned to a page.
    unsafe { switch::prepare(bottom + crate::mm::vmalloc::STACK_SIZE, enter) }
}

/// The first function on every stack: the loop of whatever CPU it is on.
extern "C" fn enter() -> ! {
    suspend::run(&Cpus, cpu::irq_enable, super::idle)
}

fn into_known(stack: KernelStack) -> Stack {
    let bottom = stack.bottom();
    core::mem::forget(stack);
    Stack(NonNull::without_provenance(
        core::num::NonZero::new(bottom).expect("no stack is at address zero"),
    ))
}

/// The CPUs of this machine, as the executor's [`Machine`].
pub(super) struct Cpus;

impl executor::Hooks for Cpus {
    #[inline(always)]
    fn poll_start(&self, task: &executor::TaskTag) {
        ThreadHooks.poll_start(task);
    }

    #[inline(always)]
    fn poll_end(&self, task: &executor::TaskTag) {
        ThreadHooks.poll_end(task);
    }
}

// SAFETY: 1. each CPU's area names its own executor, for ever; 2. `switch` and `leave` do what their names say; 3. stacks go
// to the pool as they are given.
unsafe impl Machine<Order> for Cpus {
    #[inline(always)]
    fn executor(&self) -> &'static Executor<Order> {
        &this().executor
    }

    fn take_stack(&self, urgent: bool) -> Option<Stack> {
        stacks::take(urgent).map(into_known)
    }

    fn give_stack(&self, stack: Stack) {
        // SAFETY: `into_known` made it of a stack that it gave up.
        stacks::give(unsafe { KernelStack::from_bottom(stack.0.addr().get()) });
    }

    fn switch(&self, from: &Saver, to: To) {
        let to = match to {
            To::Place(place) => place.as_ptr(),
            To::Fresh(bottom) => fresh(bottom.addr().get()),
        };
        // SAFETY: interrupts are masked; the place was stored by an earlier call and is used once, or was just prepared.
        unsafe { switch::switch(from.slot(), to) };
        crate::process::rseq::resumed();
    }

    fn leave(&self, to: Place) -> ! {
        // SAFETY: as in `switch`; the executor gives this stack away only on the other side.
        unsafe { switch::leave(to.as_ptr()) }
    }
}

/// Calls `run` on this CPU's softirq stack.
///
/// # Context
/// The softirq count is raised.
pub(super) fn on_softirq_stack(mut run: &mut dyn FnMut()) {
    extern "C" fn call(run: *mut ()) {
        // SAFETY: the address of the reference below, which outlives the call.
        unsafe { (*run.cast::<&mut dyn FnMut()>())() }
    }
    // SAFETY: written at boot only.
    let top = unsafe { *percpu::this().softirq_stack.get() };
    let argument = (&raw mut run).cast();
    // SAFETY: the softirq count is raised: nobody else uses the stack, and the code stays on this CPU.
    unsafe { switch::call_on(top, call, argument) };
}

/// How the polls of each CPU fare, from CPU 0 on.
pub fn latencies() -> impl Iterator<Item = (u32, executor::PollLatency)> {
    (0..percpu::MAX_CPUS as u32).filter_map(|cpu| Some((cpu, CpuShared::of(cpu)?.latency())))
}
