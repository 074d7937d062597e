//! In-kernel tests of preemption: polls that are left in their midst, everywhere and often, and what they find afterwards.
#![allow(unsafe_code, reason = "looks at registers")]

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::naked_asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use executor::irq::IrqEvent;
use executor::softirq::{self, Vector};
use executor::sync::{Mutex, PerCpuCounter, Semaphore, SpinLock, SpinLockBh, SpinLockIrq, channel};
use executor::time::{HrTimer, Instant, sleep, timeout};
use executor::{JoinHandle, Spawner, cpu, spawn_on, yield_now};
use test_macros::kernel_test;

use super::order::{Entity, Order};
use super::stacks;
use super::suspend::{self, Mode};
use crate::arch::{apic, percpu, smp};
use crate::mm::vmalloc::STACK_SIZE;

/// How long what should come at once may take on a busy host.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Another mode for a while.
pub(super) struct InMode(Mode);

impl InMode {
    pub(super) fn new(mode: Mode) -> Self {
        let before = suspend::mode();
        suspend::set_mode(mode);
        Self(before)
    }
}

impl Drop for InMode {
    fn drop(&mut self) {
        suspend::set_mode(self.0);
        suspend::stress(false);
    }
}

/// Spawns a real-time task on CPU `there`.
fn urgent(there: u32, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let entity = Entity::new(sched::Policy::Fifo { priority: 50 });
    let spawned = Spawner::new("urgent")
        .cpu(there)
        .try_spawn_with::<Order, _>(entity, future);
    spawned.expect("there is memory at boot")
}

/// A little randomness: which does not matter, only that it varies.
pub(super) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Puts numbers made of `seed` into all general registers and the carry flag, and looks `rounds` times whether they stay.
/// 0 if they do.
#[unsafe(naked)]
extern "C" fn registers_change(seed: u64, rounds: u64) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "lea rbx, [rdi + 1]",
        "lea rbp, [rdi + 2]",
        "lea rcx, [rdi + 3]",
        "lea rdx, [rdi + 4]",
        "lea r8, [rdi + 5]",
        "lea r9, [rdi + 6]",
        "lea r10, [rdi + 7]",
        "lea r11, [rdi + 8]",
        "lea r12, [rdi + 9]",
        "lea r13, [rdi + 10]",
        "lea r14, [rdi + 11]",
        "lea r15, [rdi + 12]",
        "push rdi",
        "2:",
        "stc",
        "pause",
        "jnc 3f",
        "cmp [rsp], rdi",
        "jne 3f",
        "lea rax, [rdi + 1]",
        "cmp rax, rbx",
        "jne 3f",
        "inc rax",
        "cmp rax, rbp",
        "jne 3f",
        "inc rax",
        "cmp rax, rcx",
        "jne 3f",
        "inc rax",
        "cmp rax, rdx",
        "jne 3f",
        "inc rax",
        "cmp rax, r8",
        "jne 3f",
        "inc rax",
        "cmp rax, r9",
        "jne 3f",
        "inc rax",
        "cmp rax, r10",
        "jne 3f",
        "inc rax",
        "cmp rax, r11",
        "jne 3f",
        "inc rax",
        "cmp rax, r12",
        "jne 3f",
        "inc rax",
        "cmp rax, r13",
        "jne 3f",
        "inc rax",
        "cmp rax, r14",
        "jne 3f",
        "inc rax",
        "cmp rax, r15",
        "jne 3f",
        "dec rsi",
        "jnz 2b",
        "xor eax, eax",
        "jmp 4f",
        "3:",
        "mov eax, 1",
        "4:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// Fills a stretch of the stack and a block of the heap, lingers, and looks whether they stay.
