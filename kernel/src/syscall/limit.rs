//! Resource limits: `getrlimit(2)`, `setrlimit(2)`, `prlimit(2)`.

use alloc::sync::Arc;

use fs::fdtable::NR_OPEN;
use fs::{Cap, Errno, Result};

use super::process::process_of;
use super::{Call, Plain, SysResult};
use crate::mm::Limits;
use crate::process::Process;
use crate::process::rlimit::{Resource, Rlimit};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(97, getrlimit), (160, setrlimit), (302, prlimit64)];

/// Gives and sets a limit of `process`.
fn limit(
    call: &Call<'_>,
    process: &Arc<Process>,
    resource: u64,
    new: Option<Rlimit>,
) -> Result<Rlimit> {
    let privileged = call.thread.cred().capable(Cap::SysResource);
    let mut limits = process.rlimits.lock();
    let old = limits.by_number(resource)?;
    if let Some(new) = new {
        limits.set(resource, new, privileged, NR_OPEN.count() as u64)?;
        let get = |resource| limits.get(resource).cur;
        let for_memory = Limits {
            address_space: get(Resource::AddressSpace),
            data: get(Resource::Data),
            stack: get(Resource::Stack),
            memlock: get(Resource::Memlock),
        };
        drop(limits);
        if let Some(space) = process.mm() {
            space.set_limits(for_memory);
        }
        if resource == Resource::Cpu as u64 {
            process.watch_cpu_limit()?;
        }
    }
    Ok(old)
}

fn getrlimit(call: &mut Call<'_>) -> SysResult {
    let old = limit(call, call.thread.process(), call.arg(0), None)?;
    usermem::write(call.arg(1), &[old.cur, old.max])?;
    Ok(0)
}

fn setrlimit(call: &mut Call<'_>) -> SysResult {
    let [cur, max] = usermem::read::<[u64; 2]>(call.arg(1))?;
    let new = Rlimit { cur, max };
    limit(call, call.thread.process(), call.arg(0), Some(new))?;
    Ok(0)
}

fn prlimit64(call: &mut Call<'_>) -> SysResult {
    let (pid, resource, new, old) = (
        call.int(0),
        call.arg(1) & 0xffff_ffff,
        call.arg(2),
        call.arg(3),
    );
    let new = match new {
        0 => None,
        at => {
            let [cur, max] = usermem::read::<[u64; 2]>(at)?;
            Some(Rlimit { cur, max })
        }
    };
    let process = process_of(call, pid)?;
    if !Arc::ptr_eq(&process, call.thread.process()) {
        let mine = call.thread.cred();
        let theirs = process.leader().ok_or(Errno::ESRCH)?.cred();
        let same = [theirs.uid, theirs.euid, theirs.suid]
            .iter()
            .all(|id| *id == mine.uid)
            && [theirs.gid, theirs.egid, theirs.sgid]
                .iter()
                .all(|id| *id == mine.gid);
        if !same && !mine.capable(Cap::SysResource) {
            return Err(Errno::EPERM.into());
        }
    }
    let was = limit(call, &process, resource, new)?;
    if old != 0 {
        usermem::write(old, &[was.cur, was.max])?;
    }
    Ok(0)
}
