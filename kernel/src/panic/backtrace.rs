//! Who called whom, by frame pointers.

#![allow(unsafe_code, reason = "reads the frame pointer")]

use super::emit;
use crate::arch::layout;
use crate::arch::probe;
use crate::symbols::SymbolTable;
use core::arch::asm;
use core::fmt;

const MAX_FRAMES: usize = 48;

/// The symbol table in the image, if the runner wrote one.
pub fn symbols() -> Option<SymbolTable<'static>> {
    SymbolTable::parse(layout::ksyms_bytes())
}

/// An address in code, printed as `symbol+offset` where there are symbols.
pub struct Place(pub u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match symbols().and_then(|table| table.lookup(self.0)) {
            Some((name, offset)) => write!(f, "{name}+{offset:#x}"),
            None => write!(f, "{:#018x}", self.0),
        }
    }
}

/// Prints the callers of this function's caller.
#[inline(never)]
pub fn print_current() {
    let rbp: u64;
    // SAFETY: copies a register.
    unsafe { asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    print(None, rbp);
}

/// Prints a trace that starts at `rip`, if given, with frame pointer `rbp`.
pub fn print(rip: Option<u64>, mut rbp: u64) {
    emit(format_args!("Call Trace:"));
    if let Some(rip) = rip {
        emit(format_args!(" {}", Place(rip)));
    }
    for _ in 0..MAX_FRAMES {
        // Each frame holds the caller's frame pointer and, above it, the address to return to.
        let (Some(caller), Some(back)) = (probe::read(rbp), probe::read(rbp.wrapping_add(8)))
        else {
            return;
        };
        if !layout::text().contains(&back) {
            return;
        }
        // The call is in front of the address that it returns to, and may be a function's last instruction.
        emit(format_args!(" {}", Place(back - 1)));
        if caller == rbp {
            return;
        }
        rbp = caller;
    }
    emit(format_args!(" ..."));
}
