//! Calls that make files without a name: `pipe(2)`, `memfd_create(2)`.

use fs::file::oflag;
use fs::seal;
use fs::{Errno, pipe, tmpfs};

use super::{Call, Plain, SysResult, fd};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(22, pipe), (293, pipe2), (319, memfd_create)];

fn make_pipe(call: &Call<'_>, flags: u32) -> SysResult {
    call.admit_file()?;
    let cred = call.thread.cred();
    let (reader, writer) = pipe::pipe(flags, cred.fsuid, cred.fsgid)?;
    let cloexec = flags & oflag::O_CLOEXEC != 0;
    let files = call.thread.files();
    let first = fd::install(call, reader, cloexec)? as i32;
    let second = match fd::install(call, writer, cloexec) {
        Ok(second) => second as i32,
        Err(stop) => {
            drop(files.remove(first));
            return Err(stop);
        }
    };
    if let Err(e) = usermem::write(call.arg(0), &[first, second]) {
        drop((files.remove(first), files.remove(second)));
        return Err(e.into());
    }
    Ok(0)
}

fn pipe(call: &mut Call<'_>) -> SysResult {
    make_pipe(call, 0)
}

fn pipe2(call: &mut Call<'_>) -> SysResult {
    make_pipe(call, call.arg(1) as u32)
}

fn memfd_create(call: &mut Call<'_>) -> SysResult {
    const MFD_CLOEXEC: u32 = 1;
    const MFD_ALLOW_SEALING: u32 = 2;
    /// Longest name: `NAME_MAX` less the prefix "memfd:".
    const NAME_MAX: usize = 249;
    let flags = call.arg(1) as u32;
    if flags & !(MFD_CLOEXEC | MFD_ALLOW_SEALING) != 0 {
        // MFD_HUGETLB among them: Linux built without huge pages refuses it in the same way.
        return Err(Errno::EINVAL.into());
    }
    call.admit_file()?;
    let name = match usermem::read_cstr(call.arg(0), NAME_MAX) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL.into()),
        other => other?,
    };
    let cred = call.thread.cred();
    let seals = if flags & MFD_ALLOW_SEALING != 0 {
        0
    } else {
        seal::SEAL
    };
    let file = tmpfs::memfd(
        &name,
        oflag::O_RDWR | oflag::O_LARGEFILE,
        seals,
        cred.fsuid,
        cred.fsgid,
    )?;
    fd::install(call, file, flags & MFD_CLOEXEC != 0)
}
