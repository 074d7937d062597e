//! The small language of system-call filters: classic BPF, checked once and then run without a check.
//!
//! Source: bpf(4) of the BSDs; Linux `net/core/filter.c` and `kernel/seccomp.c` for what is allowed.

use alloc::vec::Vec;

use fs::Errno;

/// Most instructions of a filter (`BPF_MAXINSNS`).
pub const MAX: usize = 4096;
/// Words of scratch memory.
const MEMORY: usize = 16;

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How far to go if a condition holds.
    pub jt: u8,
    /// How far to go if it does not.
    pub jf: u8,
    /// The constant.
    pub k: u32,
}

/// What a filter looks at: `struct seccomp_data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// The number of the call.
    pub number: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where the call was made.
    pub ip: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Data {
    /// Bytes of the structure.
    pub const SIZE: u32 = 64;

    /// The word at byte `at`, a multiple of four.
    fn word(&self, at: u32) -> u32 {
        let halves = |value: u64| {
            if at.is_multiple_of(8) {
                value as u32
            } else {
                (value >> 32) as u32
            }
        };
        match at {
            0 => self.number as u32,
            4 => self.arch,
            8 | 12 => halves(self.ip),
            at => halves(self.args[(at as usize - 16) / 8]),
        }
    }
}

// Classes of instructions, sizes, modes and operations.
const LD: u16 = 0;
const LDX: u16 = 1;
const ST: u16 = 2;
const STX: u16 = 3;
const ALU: u16 = 4;
const JMP: u16 = 5;
const RET: u16 = 6;
const MISC: u16 = 7;
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const X: u16 = 8;
const A: u16 = 0x10;
const ADD: u16 = 0x00;
const SUB: u16 = 0x10;
const MUL: u16 = 0x20;
const DIV: u16 = 0x30;
const OR: u16 = 0x40;
const AND: u16 = 0x50;
const LSH: u16 = 0x60;
const RSH: u16 = 0x70;
const NEG: u16 = 0x80;
const XOR: u16 = 0xa0;
const JA: u16 = 0x00;
const JEQ: u16 = 0x10;
const JGT: u16 = 0x20;
const JGE: u16 = 0x30;
const JSET: u16 = 0x40;
const TXA: u16 = 0x80;

/// A filter that ends, reads nothing but the call's data and memory that it has written, and never divides by the
/// constant zero.
#[derive(Debug)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Checks a filter.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn new(code: Vec<Instruction>) -> Result<Program, Errno> {
        let last = code.last().ok_or(Errno::EINVAL)?;
        if code.len() > MAX || last.code & 7 != RET {
            return Err(Errno::EINVAL);
        }
        if !code
            .iter()
            .enumerate()
            .all(|(at, i)| is_valid(i, code.len() - at))
        {
            return Err(Errno::EINVAL);
        }
        check_memory(&code)?;
        Ok(Program(code))
    }

    /// Number of instructions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, which never is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the filter says of `data`.
    pub fn run(&self, data: &Data) -> u32 {
        let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; MEMORY]);
        let mut at = 0;
        // All jumps go forward, so this ends; the last instruction returns.
        while let Some(&Instruction { code, jt, jf, k }) = self.0.get(at) {
            at += 1;
            let operand = if code & X != 0 { x } else { k };
            match code & 7 {
                LD => {
                    a = match code & 0xe0 {
                        ABS => data.word(k),
                        MEM => memory[k as usize],
                        LEN => Data::SIZE,
                        _ => k,
                    }
                }
                LDX => {
                    x = match code & 0xe0 {
                        MEM => memory[k as usize],
                        LEN => Data::SIZE,
                        _ => k,
                    }
                }
                ST => memory[k as usize] = a,
                STX => memory[k as usize] = x,
                ALU => match calculate(code & 0xf0, a, operand) {
                    Some(value) => a = value,
                    // A division by a register that is zero ends the filter with 0.
                    None => return 0,
                },
                JMP => {
                    at += match code & 0xf0 {
                        JA => k as usize,
                        test => usize::from(if holds(test, a, operand) { jt } else { jf }),
                    }
                }
                RET => return if code & 0x18 == A { a } else { k },
                _ if code & 0xf8 == TXA => a = x,
                _ => x = a,
            }
        }
        0
    }
}

fn calculate(op: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match op {
        ADD => a.wrapping_add(operand),
        SUB => a.wrapping_sub(operand),
        MUL => a.wrapping_mul(operand),
        DIV => a.checked_div(operand)?,
        OR => a | operand,
        AND => a & operand,
        LSH => a.checked_shl(operand & 31).unwrap_or(0),
        RSH => a.checked_shr(operand & 31).unwrap_or(0),
        NEG => a.wrapping_neg(),
        _ => a ^ operand,
    })
}

fn holds(test: u16, a: u32, operand: u32) -> bool {
    match test {
        JEQ => a == operand,
        JGT => a > operand,
        JGE => a >= operand,
        _ => a & operand != 0,
    }
}