fn memory_stays(seed: u64) {
    let mut state = seed | 1;
    let local: [u64; 48] = core::array::from_fn(|_| random(&mut state));
    let local = black_box(local);
    let size = (random(&mut state) % 600) as usize + 1;
    let heap: Vec<u64> = (0..size as u64).map(|i| seed ^ i).collect();
    for _ in 0..100 {
        core::hint::spin_loop();
    }
    let mut state = seed | 1;
    assert!(local.iter().all(|word| *word == random(&mut state)));
    assert!(heap.iter().zip(0..).all(|(word, i)| *word == seed ^ i));
}

/// Interrupts this CPU at random gaps of a few microseconds and more, until it goes.
fn unrest(seed: u64) -> HrTimer {
    let state = AtomicU64::new(seed | 1);
    let timer = HrTimer::new(move |now| {
        let mut s = state.load(Ordering::Relaxed);
        let gap = match random(&mut s) % 4 {
            0 => random(&mut s) % 4_000,
            1 => random(&mut s) % 20_000,
            _ => random(&mut s) % 100_000,
        };
        state.store(s, Ordering::Relaxed);
        Some(now.add_ns(1_000 + gap))
    });
    timer.arm(Instant::now().add_ns(1_000));
    timer
}

/// What all workers of the storm use together.
struct Shared {
    spin: SpinLock<[u64; 2]>,
    bh: SpinLockBh<[u64; 2]>,
    irq: SpinLockIrq<[u64; 2]>,
    mutex: Mutex<[u64; 2]>,
    semaphore: Semaphore,
    counter: PerCpuCounter,
}

/// Adds to two numbers that are always equal, with time between.
pub(super) fn add_twice(pair: &mut [u64; 2]) {
    assert_eq!(pair[0], pair[1]);
    pair[0] += 1;
    for _ in 0..10 {
        core::hint::spin_loop();
    }
    pair[1] += 1;
}

async fn worker(shared: Arc<Shared>, seed: u64, rounds: u64) {
    let mut state = seed | 1;
    for round in 0..rounds {
        assert_eq!(
            registers_change(random(&mut state), 200),
            0,
            "a register changed"
        );
        memory_stays(random(&mut state));
        add_twice(&mut shared.spin.lock());
        add_twice(&mut shared.bh.lock());
        add_twice(&mut shared.irq.lock());
        {
            // In one poll or several: the lock goes along.
            let mut pair = shared.mutex.lock().await;
            add_twice(&mut pair);
        }
        let permit = shared.semaphore.acquire(1).await;
        shared.counter.add(1);
        drop(permit);
        match random(&mut state) % 8 {
            0 => sleep(Duration::from_micros(random(&mut state) % 200)).await,
            1 => yield_now().await,
            2 => {
                let (send, receive) = channel(1);
                assert!(send.send(round).await.is_ok());
                assert_eq!(receive.recv().await, Some(round));
            }
            _ => {}
        }
    }
}

fn suspensions() -> u64 {
    suspend::latencies()
        .map(|(_, latency)| latency.suspensions)
        .sum()
}

/// Runs workers on all CPUs, interrupts those at random gaps, and sends the workers about all the while, suspended or
/// not; again, until polls were suspended often enough. Gives how many workers there were.
pub(super) async fn storm<F>(work: impl Fn(u64) -> F) -> u64
where
    F: Future<Output = ()> + Send + 'static,
{
    const WORKERS: u64 = 4;
    let _full = InMode::new(Mode::Full);
    suspend::stress(true);
    let cpus = u64::from(smp::cpu_count());
    let before = suspensions();
    let mut timers = Vec::new();
    for there in 0..cpus {
        let timer = spawn_on(there as u32, "unrest", async move { unrest(there + 99) });
        timers.push(timer.await.expect("it is not aborted"));
    }
    let start = Instant::now();
    let (mut state, mut total) = (4711, 0);
    while suspensions() - before <= 50 {
        assert!(start.elapsed() < 3 * PATIENCE, "hardly a poll is suspended");
        let workers: Vec<_> = (0..cpus * WORKERS)
            .map(|i| spawn_on((i % cpus) as u32, "worker", work(i)))
            .collect();
        total += cpus * WORKERS;
        let tasks: Vec<_> = workers.iter().map(|worker| worker.task().clone()).collect();
        while tasks.iter().any(|task| !task.is_finished()) {
            let task = &tasks[(random(&mut state) % (cpus * WORKERS)) as usize];
            task.migrate((random(&mut state) % cpus) as u32);
            sleep(Duration::from_micros(300)).await;
        }
        for worker in workers {
            assert_eq!(worker.await, Ok(()));
        }
    }
    total
}

