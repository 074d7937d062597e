//! Registers of threads that others interrupt and preempt at random: all general ones, and SSE's and AVX's, stay what they
//! are, in the midst of the program and of its calls, and none shows what another thread holds.
//!
//! Each thread holds numbers of its own and looks that they stay. For each CPU a real-time thread sleeps for a random
//! number of microseconds, again and again: each end of that is an interrupt, and takes the CPU from whoever has it.

use std::arch::{is_x86_feature_detected, naked_asm};
use std::cell::Cell;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::cases;
use crate::load::Attr;
use crate::sys::{ok, sched_getaffinity, sched_setaffinity};

cases![
    sse_registers_stay_in_a_program,
    avx_registers_stay_in_a_program,
    sse_registers_stay_across_calls,
    avx_registers_stay_across_calls,
];

/// Longest sleep between two interruptions, in microseconds.
const LONGEST_GAP: u64 = 400;
/// How often each thread looks.
const ROUNDS: usize = 24;
/// Threads per CPU that look.
const THREADS: usize = 2;

/// The numbers that all registers but the stack pointer hold.
#[derive(Clone, Debug, PartialEq)]
#[repr(C)]
struct Registers {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15.
    general: [u64; 15],
    /// 32 bytes each, of which SSE has the first 16.
    vectors: [[u64; 4]; 16],
}

const RAX: usize = 0;
const RCX: usize = 2;
const RDX: usize = 3;
const RSI: usize = 4;
const RDI: usize = 5;
const R11: usize = 10;

/// What [`hold_sse`] and [`hold_avx`] are given, and what they found.
#[repr(C)]
struct Held {
    given: Registers,
    found: Registers,
    /// How long the registers are held, in turns of a loop.
    turns: u64,
    /// Whether a system call is made then.
    calls: u64,
}

