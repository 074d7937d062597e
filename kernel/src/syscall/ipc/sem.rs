//! Calls on semaphores.

use alloc::vec::Vec;

use executor::time::{Instant, timeout_at};
use fs::{Errno, Result};

use super::id;
use crate::ipc::sem::{self, Op, Outcome, SETS, WORDS};
use crate::ipc::{cmd, limits, perm};
use crate::syscall::{Call, Stop, SysResult, time};
use crate::timekeeping;
use crate::usermem;

const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const STAT_AT: i32 = 18;
const INFO_USED: i32 = 19;
const STAT_ANY: i32 = 20;

/// Number of semtimedop(2), the one with a time.
const TIMED: usize = 220;

pub fn semget(call: &mut Call<'_>) -> SysResult {
    let id = sem::get(call.thread, call.int(0), call.int(1), call.arg(2) as u32)?;
    Ok(id as u64)
}

pub fn semop(call: &mut Call<'_>) -> SysResult {
    operate(call)
}

pub fn semtimedop(call: &mut Call<'_>) -> SysResult {
    if call.arg(3) != 0 && call.deadline.is_none() {
        let ns = time::read_timespec(call.arg(3))?;
        let end = timekeeping::monotonic_ns().saturating_add(ns);
        call.deadline = Some(Instant::from_ns(end));
    }
    operate(call)
}

fn operate(call: &mut Call<'_>) -> SysResult {
    match attempt(call, false)? {
        Outcome::Done => Ok(0),
        Outcome::Waits(_) => Err(Stop::Wait),
    }
}

fn attempt(call: &Call<'_>, queue: bool) -> Result<Outcome> {
    let (id, count) = (id(call)?, call.arg(2) as u32 as usize);
    if count == 0 {
        return Err(Errno::EINVAL);
    }
    if count > limits::SEMOPM.count() {
        return Err(Errno::E2BIG);
    }
    let words = usermem::read_vec::<[u16; 3]>(call.arg(1), count)?;
    let set = SETS.get(id)?;
    let mut ops = Vec::new();
    ops.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    ops.extend(words.iter().map(|&[number, change, flags]| Op {
        number,
        change: change as i16,
        flags,
    }));
    set.operate(call.thread, ops, queue)
}

/// The waiting part of semop(2) and semtimedop(2).
pub async fn wait(call: &mut Call<'_>) -> Result<u64> {
    let Outcome::Waits(Some(waiting)) = attempt(call, true)? else {
        return Ok(0);
    };
    let deadline = call.deadline.filter(|_| call.number() == TIMED);
    let until = deadline.unwrap_or(Instant::MAX);
    let end = timeout_at(until, waiting.end());
    // As on Linux, no signal lets it go on where it was.
    let ended = match call.thread.interruptible(end).await {
        Ok(Ok(result)) => return result.map(|()| 0),
        Ok(Err(_)) => Errno::EAGAIN,
        Err(_) => Errno::EINTR,
    };
    match waiting.give_up() {
        Some(result) => result.map(|()| 0),
        None => Err(ended),
    }
}

pub fn semctl(call: &mut Call<'_>) -> SysResult {
    let (command, arg) = (call.int(2), call.arg(3));
    let cred = call.thread.cred();
    let id = id(call)?;
    match command {
        cmd::INFO | INFO_USED => {
            usermem::write(arg, &sem::info(command == INFO_USED)?)?;
            return Ok(SETS.usage().1 as u64);
        }
        STAT_AT | STAT_ANY => {
            let set = SETS.at(id)?;
            let perm = set.perm_now();
            if command == STAT_AT {
                perm.check(&cred, perm::READ)?;
            }
            usermem::write(arg, &set.words()?)?;
            return Ok(perm.id as u64);
        }
        _ => {}
    }
    let set = SETS.get(id)?;
    match command {
        cmd::RMID => set.remove(&cred)?,
        cmd::SET => set.change(&cred, &usermem::read::<[u64; WORDS]>(arg)?)?,
        cmd::STAT => {
            set.perm_now().check(&cred, perm::READ)?;
            usermem::write(arg, &set.words()?)?;
        }
        SETVAL | SETALL => {
            set.perm_now().check(&cred, perm::WRITE)?;
            let pid = call.thread.process().pid;
            if command == SETVAL {
                let value = u16::try_from(arg as i32).map_err(|_| Errno::ERANGE)?;
                set.set_values(call.int(1), &[value], pid)?;
            } else {
                let values = usermem::read_vec::<u16>(arg, set.count)?;
                set.set_values(0, &values, pid)?;
            }
        }
        GETPID | GETVAL | GETNCNT | GETZCNT | GETALL => {
            set.perm_now().check(&cred, perm::READ)?;
            let number = call.int(1);
            match command {
                GETALL => usermem::write_slice(arg, &set.values()?)?,
                GETVAL => return Ok(u64::from(set.value(number)?.0)),
                GETPID => return Ok(set.value(number)?.1 as u64),
                _ => return Ok(set.waiters(number, command == GETZCNT)? as u64),
            }
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
