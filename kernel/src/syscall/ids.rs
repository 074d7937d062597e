//! Calls on user and group ids, capabilities and `prctl`.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use fs::{Cap, Credentials, Errno, Result};

use super::{Call, Plain, SysResult, seccomp};
use crate::cred::{self, CapSets, Ids};
use crate::process::core::pattern::SUID_DUMPABLE;
use crate::process::table;
use crate::process::user::User;
use crate::signal::Signal;
use crate::usermem;

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (102, getuid),
    (104, getgid),
    (105, setuid),
    (106, setgid),
    (107, geteuid),
    (108, getegid),
    (113, setreuid),
    (114, setregid),
    (115, getgroups),
    (116, setgroups),
    (117, setresuid),
    (118, getresuid),
    (119, setresgid),
    (120, getresgid),
    (122, setfsuid),
    (123, setfsgid),
    (125, capget),
    (126, capset),
    (157, prctl),
];

/// Reads something of the caller's credentials.
fn of<R>(call: &Call<'_>, read: impl FnOnce(&Credentials) -> R) -> R {
    call.thread.with_shared(|shared| read(&shared.cred))
}

fn getuid(call: &mut Call<'_>) -> SysResult {
    Ok(u64::from(of(call, |cred| cred.uid)))
}

fn geteuid(call: &mut Call<'_>) -> SysResult {
    Ok(u64::from(of(call, |cred| cred.euid)))
}

fn getgid(call: &mut Call<'_>) -> SysResult {
    Ok(u64::from(of(call, |cred| cred.gid)))
}

fn getegid(call: &mut Call<'_>) -> SysResult {
    Ok(u64::from(of(call, |cred| cred.egid)))
}

/// Gives the caller new credentials.
fn commit(call: &Call<'_>, new: Credentials) {
    let old = call.thread.cred();
    let identity = old.euid != new.euid
        || old.egid != new.egid
        || old.fsuid != new.fsuid
        || old.fsgid != new.fsgid;
    if identity || new.cap_permitted & !old.cap_permitted != 0 {
        call.thread.process().image.lock().dumpable = SUID_DUMPABLE.get() as u32;
        call.thread.parent_death_signal.store(0, Ordering::Relaxed);
    }
    let user = (old.uid != new.uid).then(|| User::of(new.uid));
    let replaced = call.thread.with_shared(|shared| {
        if let Some(user) = &user {
            shared.user.processes.fetch_sub(1, Ordering::Relaxed);
            user.processes.fetch_add(1, Ordering::Relaxed);
        }
        let previous = user.map(|user| core::mem::replace(&mut shared.user, user));
        (
            core::mem::replace(&mut shared.cred, Arc::new(new)),
            previous,
        )
    });
    drop(replaced);
}

/// Applies a rule to the caller's credentials.
fn change(call: &Call<'_>, rule: impl FnOnce(&Credentials) -> Result<Credentials>) -> SysResult {
    let new = rule(&call.thread.cred())?;
    commit(call, new);
    Ok(0)
}

fn id(call: &Call<'_>, n: usize) -> u32 {
    call.arg(n) as u32
}

fn ids(call: &Call<'_>) -> Ids {
    Ids {
        real: id(call, 0),
        effective: id(call, 1),
        saved: id(call, 2),
    }
}

fn setuid(call: &mut Call<'_>) -> SysResult {
    change(call, |old| cred::set_uid(old, id(call, 0)))
}

fn setgid(call: &mut Call<'_>) -> SysResult {
    change(call, |old| cred::set_gid(old, id(call, 0)))
}

fn setreuid(call: &mut Call<'_>) -> SysResult {
    change(call, |old| cred::set_reuid(old, id(call, 0), id(call, 1)))
}

fn setregid(call: &mut Call<'_>) -> SysResult {
    change(call, |old| cred::set_regid(old, id(call, 0), id(call, 1)))
}

fn setresuid(call: &mut Call<'_>) -> SysResult {
    change(call, |old| cred::set_resuid(old, ids(call)))
}

