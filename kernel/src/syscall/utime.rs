//! Setting a file's times: `utime(2)`, `utimes(2)`, `futimesat(2)`, `utimensat(2)`.

use fs::attr::{self, NewTime};
use fs::namei::{LookupFlags, at};
use fs::time::Time;
use fs::{Errno, Result};

use super::path::{FDCWD, Form, lookup};
use super::{Call, Plain, SysResult};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (132, utime),
    (235, |call| utimes(call, Form::Cwd)),
    (261, |call| utimes(call, Form::At)),
    (280, utimensat),
];

const UTIME_NOW: i64 = 0x3fff_ffff;
const UTIME_OMIT: i64 = 0x3fff_fffe;

/// Sets the times of what `path` leads to, or of the descriptor itself where there is no path.
fn set_times(call: &Call<'_>, dirfd: i32, path: u64, times: [NewTime; 2], flags: u32) -> SysResult {
    if times == [NewTime::Omit; 2] {
        return Ok(0);
    }
    let found = if path == 0 && dirfd != FDCWD {
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        call.thread.file(dirfd)?.path().clone()
    } else {
        lookup(call, dirfd, path, LookupFlags::from_at(flags))?.1
    };
    attr::utimens(&found, &call.thread.cred(), times[0], times[1])?;
    Ok(0)
}

fn utimensat(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(3) as u32;
    if flags & !(at::SYMLINK_NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut times = [NewTime::Now; 2];
    if call.arg(2) != 0 {
        let [a, b, c, d] = usermem::read::<[i64; 4]>(call.arg(2))?;
        for (time, (sec, nsec)) in times.iter_mut().zip([(a, b), (c, d)]) {
            *time = match nsec {
                UTIME_NOW => NewTime::Now,
                UTIME_OMIT => NewTime::Omit,
                0..=999_999_999 => NewTime::At(Time {
                    sec,
                    nsec: nsec as u32,
                }),
                _ => return Err(Errno::EINVAL.into()),
            };
        }
    }
    set_times(call, call.int(0), call.arg(1), times, flags)
}

/// Two `struct timeval` at `ptr`, or now where that is null.
fn timevals(ptr: u64) -> Result<[NewTime; 2]> {
    if ptr == 0 {
        return Ok([NewTime::Now; 2]);
    }
    let [a, b, c, d] = usermem::read::<[i64; 4]>(ptr)?;
    let time = |sec: i64, usec: i64| match usec {
        0..=999_999 => Ok(NewTime::At(Time {
            sec,
            nsec: usec as u32 * 1000,
        })),
        _ => Err(Errno::EINVAL),
    };
    Ok([time(a, b)?, time(c, d)?])
}

fn utimes(call: &mut Call<'_>, form: Form) -> SysResult {
    let (dirfd, [path, times]) = form.args(call);
    set_times(call, dirfd, path, timevals(times)?, 0)
}

fn utime(call: &mut Call<'_>) -> SysResult {
    let times = match call.arg(1) {
        0 => [NewTime::Now; 2],
        ptr => usermem::read::<[i64; 2]>(ptr)?.map(|sec| NewTime::At(Time { sec, nsec: 0 })),
    };
    set_times(call, FDCWD, call.arg(0), times, 0)
}
