//! Where the allocator must not be entered (rules 1 and 26), every test kernel finds who does.

use alloc::boxed::Box;
use core::hint::{black_box, spin_loop};
use core::time::Duration;

use executor::cpu;
use executor::time::{HrTimer, Instant};
use test_macros::kernel_test;

/// Takes memory, and gives it back.
fn allocate() {
    drop(black_box(Box::new([7_u8; 40])));
}

#[kernel_test(panics = "the allocator was entered from a hard interrupt or a wake-up")]
fn a_hard_interrupt_that_allocates_is_found() {
    let timer = HrTimer::new(|_| {
        allocate();
        None
    });
    let begun = Instant::now();
    timer.arm(begun + Duration::from_millis(1));
    // The interrupt does not come back.
    while begun.elapsed() < Duration::from_secs(60) {
        spin_loop();
    }
}

#[kernel_test(panics = "the allocator was entered from a hard interrupt or a wake-up")]
fn a_wake_up_that_allocates_is_found() {
    allocate();
    let _waking = cpu::forbid_alloc();
    allocate();
}

#[kernel_test(panics = "the allocator was entered from a hard interrupt or a wake-up")]
fn a_hard_interrupt_that_frees_is_found() {
    let block = black_box(Box::new([7_u8; 40]));
    let _masked = cpu::irq_save();
    cpu::hardirq_enter();
    drop(block);
    cpu::hardirq_exit();
}