fn setresgid(call: &mut Call<'_>) -> SysResult {
    change(call, |old| cred::set_resgid(old, ids(call)))
}

fn setfsuid(call: &mut Call<'_>) -> SysResult {
    let old = call.thread.cred();
    if let Some(new) = cred::set_fsuid(&old, id(call, 0)) {
        commit(call, new);
    }
    Ok(u64::from(old.fsuid))
}

fn setfsgid(call: &mut Call<'_>) -> SysResult {
    let old = call.thread.cred();
    if let Some(new) = cred::set_fsgid(&old, id(call, 0)) {
        commit(call, new);
    }
    Ok(u64::from(old.fsgid))
}

fn write_three(call: &Call<'_>, three: [u32; 3]) -> SysResult {
    for (n, id) in three.into_iter().enumerate() {
        usermem::write(call.arg(n), &id)?;
    }
    Ok(0)
}

fn getresuid(call: &mut Call<'_>) -> SysResult {
    write_three(call, of(call, |cred| [cred.uid, cred.euid, cred.suid]))
}

fn getresgid(call: &mut Call<'_>) -> SysResult {
    write_three(call, of(call, |cred| [cred.gid, cred.egid, cred.sgid]))
}

/// Most supplementary groups (`NGROUPS_MAX`).
const GROUPS_MAX: u64 = 65536;

fn getgroups(call: &mut Call<'_>) -> SysResult {
    let groups = of(call, |cred| cred.groups.clone());
    let room = call.int(0);
    if room < 0 {
        return Err(Errno::EINVAL.into());
    }
    if room > 0 {
        if groups.len() > room as usize {
            return Err(Errno::EINVAL.into());
        }
        for (n, group) in groups.iter().enumerate() {
            usermem::write(call.arg(1).wrapping_add(4 * n as u64), group)?;
        }
    }
    Ok(groups.len() as u64)
}

fn setgroups(call: &mut Call<'_>) -> SysResult {
    let count = call.arg(0) & 0xffff_ffff;
    if !of(call, |cred| cred.capable(Cap::Setgid)) {
        return Err(Errno::EPERM.into());
    }
    if count > GROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let groups = usermem::read_vec::<u32>(call.arg(1), count as usize)?;
    change(call, |old| cred::set_groups(old, groups))
}

// Capabilities.

const CAP_V1: u32 = 0x1998_0330;
const CAP_V2: u32 = 0x2007_1026;
const CAP_V3: u32 = 0x2008_0522;

/// How many 32-bit parts the sets have in the caller's version, and the process asked about.
fn cap_header(call: &Call<'_>) -> Result<(usize, i32)> {
    let [version, pid] = usermem::read::<[u32; 2]>(call.arg(0))?;
    match version {
        CAP_V1 => Ok((1, pid as i32)),
        CAP_V2 | CAP_V3 => Ok((2, pid as i32)),
        _ => {
            usermem::write(call.arg(0), &CAP_V3)?;
            Err(Errno::EINVAL)
        }
    }
}

fn capget(call: &mut Call<'_>) -> SysResult {
    let (parts, pid) = match cap_header(call) {
        Ok(header) => header,
        // Without room for an answer the call asks for the version.
        Err(Errno::EINVAL) if call.arg(1) == 0 => return Ok(0),
        Err(e) => return Err(e.into()),
    };
    if pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let cred = if pid == 0 {
        call.thread.cred()
    } else {
        table::lock()
            .thread(pid)
            .cloned()
            .ok_or(Errno::ESRCH)?
            .cred()
    };
    if call.arg(1) == 0 {
        return Ok(0);
    }
    let part = |set: u64, n: usize| (set >> (32 * n)) as u32;
    for n in 0..parts {
        let words = [
            part(cred.cap_effective, n),
            part(cred.cap_permitted, n),
            part(cred.cap_inheritable, n),
        ];
        usermem::write(call.arg(1).wrapping_add(12 * n as u64), &words)?;
    }
    Ok(0)
}