#[kernel_test]
async fn polls_suspended_in_every_primitive_go_on_as_if_nothing_had_been() {
    const ROUNDS: u64 = 150;
    let cpus = smp::cpu_count() as usize;
    let shared = Arc::new(Shared {
        spin: SpinLock::new([0; 2]),
        bh: SpinLockBh::new([0; 2]),
        irq: SpinLockIrq::new([0; 2]),
        mutex: Mutex::new([0; 2]),
        semaphore: Semaphore::new(2),
        counter: PerCpuCounter::new(cpus, 8),
    });
    let total = storm(|i| worker(shared.clone(), i + 1, ROUNDS)).await * ROUNDS;
    assert_eq!(*shared.spin.lock(), [total; 2]);
    assert_eq!(*shared.bh.lock(), [total; 2]);
    assert_eq!(*shared.irq.lock(), [total; 2]);
    assert_eq!(*shared.mutex.lock().await, [total; 2]);
    assert_eq!(shared.counter.sum(), total as i64);
}

/// What a task that is woken while the test's poll goes on, and is more urgent, has seen of it.
pub(super) struct Urgent {
    event: Arc<IrqEvent>,
    ran: Arc<AtomicBool>,
    pub(super) task: JoinHandle<()>,
}

impl Urgent {
    pub(super) async fn new() -> Self {
        let event = Arc::new(IrqEvent::new());
        let ran = Arc::new(AtomicBool::new(false));
        let (awaited, runs) = (event.clone(), ran.clone());
        let task = urgent(cpu::id(), async move {
            awaited.wait().await;
            runs.store(true, Ordering::Release);
        });
        // It waits.
        sleep(Duration::from_millis(1)).await;
        Self { event, ran, task }
    }

    pub(super) fn has_run(&self) -> bool {
        self.ran.load(Ordering::Acquire)
    }
}

#[kernel_test]
async fn a_wake_up_and_the_last_guards_end_are_where_a_poll_makes_way() {
    let _full = InMode::new(Mode::Full);
    let urgent = Urgent::new().await;
    urgent.event.raise();
    assert!(urgent.has_run(), "a wake-up on the own CPU");
    assert!(urgent.task.await.is_ok());

    let urgent = Urgent::new().await;
    let outer = cpu::preempt_disable();
    let inner = cpu::preempt_disable();
    urgent.event.raise();
    drop(inner);
    assert!(!urgent.has_run(), "a guard is left");
    drop(outer);
    assert!(urgent.has_run(), "the last guard is gone");
    assert!(urgent.task.await.is_ok());

    let urgent = Urgent::new().await;
    let masked = cpu::irq_save();
    urgent.event.raise();
    assert!(!urgent.has_run(), "interrupts are masked");
    drop(masked);
    assert!(urgent.has_run());
    assert!(urgent.task.await.is_ok());

    let urgent = Urgent::new().await;
    let held = cpu::bh_disable();
    urgent.event.raise();
    assert!(!urgent.has_run(), "softirqs are held off");
    drop(held);
    assert!(urgent.has_run());
    assert!(urgent.task.await.is_ok());
}