/// Whether an instruction may be in a filter; `left` is how many there are from it on.
fn is_valid(i: &Instruction, left: usize) -> bool {
    let inside = |distance: usize| distance + 1 < left;
    let k = i.k;
    match i.code & 7 {
        // Words of the data, at multiples of four.
        LD if i.code == LD | ABS => k < Data::SIZE && k.is_multiple_of(4),
        LD | LDX => match i.code & 0xf8 {
            MEM => (k as usize) < MEMORY,
            IMM | LEN => true,
            _ => false,
        },
        ST | STX => i.code & 0xf8 == 0 && (k as usize) < MEMORY,
        ALU => {
            let register = i.code & X != 0;
            match i.code & 0xf0 {
                DIV => register || k != 0,
                LSH | RSH => register || k < 32,
                NEG => !register,
                ADD | SUB | MUL | OR | AND | XOR => true,
                _ => false,
            }
        }
        JMP => match i.code & 0xf0 {
            JA => i.code & X == 0 && (k as usize) < left && inside(k as usize),
            JEQ | JGT | JGE | JSET => inside(i.jt.into()) && inside(i.jf.into()),
            _ => false,
        },
        RET => matches!(i.code & 0xf8, 0 | A),
        MISC => matches!(i.code & 0xf8, 0 | TXA),
        _ => false,
    }
}

/// Whether memory is read only where every way there has written it.
fn check_memory(code: &[Instruction]) -> Result<(), Errno> {
    let mut written: Vec<u16> = Vec::new();
    written
        .try_reserve_exact(code.len())
        .map_err(|_| Errno::ENOMEM)?;
    written.resize(code.len(), u16::MAX);
    let mut valid = 0u16;
    for (at, i) in code.iter().enumerate() {
        valid &= written[at];
        match i.code & 7 {
            ST | STX => valid |= 1 << i.k,
            LD | LDX if i.code & 0xe0 == MEM && valid & 1 << i.k == 0 => {
                return Err(Errno::EINVAL);
            }
            JMP => {
                if i.code & 0xf0 == JA {
                    written[at + 1 + i.k as usize] &= valid;
                } else {
                    written[at + 1 + usize::from(i.jt)] &= valid;
                    written[at + 1 + usize::from(i.jf)] &= valid;
                }
                valid = u16::MAX;
            }
            RET => valid = u16::MAX,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    fn run(code: Vec<Instruction>, data: &Data) -> u32 {
        Program::new(code).expect("a good filter").run(data)
    }

    const DATA: Data = Data {
        number: 39,
        arch: 0xc000_003e,
        ip: 0x1_0000_0002,
        args: [0x3_0000_0004, 0, 0, 0, 0, 0x5_0000_0006],
    };

    #[test]
    fn words_of_the_data_are_where_programs_look() {
        for (at, expected) in [
            (0, 39),
            (4, 0xc000_003e),
            (8, 2),
            (12, 1),
            (16, 4),
            (20, 3),
            (56, 6),
            (60, 5),
        ] {
            assert_eq!(
                run(vec![i(0x20, 0, 0, at), i(0x16, 0, 0, 0)], &DATA),
                expected
            );
        }
    }

    #[test]
    fn conditions_choose_the_way() {
        let filter = |k| {
            vec![
                i(0x20, 0, 0, 0),
                i(0x15, 0, 1, k),
                i(6, 0, 0, 7),
                i(6, 0, 0, 8),
            ]
        };
        assert_eq!(run(filter(39), &DATA), 7);
        assert_eq!(run(filter(40), &DATA), 8);
    }

    #[test]
    fn arithmetic_wraps_and_division_by_zero_ends() {
        let with = |op: u16, k| vec![i(0, 0, 0, 10), i(0x04 | op, 0, 0, k), i(0x16, 0, 0, 0)];
        assert_eq!(run(with(SUB, 11), &DATA), u32::MAX);
        assert_eq!(run(with(LSH, 31), &DATA), 0);
        assert_eq!(run(with(XOR, 3), &DATA), 9);
        let by_x = vec![
            i(0, 0, 0, 10),
            i(1, 0, 0, 0),
            i(0x04 | DIV | X, 0, 0, 0),
            i(6, 0, 0, 5),
        ];
        assert_eq!(run(by_x, &DATA), 0);
    }

    #[test]
    fn what_could_go_wrong_is_refused() {
        let ret = i(6, 0, 0, 0);
        for bad in [
            vec![],
            vec![i(0, 0, 0, 0)],
            vec![i(0x20, 0, 0, 64), ret],
            vec![i(0x20, 0, 0, 2), ret],
            vec![i(0x28, 0, 0, 0), ret],
            vec![i(0x05, 0, 0, 1), ret],
            vec![i(0x05, 0, 0, u32::MAX), ret],
            vec![i(0x15, 0, 200, 0), ret],
            vec![i(0x34, 0, 0, 0), ret],
            vec![i(0x64, 0, 0, 32), ret],
            vec![i(0x94, 0, 0, 3), ret],
            vec![i(0x60, 0, 0, 3), ret],
            vec![i(0x02, 0, 0, 16), ret],
            vec![i(0xffff, 0, 0, 0), ret],
            // Written on one of two ways only.
            vec![i(0x15, 0, 1, 0), i(0x02, 0, 0, 1), i(0x60, 0, 0, 1), ret],
        ] {
            assert!(Program::new(bad.clone()).is_err(), "{bad:?}");
        }
        assert!(Program::new(vec![i(0x02, 0, 0, 1), i(0x60, 0, 0, 1), ret]).is_ok());
        assert!(Program::new(vec![ret; MAX + 1]).is_err());
    }

    #[test]
    fn random_filters_that_pass_the_check_end() {
        let mut seed = 1u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u32
        };
        let mut passed = 0;
        for _ in 0..20_000 {
            let mut code: Vec<_> = (0..next() % 6)
                .map(|_| {
                    i(
                        (next() % 256) as u16,
                        (next() % 4) as u8,
                        (next() % 4) as u8,
                        next() % 20,
                    )
                })
                .collect();
            code.push(i(0x16, 0, 0, 0));
            if let Ok(program) = Program::new(code) {
                program.run(&DATA);
                passed += 1;
            }
        }
        assert!(passed > 100);
    }
}