/// Declares a function that loads all registers, holds them, makes a call if asked to, and stores them.
macro_rules! hold {
    ($(#[$m:meta])* $name:ident, $load:literal, $store:literal, $end:literal) => {
        $(#[$m])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name(held: &mut Held) {
            naked_asm!(
                "push rbx",
                "push rbp",
                "push r12",
                "push r13",
                "push r14",
                "push r15",
                "push rdi",
                "push [rdi + {calls}]",
                "push [rdi + {turns}]",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                $load,
                ".endr",
                "mov rax, [rdi]",
                "mov rbx, [rdi + 8]",
                "mov rcx, [rdi + 16]",
                "mov rdx, [rdi + 24]",
                "mov rsi, [rdi + 32]",
                "mov rbp, [rdi + 48]",
                "mov r8, [rdi + 56]",
                "mov r9, [rdi + 64]",
                "mov r10, [rdi + 72]",
                "mov r11, [rdi + 80]",
                "mov r12, [rdi + 88]",
                "mov r13, [rdi + 96]",
                "mov r14, [rdi + 104]",
                "mov r15, [rdi + 112]",
                "mov rdi, [rdi + 40]",
                "2:",
                "dec qword ptr [rsp]",
                "jnz 2b",
                "cmp qword ptr [rsp + 8], 0",
                "je 3f",
                "syscall",
                "3:",
                "xchg rdi, [rsp + 16]",
                "mov [rdi + {found}], rax",
                "mov [rdi + {found} + 8], rbx",
                "mov [rdi + {found} + 16], rcx",
                "mov [rdi + {found} + 24], rdx",
                "mov [rdi + {found} + 32], rsi",
                "mov [rdi + {found} + 48], rbp",
                "mov [rdi + {found} + 56], r8",
                "mov [rdi + {found} + 64], r9",
                "mov [rdi + {found} + 72], r10",
                "mov [rdi + {found} + 80], r11",
                "mov [rdi + {found} + 88], r12",
                "mov [rdi + {found} + 96], r13",
                "mov [rdi + {found} + 104], r14",
                "mov [rdi + {found} + 112], r15",
                "mov rax, [rsp + 16]",
                "mov [rdi + {found} + 40], rax",
                ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                $store,
                ".endr",
                $end,
                "add rsp, 24",
                "pop r15",
                "pop r14",
                "pop r13",
                "pop r12",
                "pop rbp",
                "pop rbx",
                "ret",
                turns = const offset_of!(Held, turns),
                calls = const offset_of!(Held, calls),
                found = const offset_of!(Held, found),
                vectors = const offset_of!(Registers, vectors),
            )
        }
    };
}

hold!(
    /// Holds the general registers and SSE's.
    ///
    /// # Safety
    /// What the registers ask of the system, if they are to, may be done.
    hold_sse,
    "movdqu xmm\\n, [rdi + {vectors} + 32 * \\n]",
    "movdqu [rdi + {found} + {vectors} + 32 * \\n], xmm\\n",
    ""
);

hold!(
    /// Holds the general registers and AVX's.
    ///
    /// # Safety
    /// As for `hold_sse`; the processor has AVX.
    hold_avx,
    "vmovdqu ymm\\n, [rdi + {vectors} + 32 * \\n]",
    "vmovdqu [rdi + {found} + {vectors} + 32 * \\n], ymm\\n",
    "vzeroupper"
);

type Hold = unsafe extern "C" fn(&mut Held);

thread_local! {
    /// Of each thread its own, if the base of its segment is.
    static NAME: Cell<u64> = const { Cell::new(0) };
}

/// A little randomness: which does not matter, only that it varies.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Numbers that no other thread has.
fn numbers(state: &mut u64, avx: bool) -> Registers {
    let mut registers = Registers {
        general: std::array::from_fn(|_| random(state)),
        vectors: std::array::from_fn(|_| std::array::from_fn(|_| random(state))),
    };
    if !avx {
        for vector in &mut registers.vectors {
            vector[2..].fill(0);
        }
    }
    registers
}

/// Holds numbers, again and again.
fn look(hold: Hold, avx: bool, calls: bool, seed: u64) {
    NAME.set(seed);
    let mut state = seed;
    let zeros = std::fs::File::open("/dev/zero").expect("it is there");
    let mut buffer = vec![0_u8; 64 << 10];
    for _ in 0..ROUNDS {
        let mut given = numbers(&mut state, avx);
        if calls {
            buffer.fill(0xff);
            // read(2), of so much that the kernel is interrupted in its midst.
            given.general[RAX] = libc::SYS_read as u64;
            given.general[RDI] = std::os::fd::AsRawFd::as_raw_fd(&zeros) as u64;
            given.general[RSI] = buffer.as_mut_ptr().addr() as u64;
            given.general[RDX] = buffer.len() as u64;
        }
        let mut held = Held {
            given: given.clone(),
            found: given.clone(),
            turns: 1 + random(&mut state) % 100_000,
            calls: calls.into(),
        };
        // Not left as they are if nothing is stored there.
        held.found.general.fill(0);
        // SAFETY: a call, if there is one, reads into a buffer of that size; for AVX the caller asked the processor.
        unsafe { hold(&mut held) };
        if calls {
            // What the call gives, and what the instruction itself changes.
            given.general[RAX] = buffer.len() as u64;
            given.general[RCX] = held.found.general[RCX];
            given.general[R11] = held.found.general[R11];
            assert!(buffer.iter().all(|byte| *byte == 0), "all was read");
        }
        assert_eq!(held.found, given, "a register has changed");
        assert_eq!(NAME.get(), seed, "another thread's memory");
    }
}

/// Takes processor `cpu` from others for a moment, at random gaps, until it is to stop.
fn interrupt(cpu: usize, stop: &AtomicBool) {
    const FIFO: u32 = 1;
    ok(sched_setaffinity(0, &[cpu]));
    Attr::policy(FIFO, 5).set(0).expect("root may");
    let mut state = cpu as u64 + 77;
    while !stop.load(Ordering::Relaxed) {
        let gap = 1 + random(&mut state) % LONGEST_GAP;
        thread::sleep(std::time::Duration::from_micros(gap));
    }
}

fn all_look(hold: Hold, avx: bool, calls: bool) {
    let cpus = ok(sched_getaffinity(0));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for cpu in &cpus {
            let stop = &stop;
            scope.spawn(move || interrupt(*cpu, stop));
        }
        let looks: Vec<_> = (0..cpus.len() * THREADS)
            .map(|number| scope.spawn(move || look(hold, avx, calls, number as u64 + 1)))
            .collect();
        let ends: Vec<_> = looks.into_iter().map(|thread| thread.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(|end| end.is_ok()));
    });
}

fn sse_registers_stay_in_a_program() {
    all_look(hold_sse, false, false);
}

fn avx_registers_stay_in_a_program() {
    if is_x86_feature_detected!("avx") {
        all_look(hold_avx, true, false);
    }
}

fn sse_registers_stay_across_calls() {
    all_look(hold_sse, false, true);
}

fn avx_registers_stay_across_calls() {
    if is_x86_feature_detected!("avx") {
        all_look(hold_avx, true, true);
    }
}