fn capset(call: &mut Call<'_>) -> SysResult {
    let (parts, pid) = cap_header(call)?;
    if pid != 0 && pid != call.thread.tid() {
        return Err(Errno::EPERM.into());
    }
    let mut sets = CapSets {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    for n in 0..parts {
        let [effective, permitted, inheritable] =
            usermem::read::<[u32; 3]>(call.arg(1).wrapping_add(12 * n as u64))?;
        sets.effective |= u64::from(effective) << (32 * n);
        sets.permitted |= u64::from(permitted) << (32 * n);
        sets.inheritable |= u64::from(inheritable) << (32 * n);
    }
    sets.effective &= fs::cred::CAP_ALL;
    sets.permitted &= fs::cred::CAP_ALL;
    sets.inheritable &= fs::cred::CAP_ALL;
    change(call, |old| cred::set_capabilities(old, sets))
}

// prctl.

/// The capability with number `n`, as a set.
fn cap_bit(n: u64) -> Result<u64> {
    if n < 64 && fs::cred::CAP_ALL & 1 << n != 0 {
        Ok(1 << n)
    } else {
        Err(Errno::EINVAL)
    }
}

/// `PR_SET_TIMERSLACK`: kept for who asks; timers here are exact.
static TIMER_SLACK_NS: AtomicU32 = AtomicU32::new(50_000);

fn prctl(call: &mut Call<'_>) -> SysResult {
    let thread = call.thread;
    let (arg, rest) = (call.arg(1), [call.arg(2), call.arg(3), call.arg(4)]);
    let invalid = Err(Errno::EINVAL.into());
    match call.int(0) {
        // PR_SET_PDEATHSIG, PR_GET_PDEATHSIG
        1 => {
            if arg != 0 && i32::try_from(arg).ok().and_then(Signal::new).is_none() {
                return invalid;
            }
            thread
                .parent_death_signal
                .store(arg as u8, Ordering::Relaxed);
        }
        2 => usermem::write(
            arg,
            &i32::from(thread.parent_death_signal.load(Ordering::Relaxed)),
        )?,
        // PR_GET_DUMPABLE, PR_SET_DUMPABLE
        3 => return Ok(u64::from(thread.process().image.lock().dumpable)),
        4 if arg <= 1 => thread.process().image.lock().dumpable = arg as u32,
        // PR_GET_KEEPCAPS, PR_SET_KEEPCAPS
        7 => {
            return Ok(u64::from(of(call, |cred| {
                cred.securebits & cred::SECBIT_KEEP_CAPS != 0
            })));
        }
        8 if arg <= 1 => {
            return change(call, |old| {
                // The bit above locks it.
                if old.securebits & cred::SECBIT_KEEP_CAPS << 1 != 0 {
                    return Err(Errno::EPERM);
                }
                let bit = if arg == 1 { cred::SECBIT_KEEP_CAPS } else { 0 };
                Ok(Credentials {
                    securebits: old.securebits & !cred::SECBIT_KEEP_CAPS | bit,
                    ..old.clone()
                })
            });
        }
        // PR_GET_TIMING: statistical, the only kind.
        13 => return Ok(0),
        14 if arg == 0 => {}
        // PR_SET_NAME, PR_GET_NAME
        15 => {
            let name = read_name(arg)?;
            thread.set_comm(&name);
        }
        16 => usermem::write(arg, &thread.comm())?,
        // PR_GET_SECCOMP, PR_SET_SECCOMP
        21 => return Ok(thread.seccomp.lock().number()),
        22 => return seccomp::set_by_prctl(thread, arg, rest[0]),
        // PR_CAPBSET_READ, PR_CAPBSET_DROP
        23 => {
            let bit = cap_bit(arg)?;
            return Ok(u64::from(of(call, |cred| cred.cap_bounding & bit != 0)));
        }
        24 => {
            let bit = cap_bit(arg)?;
            return change(call, |old| {
                if !old.capable(Cap::Setpcap) {
                    return Err(Errno::EPERM);
                }
                Ok(Credentials {
                    cap_bounding: old.cap_bounding & !bit,
                    ..old.clone()
                })
            });
        }
        // PR_GET_TSC: allowed; PR_SET_TSC: nothing but that.
        25 => usermem::write(arg, &1i32)?,
        26 if arg == 1 => {}
        // PR_GET_SECUREBITS, PR_SET_SECUREBITS
        27 => return Ok(u64::from(of(call, |cred| cred.securebits))),
        28 => return change(call, |old| set_securebits(old, arg)),
        // PR_SET_TIMERSLACK, PR_GET_TIMERSLACK
        29 => TIMER_SLACK_NS.store(
            if arg == 0 { 50_000 } else { arg as u32 },
            Ordering::Relaxed,
        ),
        30 => return Ok(u64::from(TIMER_SLACK_NS.load(Ordering::Relaxed))),
        // PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER
        36 => thread
            .process()
            .subreaper
            .store(arg != 0, Ordering::Relaxed),
        37 => usermem::write(
            arg,
            &i32::from(thread.process().subreaper.load(Ordering::Relaxed)),
        )?,
        // PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS
        38 if arg == 1 && rest == [0; 3] => thread.no_new_privs.store(1, Ordering::Relaxed),
        39 if arg == 0 && rest == [0; 3] => {
            return Ok(u64::from(thread.no_new_privs.load(Ordering::Relaxed)));
        }
        // PR_SET_THP_DISABLE, PR_GET_THP_DISABLE: there are no huge pages to disable.
        41 if rest == [0; 3] => {}
        42 if arg == 0 && rest == [0; 3] => return Ok(0),
        47 => return ambient(call, arg, rest[0]),
        _ => return invalid,
    }
    Ok(0)
}

/// A thread's name: up to fifteen bytes, less if it ends before.
fn read_name(at: u64) -> Result<[u8; 15]> {
    let mut name = [0; 15];
    for (n, place) in name.iter_mut().enumerate() {
        *place = usermem::read(at.wrapping_add(n as u64))?;
        if *place == 0 {
            break;
        }
    }
    Ok(name)
}

fn set_securebits(old: &Credentials, new: u64) -> Result<Credentials> {
    let new = u32::try_from(new).map_err(|_| Errno::EINVAL)?;
    let locked = (old.securebits & cred::SECBIT_LOCKS) >> 1;
    let changed = old.securebits ^ new;
    let unlocks = old.securebits & cred::SECBIT_LOCKS & !new != 0;
    if changed & locked != 0
        || unlocks
        || new & !cred::SECBIT_ALL != 0
        || !old.capable(Cap::Setpcap)
    {
        return Err(Errno::EPERM);
    }
    Ok(Credentials {
        securebits: new,
        ..old.clone()
    })
}

/// `PR_CAP_AMBIENT`.
fn ambient(call: &Call<'_>, what: u64, which: u64) -> SysResult {
    const IS_SET: u64 = 1;
    const RAISE: u64 = 2;
    const LOWER: u64 = 3;
    const CLEAR_ALL: u64 = 4;
    if what == CLEAR_ALL {
        return change(call, |old| {
            Ok(Credentials {
                cap_ambient: 0,
                ..old.clone()
            })
        });
    }
    let bit = cap_bit(which)?;
    match what {
        IS_SET => Ok(u64::from(of(call, |cred| cred.cap_ambient & bit != 0))),
        RAISE => change(call, |old| {
            let both = old.cap_permitted & old.cap_inheritable & bit != 0;
            if !both || old.securebits & cred::SECBIT_NO_CAP_AMBIENT_RAISE != 0 {
                return Err(Errno::EPERM);
            }
            Ok(Credentials {
                cap_ambient: old.cap_ambient | bit,
                ..old.clone()
            })
        }),
        LOWER => change(call, |old| {
            Ok(Credentials {
                cap_ambient: old.cap_ambient & !bit,
                ..old.clone()
            })
        }),
        _ => Err(Errno::EINVAL.into()),
    }
}
