//! The rarer commands of `fcntl(2)`: pipes, seals, locks.

use alloc::sync::Arc;

use fs::cred::Cap;
use fs::pipe::pipe_of;
use fs::seal;
use fs::{Errno, File};

use super::{Call, SysResult, lock};

const F_SETPIPE_SZ: i32 = 1031;
const F_GETPIPE_SZ: i32 = 1032;
const F_ADD_SEALS: i32 = 1033;
const F_GET_SEALS: i32 = 1034;

/// Does the command in the caller's second argument on `file`.
pub fn fcntl(call: &Call<'_>, file: &Arc<File>) -> SysResult {
    let arg = call.arg(2);
    match call.int(1) {
        F_GETPIPE_SZ => Ok(pipe_of(file).ok_or(Errno::EBADF)?.size() as u64),
        F_SETPIPE_SZ => {
            let pipe = pipe_of(file).ok_or(Errno::EBADF)?;
            let privileged = call.thread.cred().capable(Cap::SysResource);
            Ok(pipe.set_size(arg as u32 as usize, privileged)? as u64)
        }
        F_GET_SEALS => {
            let mapping = file.inode().mapping().ok_or(Errno::EINVAL)?;
            Ok(u64::from(mapping.seals()))
        }
        F_ADD_SEALS => add_seals(file, arg as u32),
        command if lock::is_lock_command(command) => lock::fcntl(call, file),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn add_seals(file: &File, seals: u32) -> SysResult {
    if !file.writable() {
        return Err(Errno::EPERM.into());
    }
    if seals & !seal::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mapping = file.inode().mapping().ok_or(Errno::EINVAL)?;
    mapping.add_seals(seals)?;
    Ok(0)
}
