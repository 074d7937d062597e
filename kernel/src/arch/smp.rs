//! The other CPUs: how many there are, and messages to them.
//!
//! [`call`] runs a function on other CPUs and waits for them. Every CPU has one request of its own, so callers do not stand
//! in each other's way: a caller publishes its request, sets its bit in the targets' words, and interrupts those whose
//! word was empty; a target runs every request whose bit it finds. While it waits, a caller serves the requests that others
//! have for it, so two CPUs that call each other with interrupts off both get on.

#![allow(unsafe_code, reason = "hands a borrowed function to other CPUs")]

use super::percpu::{self, MAX_CPUS};
use super::{apic, irq, vectors};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use executor::sync::{SpinLock, SpinLockGuard};

/// A set of CPUs, a bit for each.
pub type CpuMask = u64;

/// CPUs that were started: bits never go away.
static PRESENT: AtomicU64 = AtomicU64::new(1);
/// CPUs that take part.
static ONLINE: AtomicU64 = AtomicU64::new(1);
/// CPUs that take part and are to go on doing so: what is placed on a CPU is placed on one of these.
static ACTIVE: AtomicU64 = AtomicU64::new(1);
/// Held where [`ONLINE`] changes, and by who wants it to stay. Whoever waits for it to leave serves other CPUs meanwhile.
static GATE: SpinLock<()> = SpinLock::new(());
static STOPPING: AtomicBool = AtomicBool::new(false);

/// A function that a CPU wants run elsewhere.
struct Request {
    /// Valid while `left` is not zero.
    function: UnsafeCell<*const (dyn Fn() + Sync)>,
    /// Targets that have not run it yet.
    left: AtomicU32,
}

// SAFETY: `function` is written by the owner CPU while `left` is zero, when nobody else looks at it.
unsafe impl Sync for Request {}

fn nothing() {}

static REQUESTS: [Request; MAX_CPUS] = [const {
    Request {
        function: UnsafeCell::new(&nothing as *const (dyn Fn() + Sync)),
        left: AtomicU32::new(0),
    }
}; MAX_CPUS];
/// For each CPU, a bit for each CPU whose request it has to run.
static WANTED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Registers the handlers of the messages; that of [`send_reschedule`] is the executor's platform's.
///
/// # Context
/// Boot.
pub fn init() {
    irq::set_handler(vectors::CALL, |_| serve());
    irq::set_handler(vectors::STOP, |_| super::halt_forever());
    irq::set_handler(vectors::APIC_ERROR, |_| {
        let (status, cpu) = (apic::take_errors(), executor::cpu::id());
        log::warn!("apic: error status {status:#x} on CPU {cpu}");
    });
}

/// How many CPUs were started: their numbers are those below, whether they take part at the moment or not.
pub fn cpu_count() -> u32 {
    PRESENT.load(Ordering::Acquire).count_ones()
}

/// The CPUs that take part and are not about to leave.
#[inline]
pub fn active() -> CpuMask {
    ACTIVE.load(Ordering::Acquire)
}

/// Has nothing more placed on CPU `cpu`, or lets things be placed there again.
///
/// # Context
/// Task.
pub fn set_active(cpu: u32, active: bool) {
    let bit = 1 << cpu;
    if active {
        ACTIVE.fetch_or(bit, Ordering::AcqRel);
    } else {
        ACTIVE.fetch_and(!bit, Ordering::AcqRel);
    }
}

/// The CPUs that take part.
pub fn online() -> CpuMask {
    ONLINE.load(Ordering::Acquire)
}

/// Notes that the running CPU, which has just been started, takes part from now on.
pub(super) fn set_online(cpu: u32) {
    for set in [&PRESENT, &ONLINE, &ACTIVE] {
        set.fetch_or(1 << cpu, Ordering::AcqRel);
    }
}

/// Holds off CPUs that would leave or come back, until it is dropped: [`online`] stays as it is.
///
/// # Context
/// As for [`call`], which may be called meanwhile.
pub fn hold() -> SpinLockGuard<'static, ()> {
    GATE.lock()
}

/// The running CPU leaves: it has run all that others wanted of it, and none of them waits for it any more.
///
/// # Context
/// The CPU's loop, interrupts masked. Spins: while another CPU [holds](hold) this off.
pub fn go_offline() {
    let me = executor::cpu::id();
    let gate = served_meanwhile();
    ONLINE.fetch_and(!(1 << me), Ordering::SeqCst);
    // Who has seen us there either finds this, or finds us gone while it waits.
    serve();
    drop(gate);
}

/// The running CPU is back. It has forgotten no translation yet that others have withdrawn meanwhile.
///
/// # Context
/// As for [`go_offline`].
pub fn come_online() {
    let me = executor::cpu::id();
    let gate = served_meanwhile();
    ONLINE.fetch_or(1 << me, Ordering::SeqCst);
    drop(gate);
}

/// Takes the gate, and does what its holder may wait for.
fn served_meanwhile() -> SpinLockGuard<'static, ()> {
    loop {
        if let Some(gate) = GATE.try_lock() {
            return gate;
        }
        serve();
        core::hint::spin_loop();
    }
}

