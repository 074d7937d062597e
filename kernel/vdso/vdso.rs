//! The vDSO: code of the kernel's that programs call in user mode, so that reading the clock takes no system call.
//!
//! It is a shared object on its own, built by the kernel's build script for the machine's user mode, and mapped into every
//! program with a page of data ([`Data`]) right before it. It must need no relocation: it is never linked.
//!
//! Where the time-stamp counter is no clock, the kernel says so in the page, and all is done by system call.
#![no_std]

use core::arch::asm;
use core::arch::x86_64::{_mm_lfence, _rdtsc};
use core::ptr::{addr_of, read_volatile};
use core::sync::atomic::{Ordering, fence};

include!("../src/vdso/data.rs");

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[repr(C)]
pub struct Timespec {
    sec: i64,
    nsec: i64,
}

#[repr(C)]
pub struct Timeval {
    sec: i64,
    usec: i64,
}

const NS: u64 = 1_000_000_000;
const EINVAL: i64 = -22;

const SYS_GETTIMEOFDAY: u64 = 96;
const SYS_TIME: u64 = 201;
const SYS_CLOCK_GETTIME: u64 = 228;
const SYS_CLOCK_GETRES: u64 = 229;
const SYS_GETCPU: u64 = 309;

#[inline(always)]
fn syscall(number: u64, a: u64, b: u64, c: u64) -> i64 {
    let result;
    // SAFETY: a system call that writes at most where the caller's pointers say.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// The page before this object.
#[inline(always)]
fn data() -> *const Data {
    let page;
    // SAFETY: takes an address, relative to this instruction.
    unsafe { asm!("lea {}, [rip + wake_vvar]", out(reg) page, options(nomem, nostack, preserves_flags)) };
    page
}

/// Times at one moment, in nanoseconds.
struct Now {
    monotonic: u64,
    realtime: u64,
    tai: u64,
    /// Whether the raw clock is the monotonic one.
    raw: bool,
}

/// The time; `None` where the counter is not to be used.
#[inline(always)]
fn clocks() -> Option<Now> {
    let data = data();
    loop {
        // SAFETY: the kernel maps the page before this object, for as long as that is there.
        let (sequence, mode, base, mult, offset, ns, tai, raw) = unsafe {
            let sequence = read_volatile(addr_of!((*data).sequence));
            fence(Ordering::Acquire);
            (
                sequence,
                read_volatile(addr_of!((*data).mode)),
                read_volatile(addr_of!((*data).base)),
                read_volatile(addr_of!((*data).mult)),
                read_volatile(addr_of!((*data).offset)),
                read_volatile(addr_of!((*data).ns)),
                read_volatile(addr_of!((*data).tai)),
                read_volatile(addr_of!((*data).raw)),
            )
        };
        if mode != MODE_TSC {
            return None;
        }
        // SAFETY: every CPU of this machine has both instructions.
        let ticks = unsafe {
            _mm_lfence();
            _rdtsc()
        };
        fence(Ordering::Acquire);
        // SAFETY: as above.
        if sequence & 1 != 0 || unsafe { read_volatile(addr_of!((*data).sequence)) } != sequence {
            continue;
        }
        let since = if ticks > base { ticks - base } else { 0 };
        let monotonic = ns.wrapping_add(((since as u128 * mult as u128) >> 32) as u64);
        let realtime = monotonic.wrapping_add(offset as u64);
        return Some(Now {
            monotonic,
            realtime,
            tai: realtime.wrapping_add(tai as u64),
            raw: raw != 0,
        });
    }
}

/// Nanoseconds on clock `id`, where that is read here.
#[inline(always)]
fn now(id: i32) -> Option<u64> {
    let Now { monotonic, realtime, tai, raw } = clocks()?;
    match id {
        0 => Some(realtime),
        11 => Some(tai),
        1 | 7 => Some(monotonic),
        4 if raw => Some(monotonic),
        5 => Some(realtime - monotonic % COARSE_NS),
        6 => Some(monotonic - monotonic % COARSE_NS),
        _ => None,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn __vdso_clock_gettime(id: i32, to: *mut Timespec) -> i32 {
    match now(id) {
        Some(ns) => {
            // SAFETY: the caller's pointer; a bad one faults in the caller's own code, as in any library.
            unsafe { to.write(Timespec { sec: (ns / NS) as i64, nsec: (ns % NS) as i64 }) };
            0
        }
        None => syscall(SYS_CLOCK_GETTIME, id as u64, to as u64, 0) as i32,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn __vdso_gettimeofday(to: *mut Timeval, zone: *mut [i32; 2]) -> i32 {
    match clocks() {
        Some(Now { realtime: ns, .. }) => {
            if !to.is_null() {
                // SAFETY: as above.
                unsafe { to.write(Timeval { sec: (ns / NS) as i64, usec: (ns % NS / 1000) as i64 }) };
            }
            if !zone.is_null() {
                // SAFETY: as above.
                unsafe { zone.write([0, 0]) };
            }
            0
        }
        None => syscall(SYS_GETTIMEOFDAY, to as u64, zone as u64, 0) as i32,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn __vdso_time(to: *mut i64) -> i64 {
    match clocks() {
        Some(Now { realtime: ns, .. }) => {
            let seconds = (ns / NS) as i64;
            if !to.is_null() {
                // SAFETY: as above.
                unsafe { to.write(seconds) };
            }
            seconds
        }
        None => syscall(SYS_TIME, to as u64, 0, 0),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn __vdso_clock_getres(id: i32, to: *mut Timespec) -> i32 {
    let nsec = match id {
        0 | 1 | 4 | 7 | 11 => 1,
        5 | 6 => COARSE_NS as i64,
        _ if id > 11 => return EINVAL as i32,
        _ => return syscall(SYS_CLOCK_GETRES, id as u64, to as u64, 0) as i32,
    };
    if !to.is_null() {
        // SAFETY: as above.
        unsafe { to.write(Timespec { sec: 0, nsec }) };
    }
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn __vdso_getcpu(cpu: *mut u32, node: *mut u32, unused: *mut u8) -> i64 {
    syscall(SYS_GETCPU, cpu as u64, node as u64, unused as u64)
}
