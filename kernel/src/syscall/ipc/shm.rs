//! Calls on shared memory.

use fs::Errno;

use super::id;
use crate::ipc::shm::{self, SEGMENTS, WORDS};
use crate::ipc::{cmd, perm};
use crate::syscall::{Call, SysResult};
use crate::usermem;

const LOCK: i32 = 11;
const UNLOCK: i32 = 12;
const STAT_AT: i32 = 13;
const INFO_USED: i32 = 14;
const STAT_ANY: i32 = 15;

pub fn shmget(call: &mut Call<'_>) -> SysResult {
    let id = shm::get(call.thread, call.int(0), call.arg(1), call.arg(2) as u32)?;
    Ok(id as u64)
}

pub fn shmat(call: &mut Call<'_>) -> SysResult {
    let at = shm::attach(call.thread, id(call)?, call.arg(1), call.arg(2) as u32)?;
    Ok(at)
}

pub fn shmdt(call: &mut Call<'_>) -> SysResult {
    shm::detach(call.thread, call.arg(0))?;
    Ok(0)
}

pub fn shmctl(call: &mut Call<'_>) -> SysResult {
    let (command, arg) = (call.int(1), call.arg(2));
    let cred = call.thread.cred();
    let id = id(call)?;
    match command {
        cmd::INFO => {
            usermem::write(arg, &shm::limits())?;
            return Ok(SEGMENTS.usage().1 as u64);
        }
        INFO_USED => {
            usermem::write(arg, &shm::usage()?)?;
            return Ok(SEGMENTS.usage().1 as u64);
        }
        STAT_AT | STAT_ANY => {
            let segment = SEGMENTS.at(id)?;
            let perm = segment.perm_now();
            if command == STAT_AT {
                perm.check(&cred, perm::READ)?;
            }
            usermem::write(arg, &segment.words()?)?;
            return Ok(perm.id as u64);
        }
        _ => {}
    }
    let segment = SEGMENTS.get(id)?;
    match command {
        cmd::RMID => segment.remove(&cred)?,
        cmd::SET => segment.change(&cred, &usermem::read::<[u64; WORDS]>(arg)?)?,
        cmd::STAT => {
            segment.perm_now().check(&cred, perm::READ)?;
            usermem::write(arg, &segment.words()?)?;
        }
        LOCK | UNLOCK => segment.lock(call.thread, command == LOCK)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
