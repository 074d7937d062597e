//! In-kernel tests of the ways into the kernel: the descriptor table, its stubs, and what happens where a stack ends.
#![allow(unsafe_code, reason = "reads the table that the CPU reads")]

use core::hint::black_box;

use test_macros::kernel_test;
use x86_64::instructions::tables::sidt;

use super::selectors::KERNEL_CS;
use super::trap::{self, vector};

/// A gate, as the CPU finds it (Intel SDM 3A, figure 6-8).
struct Gate {
    handler: u64,
    selector: u16,
    stack: u64,
    /// Type, privilege and presence.
    kind: u64,
}

/// All gates of the table that this CPU uses.
fn gates() -> impl Iterator<Item = (u8, Gate)> {
    let table = sidt();
    assert_eq!(table.limit, 256 * 16 - 1);
    // SAFETY: the CPU's own table: of that size, mapped, and never written after boot.
    let table = unsafe { &*table.base.as_ptr::<[[u64; 2]; 256]>() };
    let decode = |[low, high]: [u64; 2]| Gate {
        handler: low & 0xffff | low >> 48 << 16 | high << 32,
        selector: (low >> 16) as u16,
        stack: low >> 32 & 7,
        kind: low >> 40 & 0xff,
    };
    (0..=255).zip(table.iter().copied().map(decode))
}

#[kernel_test]
fn every_vector_has_a_gate_that_masks_interrupts() {
    const PRESENT: u64 = 0x80;
    const INTERRUPT_GATE: u64 = 0xe;
    const USER: u64 = 0x60;
    let mut stacks = 0_u64;
    for (number, gate) in gates() {
        assert_eq!(gate.handler, trap::stub(number), "vector {number}");
        assert_eq!(gate.selector, KERNEL_CS);
        // Programs reach the breakpoint's and the overflow's by an instruction of theirs, and no other.
        let user = if matches!(number, 3 | 4) { USER } else { 0 };
        assert_eq!(
            gate.kind,
            PRESENT | INTERRUPT_GATE | user,
            "vector {number}"
        );
        // What may come where no stack can be trusted has one of its own, each another.
        let apart = [
            vector::DEBUG,
            vector::NMI,
            vector::DOUBLE_FAULT,
            vector::MACHINE_CHECK,
        ];
        assert_eq!(
            gate.stack != 0,
            apart.contains(&u64::from(number)),
            "vector {number}"
        );
        if gate.stack != 0 {
            assert_eq!(
                stacks & 1 << gate.stack,
                0,
                "vector {number} shares its stack"
            );
            stacks |= 1 << gate.stack;
        }
    }
}

#[kernel_test]
fn every_stub_pushes_its_vector_below_an_error_code() {
    for (number, gate) in gates() {
        // SAFETY: the stub's own code, which is 16 bytes long and mapped.
        let code = unsafe { &*(gate.handler as *const [u8; 16]) };
        // The CPU pushes a code for these (SDM 3A, table 6-1), and the stub a zero for the others.
        let has_code = matches!(number, 8 | 10..=14 | 17 | 21 | 29 | 30);
        let rest = match (code.strip_prefix(&[0x6a, 0]), has_code) {
            (Some(rest), false) => rest,
            (None, true) => &code[..],
            _ => panic!("vector {number} begins with {code:x?}"),
        };
        // `push` of a byte, or of four: in the former a number above 127 would be negative.
        let pushed = match rest {
            [0x6a, n, ..] if *n < 0x80 => u32::from(*n),
            [0x68, a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
            _ => panic!("vector {number} goes on with {rest:x?}"),
        };
        assert_eq!(pushed, u32::from(number));
    }
}

/// Uses stack until there is none left.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    descend(depth + 1) + black_box(frame)[0]
}

/// The page fault finds no stack to push to; the double fault has one of its own.
#[kernel_test(panics = "stack guard page was hit")]
fn a_stack_that_overflows_is_told_by_who_has_another() {
    black_box(descend(0));
}