#[kernel_test]
async fn preempt_says_where_a_poll_makes_way() {
    let mode = InMode::new(Mode::None);
    let urgent = Urgent::new().await;
    urgent.event.raise();
    cpu::point();
    assert!(!urgent.has_run(), "at its awaits only");
    yield_now().await;
    assert!(urgent.has_run());
    assert!(urgent.task.await.is_ok());
    drop(mode);

    let mode = InMode::new(Mode::Voluntary);
    let urgent = Urgent::new().await;
    urgent.event.raise();
    drop(cpu::preempt_disable());
    assert!(!urgent.has_run(), "only where it asks");
    cpu::point();
    assert!(urgent.has_run(), "it has asked");
    assert!(urgent.task.await.is_ok());
    drop(mode);
}

/// Has a timer interrupt wake an urgent task in 200 us, and gives the timer.
pub(super) fn wake_soon(urgent: &Urgent, fired: &Arc<AtomicBool>) -> HrTimer {
    let (event, fired) = (urgent.event.clone(), fired.clone());
    let timer = HrTimer::new(move |_| {
        event.raise();
        fired.store(true, Ordering::Release);
        None
    });
    timer.arm(Instant::now().add_ns(200_000));
    timer
}

#[kernel_test]
async fn an_interrupt_has_a_poll_make_way_unless_a_guard_forbids_it() {
    let _full = InMode::new(Mode::Full);
    let urgent = Urgent::new().await;
    let fired = Arc::new(AtomicBool::new(false));
    let timer = wake_soon(&urgent, &fired);
    let start = Instant::now();
    // No await: it comes in the midst of this poll.
    while !urgent.has_run() {
        assert!(start.elapsed() < PATIENCE, "the poll did not make way");
        core::hint::spin_loop();
    }
    assert!(urgent.task.await.is_ok());
    drop(timer);

    let urgent = Urgent::new().await;
    let fired = Arc::new(AtomicBool::new(false));
    // First, since the interrupt may come as soon as it is asked for.
    let guard = cpu::preempt_disable();
    let timer = wake_soon(&urgent, &fired);
    let start = Instant::now();
    while !fired.load(Ordering::Acquire) || start.elapsed() < Duration::from_micros(500) {
        assert!(start.elapsed() < PATIENCE, "the timer did not fire");
        core::hint::spin_loop();
    }
    assert!(!urgent.has_run(), "the guard forbids it");
    drop(guard);
    assert!(urgent.has_run());
    assert!(urgent.task.await.is_ok());
    drop(timer);
}

#[kernel_test(cpus = 2)]
async fn a_suspended_poll_goes_on_on_another_cpu() {
    let _full = InMode::new(Mode::Full);
    suspend::stress(true);
    let seen = Arc::new(AtomicU32::new(0));
    let sees = seen.clone();
    let started = Arc::new(AtomicBool::new(false));
    let starts = started.clone();
    let here = cpu::id();
    let there = (here + 1) % smp::cpu_count();
    let unrest = unrest(7);
    // One poll, from beginning to end.
    let traveller = spawn_on(here, "traveller", async move {
        let start = Instant::now();
        starts.store(true, Ordering::Release);
        while cpu::id() != there {
            assert!(start.elapsed() < PATIENCE, "it was not moved");
            assert_eq!(registers_change(0x1234_5678, 50), 0);
        }
        sees.store(cpu::id() + 1, Ordering::Release);
    });
    while !started.load(Ordering::Acquire) {
        yield_now().await;
    }
    traveller.task().migrate(there);
    let task = traveller.task().clone();
    assert_eq!(timeout(PATIENCE, traveller).await, Ok(Ok(())));
    assert_eq!(seen.load(Ordering::Acquire), there + 1);
    assert_eq!(task.polls(), 1, "it was one poll");
    drop(unrest);
}

