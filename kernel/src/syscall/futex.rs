//! futex(2).

use alloc::boxed::Box;
use alloc::vec::Vec;

use executor::time::Instant;
use fs::{Errno, Result};

use super::{Call, Plain, Stop, SysResult};
use crate::arch::uaccess;
use crate::futex::pi::Requeue;
use crate::futex::{self, BITSET_ANY, Key, Wait};
use crate::process::thread::Restart;
use crate::timekeeping;
use crate::usermem;

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[(202, futex_call), (449, futex_waitv)];

const WAIT: u32 = 0;
const WAKE: u32 = 1;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE_OP: u32 = 5;
const LOCK_PI: u32 = 6;
const UNLOCK_PI: u32 = 7;
const TRYLOCK_PI: u32 = 8;
const WAIT_BITSET: u32 = 9;
const WAKE_BITSET: u32 = 10;
const WAIT_REQUEUE_PI: u32 = 11;
const CMP_REQUEUE_PI: u32 = 12;
const LOCK_PI2: u32 = 13;
const PRIVATE_FLAG: u32 = 128;
const CLOCK_REALTIME_FLAG: u32 = 256;

/// The operation without its flags.
fn operation(op: u32) -> u32 {
    op & !(PRIVATE_FLAG | CLOCK_REALTIME_FLAG)
}

