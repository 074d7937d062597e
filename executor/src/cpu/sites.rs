//! The instructions that sections with interrupts or preemption off begin and end with, and what may take their place.
//!
//! Such an instruction costs nothing but itself. A machine that wants sections measured replaces it with a call of the same
//! length that notes the event and then does what the instruction did, and puts the instruction back afterwards. The linker
//! collects their places, as distances from each entry's own address, in the section `.cpu_sites`; a machine that never
//! measures may drop it.
//!
//! | instruction | what it is for |
//! | --- | --- |
//! | `add dword ptr gs:[0], N`, `sub` | the word of rule 7 |
//! | `sub qword ptr gs:[0], N`, `cmp` | the same, with the look at what is asked for |
//! | `cli`, `sti` | interrupts; with prefixes that mean nothing, to be long enough |
//! | `nop` | interrupts are about to come on |
//! | `mov eax, gs:[4]` | the last look before a user program |
//!
//! The call is the whole length of the instruction, by prefixes, so that it returns to where the next instruction begins,
//! whichever is there by then: a task may be suspended in the call, and go on when the instruction is back.

use core::arch::naked_asm;

use super::scratch::{pop_scratch, push_scratch};
use crate::raw::Event;

/// The longest of these instructions.
pub const MAX_LEN: usize = 15;

/// An instruction, as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Instruction {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn new(bytes: &[u8]) -> Self {
        let mut it = Self {
            bytes: [0; MAX_LEN],
            len: bytes.len(),
        };
        it.bytes[..bytes.len()].copy_from_slice(bytes);
        it
    }

    /// A call of `target` that is `len` bytes long, at `at`.
    fn call(at: u64, len: usize, target: u64) -> Self {
        /// A prefix that a call ignores.
        const CS: u8 = 0x2e;
        let mut it = Self {
            bytes: [CS; MAX_LEN],
            len,
        };
        let distance = target.wrapping_sub(at + len as u64) as i32;
        it.bytes[len - 5] = 0xe8;
        it.bytes[len - 4..len].copy_from_slice(&distance.to_le_bytes());
        it
    }
}

/// The instruction at the start of `bytes`, which stands at `at`, and the call that notes it; `None` if it is not to be noted,
/// or is none that this crate lists.
pub fn find(bytes: &[u8], at: u64) -> Option<(Instruction, Instruction)> {
    let (len, thunk) = THUNKS.iter().find_map(|(instruction, thunk)| {
        bytes
            .starts_with(instruction)
            .then_some((instruction.len(), *thunk))
    })?;
    let target = thunk as usize as u64;
    Some((
        Instruction::new(&bytes[..len]),
        Instruction::call(at, len, target),
    ))
}

type Thunk = unsafe extern "C" fn();

/// What a thunk notes, as [`note`] is told.
mod kind {
    /// The word has grown.
    pub const GROWN: u32 = 0;
    /// The word is about to shrink.
    pub const SHRINKS: u32 = 1;
    /// Interrupts are as the flags have it.
    pub const LOOK: u32 = 2;
    /// Interrupts are about to come on.
    pub const COME_ON: u32 = 3;
    /// A user program is about to be entered.
    pub const USER: u32 = 4;
}

/// Defines a thunk: `before`, note, `after`, with all registers as the instruction alone would have left them, and the flags
/// that the last of them leaves.
macro_rules! thunk {
    ($name:ident, [$($before:literal)?], $kind:ident($n:literal), [$($after:literal)?]) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                $($before,)?
                "pushfq",
                "push rbp",
                "mov rbp, rsp",
                // What is noted is the event that comes last: an interrupt would note its own in the midst of it.
                "cli",
                push_scratch!(),
                "mov rdi, [rbp + 16]",
                "mov rsi, [rbp + 8]",
                "mov edx, {kind}",
                "mov ecx, {n}",
                "and rsp, -16",
                "call {note}",
                "lea rsp, [rbp - 72]",
                pop_scratch!(),
                "pop rbp",
                "popfq",
                $($after,)?
                "ret",
                kind = const kind::$kind,
                n = const $n,
                note = sym note,
            )
        }
    };
}