#[kernel_test(cpus = 2)]
async fn a_poll_that_runs_alone_goes_where_it_is_asked_to_go() {
    let _full = InMode::new(Mode::Full);
    let start = Instant::now();
    for round in 0..50 {
        let count = smp::cpu_count();
        let (from, to) = (round % count, (round + 1) % count);
        let moved = spawn_on(from, "moved", async move {
            let Some(me) = executor::current() else {
                unreachable!("it is a task");
            };
            me.migrate(to);
            // It waits for nothing, and nobody else wants its CPU.
            while cpu::id() != to {
                assert!(start.elapsed() < PATIENCE, "it stays where it is");
                core::hint::spin_loop();
            }
        });
        moved.await.expect("nobody aborts it");
    }
}

#[kernel_test]
async fn stacks_come_back_to_the_pool() {
    let start = Instant::now();
    // Of what other tests suspended nothing is left soon, and the loops of the CPUs stand on one each.
    loop {
        let (ready, made) = stacks::counts();
        if ready + smp::cpu_count() as usize == made {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{ready} of {made} stacks ready");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(stacks::counts().1 <= stacks::limit());
}

#[kernel_test]
async fn no_stack_was_used_to_more_than_half() {
    // One at least, though no other test has run: this poll stays on its own, and what makes it wait stands on another.
    let _full = InMode::new(Mode::Full);
    let urgent = Urgent::new().await;
    urgent.event.raise();
    assert!(urgent.has_run() && urgent.task.await.is_ok());
    let deepest = stacks::deepest_use();
    assert!(deepest > 500, "{deepest} bytes: something stood on them");
    assert!(
        deepest < STACK_SIZE / 2,
        "a stack was used to {deepest} of {STACK_SIZE} bytes"
    );
}

/// Whether the caller stands on the stack that ends at `top`.
fn stands_on(top: u64) -> bool {
    let local = 0_u8;
    let here = black_box(&raw const local) as u64;
    (top - STACK_SIZE as u64..top).contains(&here)
}

#[kernel_test]
async fn interrupts_and_softirqs_have_stacks_of_their_own() {
    let seen = Arc::new(AtomicU32::new(0));
    let sees = seen.clone();
    let timer = HrTimer::new(move |_| {
        // SAFETY: written at boot only.
        let top = unsafe { *percpu::this().irq_stack.get() };
        sees.store(1 + u32::from(stands_on(top)), Ordering::Release);
        None
    });
    timer.arm(Instant::now().add_ns(50_000));
    let start = Instant::now();
    // No await: kernel code is interrupted.
    while seen.load(Ordering::Acquire) == 0 {
        assert!(start.elapsed() < PATIENCE, "the timer did not fire");
        core::hint::spin_loop();
    }
    assert_eq!(seen.load(Ordering::Acquire), 2, "a hard interrupt");
    let bottom_half = softirq::spawn(Vector::Block, "stack test", async {
        // SAFETY: as above.
        stands_on(unsafe { *percpu::this().softirq_stack.get() })
    });
    let bottom_half = bottom_half.expect("there is memory at boot");
    assert_eq!(timeout(PATIENCE, bottom_half).await, Ok(Ok(true)));
}

#[kernel_test(cpus = 2)]
async fn an_nmi_is_counted_and_reported_later() {
    let here = cpu::id();
    let others = || (0..smp::cpu_count()).filter(move |other| *other != here);
    let count = |cpu| percpu::of(cpu).map_or(0, |area| area.nmis.load(Ordering::Relaxed));
    let told = |cpu| percpu::of(cpu).map_or(0, |area| area.nmis_told.load(Ordering::Relaxed));
    let before: u64 = others().map(count).sum();
    apic::send_nmi_to_others();
    let start = Instant::now();
    while others().map(count).sum::<u64>() < before + u64::from(smp::cpu_count()) - 1 {
        assert!(start.elapsed() < PATIENCE, "no NMI came");
        core::hint::spin_loop();
    }
    // Any interrupt will do.
    for other in others() {
        smp::send_reschedule(other);
    }
    while others().any(|other| told(other) != count(other)) {
        assert!(start.elapsed() < PATIENCE, "nothing was said of the NMI");
        core::hint::spin_loop();
    }
}