fn futex_call(call: &mut Call<'_>) -> SysResult {
    let op = call.arg(1) as u32;
    let private = op & PRIVATE_FLAG != 0;
    let (addr, count) = (call.arg(0), call.int(2));
    let command = operation(op);
    let with_clock = [WAIT_BITSET, WAIT_REQUEUE_PI, LOCK_PI2];
    if op & CLOCK_REALTIME_FLAG != 0 && !with_clock.contains(&command) {
        return Err(Errno::ENOSYS.into());
    }
    match command {
        WAIT | WAIT_BITSET => {
            if command == WAIT_BITSET && call.arg(5) as u32 == 0 {
                return Err(Errno::EINVAL.into());
            }
            call.deadline = deadline(call.arg(3), op)?;
            if !addr.is_multiple_of(4) {
                return Err(Errno::EINVAL.into());
            }
            // Most waits that fail do so here, without a future.
            if uaccess::load_u32(addr).is_some_and(|value| value != call.arg(2) as u32) {
                return Err(Errno::EAGAIN.into());
            }
            Err(Stop::Wait)
        }
        WAKE => wake(key(call, addr, private)?, count, BITSET_ANY),
        WAKE_BITSET => match call.arg(5) as u32 {
            0 => Err(Errno::EINVAL.into()),
            bits => wake(key(call, addr, private)?, count, bits),
        },
        REQUEUE => requeue(call, private, None),
        CMP_REQUEUE => {
            let expected = call.arg(5) as u32;
            requeue(call, private, Some(expected))
        }
        WAKE_OP => wake_op(call, private),
        LOCK_PI | LOCK_PI2 => {
            call.deadline = deadline(call.arg(3), op)?;
            key(call, addr, private)?;
            Err(Stop::Wait)
        }
        TRYLOCK_PI => {
            futex::pi::try_lock(call.thread, key(call, addr, private)?, addr)?;
            Ok(0)
        }
        UNLOCK_PI => {
            futex::pi::unlock(call.thread, addr, || key(call, addr, private))?;
            Ok(0)
        }
        WAIT_REQUEUE_PI => {
            call.deadline = deadline(call.arg(3), op)?;
            if addr == call.arg(4) {
                return Err(Errno::EINVAL.into());
            }
            key(call, call.arg(4), private)?;
            Err(Stop::Wait)
        }
        CMP_REQUEUE_PI => requeue_pi(call, private),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn wake(key: Key, count: i32, bitset: u32) -> SysResult {
    Ok(futex::wake(key, at_least_one(count), bitset)? as u64)
}

/// As on Linux, a wake-up for fewer than one wakes one.
fn at_least_one(count: i32) -> usize {
    count.max(1) as usize
}

fn key(call: &Call<'_>, addr: u64, private: bool) -> Result<Key> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if !uaccess::in_user_half(addr, 4) {
        return Err(Errno::EFAULT);
    }
    Key::new(&call.thread.mm().ok_or(Errno::EFAULT)?, addr, private)
}

/// When a wait ends, on the monotonic clock. `FUTEX_WAIT` has a relative time; the others an absolute one, on the clock
/// that their flag says, but that `FUTEX_LOCK_PI` knows wall time only.
fn deadline(at: u64, op: u32) -> Result<Option<Instant>> {
    if at == 0 {
        return Ok(None);
    }
    let ns = super::time::read_timespec(at)?;
    let command = operation(op);
    let ns = if command == WAIT {
        timekeeping::monotonic_ns().saturating_add(ns)
    } else if command == LOCK_PI || op & CLOCK_REALTIME_FLAG != 0 {
        crate::timekeeping::from_realtime(ns)
    } else {
        ns
    };
    Ok(Some(Instant::from_ns(ns)))
}

/// The waiting part.
pub async fn wait(call: &mut Call<'_>) -> Result<u64> {
    let op = call.arg(1) as u32;
    let bitset = match operation(op) {
        // Rare, and large.
        LOCK_PI | LOCK_PI2 => return Box::pin(lock_pi(call)).await,
        WAIT_REQUEUE_PI => return Box::pin(wait_requeue_pi(call)).await,
        WAIT => BITSET_ANY,
        _ => call.arg(5) as u32,
    };
    let wait = Wait {
        addr: call.arg(0),
        value: call.arg(2) as u32,
        private: op & PRIVATE_FLAG != 0,
        bitset,
        deadline: call.deadline,
    };
    run(call, wait).await
}

/// Waits; a wait with a time that a signal interrupts goes on through restart_syscall(2).
pub async fn run(call: &mut Call<'_>, wait: Wait) -> Result<u64> {
    match futex::wait(call.thread, wait).await {
        Ok(()) => Ok(0),
        Err(Errno::ERESTARTSYS) if wait.deadline.is_some() => {
            *call.thread.restart.lock() = Some(Restart::Futex(wait));
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
        Err(e) => Err(e),
    }
}

fn is_private(call: &Call<'_>) -> bool {
    call.arg(1) as u32 & PRIVATE_FLAG != 0
}

async fn lock_pi(call: &mut Call<'_>) -> Result<u64> {
    let addr = call.arg(0);
    let key = key(call, addr, is_private(call))?;
    futex::pi::lock(call.thread, key, addr, call.deadline).await?;
    Ok(0)
}

async fn wait_requeue_pi(call: &mut Call<'_>) -> Result<u64> {
    let addr = call.arg(4);
    let private = is_private(call);
    let lock = key(call, addr, private)?;
    let wait = Wait {
        addr: call.arg(0),
        value: call.arg(2) as u32,
        private,
        bitset: BITSET_ANY,
        deadline: call.deadline,
    };
    futex::pi::wait_requeue(call.thread, wait, lock, addr).await?;
    Ok(0)
}

/// Whether the word at `addr` has the value `expected`, without a fault: for use under locks.
fn compare(addr: u64, expected: u32) -> Result<()> {
    match uaccess::load_u32(addr) {
        None => Err(Errno::EFAULT),
        Some(value) if value != expected => Err(Errno::EAGAIN),
        Some(_) => Ok(()),
    }
}

/// Attempts again what met a page that is not there, as [`compare`] may, once it is there.
fn faulting_in<T>(addr: u64, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match attempt() {
            Err(Errno::EFAULT) => drop(usermem::read::<u32>(addr)?),
            outcome => return outcome,
        }
    }
}

fn requeue_pi(call: &Call<'_>, private: bool) -> SysResult {
    let (addr, wake, moved, lock) = (call.arg(0), call.int(2), call.int(3), call.arg(4));
    if wake != 1 || moved < 0 || addr == lock {
        return Err(Errno::EINVAL.into());
    }
    let what = Requeue {
        from: key(call, addr, private)?,
        to: key(call, lock, private)?,
        addr: lock,
        limit: moved as usize,
    };
    if what.from == what.to {
        return Err(Errno::EINVAL.into());
    }
    let expected = call.arg(5) as u32;
    // The word is looked at first, so that a fault under locks is not for good.
    usermem::read::<u32>(addr)?;
    let check = || compare(addr, expected);
    Ok(futex::pi::requeue(call.thread, what, check)? as u64)
}

fn requeue(call: &Call<'_>, private: bool, expected: Option<u32>) -> SysResult {
    let (addr, wake, moved, to) = (call.arg(0), call.int(2), call.int(3), call.arg(4));
    if wake < 0 || moved < 0 {
        return Err(Errno::EINVAL.into());
    }
    let (from, to) = (key(call, addr, private)?, key(call, to, private)?);
    let (woken, moved) = faulting_in(addr, || {
        futex::requeue(from, to, wake as usize, moved as usize, || match expected {
            None => Ok(()),
            Some(expected) => compare(addr, expected),
        })
    })?;
    // `FUTEX_REQUEUE` counts as `FUTEX_CMP_REQUEUE` does: both kinds.
    Ok((woken + moved) as u64)
}

/// Most futexes that futex_waitv waits for.
const WAITV_MAX: usize = 128;
/// `FUTEX_32`, without which a futex has no size.
const SIZE_32: u32 = 2;

fn futex_waitv(call: &mut Call<'_>) -> SysResult {
    const REALTIME: i32 = 0;
    const MONOTONIC: i32 = 1;
    let (list, count, flags) = (call.arg(0), call.arg(1) as u32, call.arg(2) as u32);
    if flags != 0 || list == 0 || !(1..=WAITV_MAX as u32).contains(&count) {
        return Err(Errno::EINVAL.into());
    }
    if call.arg(3) != 0 {
        let op = match call.int(4) {
            REALTIME => WAIT_BITSET | CLOCK_REALTIME_FLAG,
            MONOTONIC => WAIT_BITSET,
            _ => return Err(Errno::EINVAL.into()),
        };
        call.deadline = deadline(call.arg(3), op)?;
    }
    Err(Stop::Wait)
}

/// The waiting part of futex_waitv.
pub async fn waitv(call: &mut Call<'_>) -> Result<u64> {
    crate::mm::admit()?;
    let mut waits = Vec::new();
    let count = call.arg(1) as u32 as usize;
    waits.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for n in 0..count as u64 {
        // struct futex_waitv: value, address, flags and a reserved word.
        let at = call.arg(0).wrapping_add(n * 24);
        let [value, addr, flags] = usermem::read::<[u64; 3]>(at)?;
        let reserved = flags >> 32 != 0;
        let flags = flags as u32;
        if reserved || flags & !(SIZE_32 | PRIVATE_FLAG) != 0 || flags & SIZE_32 == 0 {
            return Err(Errno::EINVAL);
        }
        waits.push(Wait {
            addr,
            value: value as u32,
            private: flags & PRIVATE_FLAG != 0,
            bitset: BITSET_ANY,
            deadline: None,
        });
    }
    Ok(futex::wait_several(call.thread, &waits, call.deadline).await? as u64)
}

/// What `FUTEX_WAKE_OP` does to the second word, and asks of its old value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WakeOp {
    op: u32,
    operand: i32,
    compare: u32,
    argument: i32,
}

