//! Exceptions that kernel code must not cause, and NMIs: what they mean, and the registers.

use super::backtrace::{self, Place};
use super::{begin, emit, end, headline};
use crate::arch::trap::{TrapFrame, vector};
use x86_64::registers::control::{Cr0, Cr2, Cr3, Cr4};
use x86_64::registers::model_specific::{FsBase, GsBase};

/// Reports an exception that kernel code caused and that nothing expected, and stops.
///
/// # Context
/// Any; does not return.
pub fn exception(frame: &TrapFrame) -> ! {
    begin();
    match frame.vector {
        vector::PAGE_FAULT => page_fault(frame),
        vector::DOUBLE_FAULT if Cr2::read_raw().abs_diff(frame.rsp) < 4096 => {
            emit(format_args!(
                "BUG: stack guard page was hit at {:016x}",
                Cr2::read_raw()
            ));
        }
        other => emit(format_args!("{}: {:04x}", name(other), frame.error)),
    }
    let cause = match frame.vector {
        vector::DOUBLE_FAULT => "Fatal exception: double fault",
        vector::MACHINE_CHECK => "Fatal machine check",
        _ => "Fatal exception",
    };
    headline(format_args!("{cause}"));
    print_registers(frame);
    print_machine_state();
    backtrace::print(Some(frame.rip), frame.rbp);
    end(format_args!("{cause}"))
}

fn page_fault(frame: &TrapFrame) {
    let address = Cr2::read_raw();
    if address < 4096 {
        emit(format_args!(
            "BUG: kernel NULL pointer dereference, address: {address:016x}"
        ));
    } else {
        emit(format_args!(
            "BUG: unable to handle page fault for address: {address:016x}"
        ));
    }
    let error = frame.error;
    let who = if error & 4 != 0 { "user" } else { "supervisor" };
    let what = match (error & 16 != 0, error & 2 != 0) {
        (true, _) => "instruction fetch",
        (_, true) => "write access",
        _ => "read access",
    };
    emit(format_args!("#PF: {who} {what} in kernel mode"));
    let why = match () {
        () if error & 8 != 0 => "reserved bit violation",
        () if error & 1 != 0 => "permissions violation",
        () => "not-present page",
    };
    emit(format_args!("#PF: error_code({error:#06x}) - {why}"));
}

/// Prints the registers of the code that was interrupted, as Linux lays them out.
fn print_registers(r: &TrapFrame) {
    emit(format_args!("RIP: {:04x}:{}", r.cs, Place(r.rip)));
    emit(format_args!(
        "RSP: {:04x}:{:016x} EFLAGS: {:08x}",
        r.ss, r.rsp, r.rflags
    ));
    emit(format_args!(
        "RAX: {:016x} RBX: {:016x} RCX: {:016x}",
        r.rax, r.rbx, r.rcx
    ));
    emit(format_args!(
        "RDX: {:016x} RSI: {:016x} RDI: {:016x}",
        r.rdx, r.rsi, r.rdi
    ));
    emit(format_args!(
        "RBP: {:016x} R08: {:016x} R09: {:016x}",
        r.rbp, r.r8, r.r9
    ));
    emit(format_args!(
        "R10: {:016x} R11: {:016x} R12: {:016x}",
        r.r10, r.r11, r.r12
    ));
    emit(format_args!(
        "R13: {:016x} R14: {:016x} R15: {:016x}",
        r.r13, r.r14, r.r15
    ));
}

/// Prints the control registers and segment bases.
pub(super) fn print_machine_state() {
    emit(format_args!(
        "FS:  {:016x} GS:  {:016x}",
        FsBase::read().as_u64(),
        GsBase::read().as_u64()
    ));
    let cr3 = Cr3::read_raw().0.start_address().as_u64();
    emit(format_args!(
        "CR0: {:016x} CR2: {:016x} CR3: {cr3:016x} CR4: {:016x}",
        Cr0::read_raw(),
        Cr2::read_raw(),
        Cr4::read_raw()
    ));
}

/// Linux's name of exception `vector`.
const fn name(vector: u64) -> &'static str {
    match vector {
        vector::DIVIDE => "divide error",
        vector::DEBUG => "debug",
        vector::BREAKPOINT => "int3",
        vector::OVERFLOW => "overflow",
        vector::BOUND => "bounds",
        vector::INVALID_OPCODE => "invalid opcode",
        vector::NO_DEVICE => "device not available",
        vector::DOUBLE_FAULT => "double fault",
        vector::INVALID_TSS => "invalid TSS",
        vector::NOT_PRESENT => "segment not present",
        vector::STACK => "stack segment",
        vector::PROTECTION => "general protection fault",
        vector::X87 => "fpu exception",
        vector::ALIGNMENT => "alignment check",
        vector::MACHINE_CHECK => "machine check",
        vector::SIMD => "simd exception",
        _ => "unexpected exception",
    }
}
