//! What happens when the kernel cannot go on.
//!
//! Everything here may run in any state: with locks held, on a broken stack, in an NMI, or while panicking already. So it
//! takes no locks, allocates nothing, looks before it reads, and a second panic only makes the first one end sooner. A panic
//! of a driver's task that holds no guard is no such state: it ends that task only.

mod backtrace;
mod exception;

pub use backtrace::{Place, symbols};
pub use exception::exception;

use crate::arch::{self, power, smp, tsc};
use crate::printk::{self, console, level};
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

const NOBODY: u32 = u32::MAX;

/// The CPU that panics.
static PANICKING: AtomicU32 = AtomicU32::new(NOBODY);
/// What to do afterwards: reset after so many seconds, at once if negative, never if 0.
static TIMEOUT: AtomicI32 = AtomicI32::new(0);

/// Seconds from a panic to the reset (`panic=`, `/proc/sys/kernel/panic`): at once if negative, never if 0.
pub fn timeout() -> i32 {
    TIMEOUT.load(Ordering::Relaxed)
}

/// Sets what [`timeout`] gives.
pub fn set_timeout(seconds: i32) {
    TIMEOUT.store(seconds, Ordering::Relaxed);
}

/// Stops the machine as Linux's `panic()` does, for a cause that is not a bug of this kernel: no init, no memory.
///
/// # Context
/// Any; does not return.
pub fn stop(cause: fmt::Arguments<'_>) -> ! {
    begin();
    headline(cause);
    backtrace::print_current();
    end(cause)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    contain(info);
    begin();
    let message = info.message();
    headline(format_args!("{message}"));
    if let Some(location) = info.location() {
        emit(format_args!("at {location}"));
    }
    exception::print_machine_state();
    backtrace::print_current();
    end(format_args!("{message}"))
}

/// Ends the task instead of the machine, where that is possible (rule 23): it has an heir, and holds no guard. Comes back
/// where it is not.
fn contain(info: &PanicInfo<'_>) {
    if !executor::cpu::preemptible() || !executor::cpu::in_poll() {
        return;
    }
    let Some((task, heir)) = executor::current().zip(drivers::device::take_heir()) else {
        return;
    };
    emit(format_args!("BUG: panic in task {}", task.name()));
    emit(format_args!("{}", info.message()));
    if let Some(location) = info.location() {
        emit(format_args!("at {location}"));
    }
    backtrace::print_current();
    heir.died();
    crate::task::suspend::abandon();
}

/// Makes this CPU the one that panics, and the only one that runs.
fn begin() {
    x86_64::instructions::interrupts::disable();
    let me = executor::cpu::id();
    match PANICKING.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Relaxed) {
        Ok(_) => {
            smp::stop_others();
            console::enter_panic();
        }
        Err(first) if first == me => {
            emit(format_args!("panic: the report itself failed"));
            finish()
        }
        // Its NMI is on the way to us.
        Err(_) => arch::halt_forever(),
    }
}

fn headline(cause: fmt::Arguments<'_>) {
    printk::emit(
        level::EMERG,
        format_args!("Kernel panic - not syncing: {cause}"),
    );
    emit(format_args!(
        "CPU: {} Wake {}",
        executor::cpu::id(),
        env!("CARGO_PKG_VERSION")
    ));
}

/// Says that this was all, and does what `panic=` says.
fn end(cause: fmt::Arguments<'_>) -> ! {
    let seconds = timeout();
    if seconds > 0 {
        printk::emit(
            level::EMERG,
            format_args!("Rebooting in {seconds} seconds.."),
        );
    }
    printk::emit(
        level::EMERG,
        format_args!("---[ end Kernel panic - not syncing: {cause} ]---"),
    );
    finish()
}

fn finish() -> ! {
    let seconds = timeout();
    if seconds == 0 {
        arch::halt_forever();
    }
    // A clock that has not been calibrated stands still: no wait then.
    if seconds > 0 && tsc::is_running() {
        let until = tsc::now_ns().saturating_add(seconds.unsigned_abs() as u64 * 1_000_000_000);
        while tsc::now_ns() < until {
            core::hint::spin_loop();
        }
    }
    power::reset()
}

/// Writes a line of the report.
fn emit(line: fmt::Arguments<'_>) {
    printk::emit(level::ERR, line);
}