/// Makes CPU `cpu` look at its queues soon. Does nothing if it does not take part.
///
/// # Context
/// Any but NMI.
pub fn send_reschedule(cpu: u32) {
    send(cpu, vectors::RESCHEDULE);
}

fn send(cpu: u32, vector: u8) {
    if let Some(area) = percpu::of(cpu) {
        apic::send_ipi(area.apic_id.load(Ordering::Relaxed) as u32, vector);
    }
}

/// A CPU of `cpus` that takes part and stays, the first one, and its APIC identity.
pub fn choose(cpus: CpuMask) -> Option<(u32, u32)> {
    let there = cpus & active();
    let cpu = (there != 0).then(|| there.trailing_zeros())?;
    let area = percpu::of(cpu)?;
    Some((cpu, area.apic_id.load(Ordering::Relaxed) as u32))
}

/// Interrupts this CPU with `vector`, when interrupts are let in.
///
/// # Context
/// Any but NMI.
pub fn send_to_self(vector: u8) {
    apic::send_ipi(apic::id(), vector);
}

/// Runs `function` on every CPU of `targets` that takes part, this one included if it is in, and returns when all have.
///
/// It runs in hard-interrupt context there, and must neither wait nor lock nor call other CPUs in turn.
///
/// # Context
/// Task, interrupts on or off; not in an interrupt. Spins: until the slowest target takes interrupts.
pub fn call(targets: CpuMask, function: &(dyn Fn() + Sync)) {
    debug_assert!(
        !executor::cpu::in_hardirq(),
        "a request of the interrupted code may be under way"
    );
    let _stay = executor::cpu::preempt_disable();
    let me = executor::cpu::id();
    // What the function is about was written before: a CPU that comes back at this moment sees that, or is asked.
    core::sync::atomic::fence(Ordering::SeqCst);
    let others = targets & online() & !(1 << me);
    if others != 0 {
        publish(me, others, function);
    }
    if targets & 1 << me != 0 {
        let _masked = executor::cpu::irq_save();
        function();
    }
    if others != 0 {
        wait(me, others);
    }
}

/// Has `function` flush something on every CPU of `targets`; a name for what [`call`] is mostly used for.
///
/// # Context
/// As for [`call`].
pub fn shootdown(targets: CpuMask, function: &(dyn Fn() + Sync)) {
    call(targets, function);
}

fn publish(me: u32, others: CpuMask, function: &(dyn Fn() + Sync)) {
    let request = &REQUESTS[me as usize];
    debug_assert!(
        request.left.load(Ordering::Relaxed) == 0,
        "one request at a time"
    );
    // SAFETY: 1. only this CPU writes here, preemption is off, and nobody reads while `left` is zero; 2. the lifetime is
    // cut off: `call` does not return before every target has run the function, so it outlives all uses.
    unsafe {
        *request.function.get() = core::mem::transmute::<
            *const (dyn Fn() + Sync),
            *const (dyn Fn() + Sync + 'static),
        >(function);
    }
    request.left.store(others.count_ones(), Ordering::Release);
    for cpu in each(others) {
        let before = WANTED[cpu as usize].fetch_or(1 << me, Ordering::AcqRel);
        if before == 0 {
            send(cpu, vectors::CALL);
        }
    }
}

fn wait(me: u32, others: CpuMask) {
    let request = &REQUESTS[me as usize];
    while request.left.load(Ordering::Acquire) != 0 {
        if !executor::cpu::irqs_enabled() {
            serve();
        }
        for cpu in each(others & !online()) {
            // It has left: what it did not find is not to be done there.
            if WANTED[cpu as usize].fetch_and(!(1 << me), Ordering::AcqRel) & 1 << me != 0 {
                request.left.fetch_sub(1, Ordering::Release);
            }
        }
        core::hint::spin_loop();
    }
}

/// Runs what other CPUs want run here. Interrupts are off.
fn serve() {
    let me = executor::cpu::id() as usize;
    for from in each(WANTED[me].swap(0, Ordering::AcqRel)) {
        let request = &REQUESTS[from as usize];
        // SAFETY: the sender published the function before it set our bit, and keeps it until we count down.
        let function = unsafe { &**request.function.get() };
        function();
        request.left.fetch_sub(1, Ordering::Release);
    }
}

/// The numbers of the CPUs in `mask`.
pub fn each(mut mask: CpuMask) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let cpu = (mask != 0).then(|| mask.trailing_zeros())?;
        mask &= mask - 1;
        Some(cpu)
    })
}

/// Stops all other CPUs where they are, for good: by NMI, so that masked interrupts do not help them.
///
/// # Context
/// Any: a panic, or the end.
pub fn stop_others() {
    if STOPPING.swap(true, Ordering::AcqRel) || !apic::is_ready() || cpu_count() == 1 {
        return;
    }
    apic::send_nmi_to_others();
    // Lets them get there before we print over them.
    for _ in 0..10_000 {
        core::hint::spin_loop();
    }
}

/// Whether the CPUs are being stopped, which an NMI then means.
pub fn is_stopping() -> bool {
    STOPPING.load(Ordering::Acquire)
}