thunk!(add_preempt, ["add dword ptr gs:[0], 1"], GROWN(1), []);
thunk!(
    add_softirq,
    ["add dword ptr gs:[0], 0x100"],
    GROWN(0x100),
    []
);
thunk!(add_bh, ["add dword ptr gs:[0], 0x200"], GROWN(0x200), []);
thunk!(
    add_hardirq,
    ["add dword ptr gs:[0], 0x10000"],
    GROWN(0x10000),
    []
);
thunk!(sub_preempt, [], SHRINKS(1), ["sub dword ptr gs:[0], 1"]);
thunk!(
    sub_softirq,
    [],
    SHRINKS(0x100),
    ["sub dword ptr gs:[0], 0x100"]
);
thunk!(sub_bh, [], SHRINKS(0x200), ["sub dword ptr gs:[0], 0x200"]);
thunk!(
    sub_hardirq,
    [],
    SHRINKS(0x10000),
    ["sub dword ptr gs:[0], 0x10000"]
);
thunk!(
    sub_preempt_and_look,
    [],
    SHRINKS(1),
    ["sub qword ptr gs:[0], 1"]
);
thunk!(look, [], LOOK(0), ["cmp qword ptr gs:[0], 0"]);
thunk!(cli, ["cli"], LOOK(0), []);
thunk!(sti, [], COME_ON(0), ["sti"]);
thunk!(resume, [], COME_ON(0), []);
thunk!(user, [], USER(0), ["mov eax, gs:[4]"]);

/// The instructions of `bare.rs`, and what takes their place. Those that count NMIs, and what the allocator is forbidden by,
/// are left alone.
static THUNKS: [(&[u8], Thunk); 14] = [
    (&[0x65, 0x83, 0x04, 0x25, 0, 0, 0, 0, 1], add_preempt),
    (
        &[0x65, 0x81, 0x04, 0x25, 0, 0, 0, 0, 0, 1, 0, 0],
        add_softirq,
    ),
    (&[0x65, 0x81, 0x04, 0x25, 0, 0, 0, 0, 0, 2, 0, 0], add_bh),
    (
        &[0x65, 0x81, 0x04, 0x25, 0, 0, 0, 0, 0, 0, 1, 0],
        add_hardirq,
    ),
    (&[0x65, 0x83, 0x2c, 0x25, 0, 0, 0, 0, 1], sub_preempt),
    (
        &[0x65, 0x81, 0x2c, 0x25, 0, 0, 0, 0, 0, 1, 0, 0],
        sub_softirq,
    ),
    (&[0x65, 0x81, 0x2c, 0x25, 0, 0, 0, 0, 0, 2, 0, 0], sub_bh),
    (
        &[0x65, 0x81, 0x2c, 0x25, 0, 0, 0, 0, 0, 0, 1, 0],
        sub_hardirq,
    ),
    (
        &[0x65, 0x48, 0x83, 0x2c, 0x25, 0, 0, 0, 0, 1],
        sub_preempt_and_look,
    ),
    (&[0x65, 0x48, 0x83, 0x3c, 0x25, 0, 0, 0, 0, 0], look),
    (&[0x2e, 0x2e, 0x2e, 0x2e, 0xfa], cli),
    (&[0x2e, 0x2e, 0x2e, 0x2e, 0xfb], sti),
    (&[0x0f, 0x1f, 0x44, 0, 0], resume),
    (&[0x65, 0x8b, 0x04, 0x25, 4, 0, 0, 0], user),
];

/// Notes what the instruction in front of `at` does. It may not come through any such instruction itself, guards included.
extern "C" fn note(at: u64, flags: u64, kind: u32, n: u32) {
    const FLAG_IF: u64 = 1 << 9;
    let Some(shared) = super::shared() else {
        return;
    };
    let word = super::preempt_word();
    let event = match kind {
        kind::GROWN => Event::Word {
            before: word - n,
            after: word,
        },
        kind::SHRINKS => Event::Word {
            before: word,
            after: word - n,
        },
        kind::USER => Event::EnterUser,
        _ => Event::Interrupts,
    };
    let irqs_on = matches!(kind, kind::COME_ON | kind::USER) || flags & FLAG_IF != 0;
    shared.note(event, irqs_on, at);
}