impl WakeOp {
    fn decode(word: u32) -> Result<WakeOp> {
        const SHIFT: u32 = 8;
        let sign_extend = |value: u32| ((value << 20) as i32) >> 20;
        let op = word >> 28;
        let mut operand = sign_extend(word >> 12 & 0xfff);
        if op & SHIFT != 0 {
            operand = 1i32.wrapping_shl(operand as u32 & 31);
        }
        let decoded = WakeOp {
            op: op & 7,
            operand,
            compare: word >> 24 & 0xf,
            argument: sign_extend(word & 0xfff),
        };
        if decoded.op > 4 || decoded.compare > 5 {
            Err(Errno::ENOSYS)
        } else {
            Ok(decoded)
        }
    }

    fn apply(self, old: u32) -> u32 {
        let operand = self.operand as u32;
        match self.op {
            0 => operand,
            1 => old.wrapping_add(operand),
            2 => old | operand,
            3 => old & !operand,
            _ => old ^ operand,
        }
    }

    fn holds(self, old: u32) -> bool {
        let (old, argument) = (old as i32, self.argument);
        match self.compare {
            0 => old == argument,
            1 => old != argument,
            2 => old < argument,
            3 => old <= argument,
            4 => old > argument,
            _ => old >= argument,
        }
    }
}

fn wake_op(call: &Call<'_>, private: bool) -> SysResult {
    let (first, second) = (call.arg(0), call.arg(4));
    let op = WakeOp::decode(call.arg(5) as u32)?;
    let (one, two) = (key(call, first, private)?, key(call, second, private)?);
    let mut old = usermem::read::<u32>(second)?;
    loop {
        match uaccess::compare_exchange_u32(second, old, op.apply(old)) {
            Some(found) if found == old => break,
            Some(found) => old = found,
            None => call
                .thread
                .mm()
                .ok_or(Errno::EFAULT)?
                .fault_in(second, 4, true)
                .map_err(|_| Errno::EFAULT)?,
        }
    }
    let mut woken = futex::wake(one, at_least_one(call.int(2)), BITSET_ANY)?;
    if op.holds(old) {
        woken += futex::wake(two, at_least_one(call.int(3)), BITSET_ANY)?;
    }
    Ok(woken as u64)
}
