//! Calls on the caller's address space: `mmap(2)`, `mprotect(2)`, `brk(2)` and their relatives.

use alloc::sync::Arc;

use fs::file::oflag;
use fs::mount::ms;
use fs::{Cap, Errno, Result};

use super::{Call, Plain, SysResult};
use crate::mm::{AddressSpace, Backing, FileBacking, MapFlags, MapRequest, Prot, sysctl};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (9, mmap),
    (10, mprotect),
    (11, munmap),
    (12, brk),
    (25, mremap),
    (26, msync),
    (27, mincore),
    (28, madvise),
    (149, mlock),
    (150, munlock),
    (151, mlockall),
    (152, munlockall),
    (325, mlock2),
];

const PAGE: u64 = 4096;

fn space(call: &Call<'_>) -> Result<Arc<AddressSpace>> {
    call.thread.mm().ok_or(Errno::ENOMEM)
}

/// What the descriptor of a file mapping allows and gives.
fn file_backing(call: &Call<'_>, prot: Prot, flags: MapFlags, offset: u64) -> Result<Backing> {
    let file = call.thread.file(call.int(4))?;
    if file.is_path() {
        return Err(Errno::EBADF);
    }
    let shared = flags.contains(MapFlags::SHARED);
    if !file.readable() || (shared && prot.contains(Prot::WRITE) && !file.writable()) {
        return Err(Errno::EACCES);
    }
    if shared && prot.contains(Prot::WRITE) && file.flags() & oflag::O_APPEND != 0 {
        return Err(Errno::EACCES);
    }
    if prot.contains(Prot::EXEC) && file.path().mount.flags() & ms::NOEXEC != 0 {
        return Err(Errno::EPERM);
    }
    let mapping = file.ops().mmap(&file)?;
    Ok(Backing::File(FileBacking {
        mapping,
        file: Some(file),
        offset,
        name: None,
    }))
}

fn mmap(call: &mut Call<'_>) -> SysResult {
    let (addr, len, offset) = (call.arg(0), call.arg(1), call.arg(5));
    if offset % PAGE != 0 || len == 0 {
        return Err(Errno::EINVAL.into());
    }
    crate::mm::admit()?;
    let prot = Prot::from_bits_truncate(call.arg(2) as u32);
    let flags = MapFlags::from_bits_retain(call.arg(3) as u32);
    let backing = if flags.contains(MapFlags::ANONYMOUS) {
        Backing::Anon
    } else {
        file_backing(call, prot, flags, offset)?
    };
    Ok(space(call)?.mmap(MapRequest {
        low: addr < sysctl::mmap_min_addr() && call.thread.cred().capable(Cap::SysRawio),
        addr,
        len,
        prot,
        flags,
        backing,
    })?)
}

fn munmap(call: &mut Call<'_>) -> SysResult {
    space(call)?.munmap(call.arg(0), call.arg(1))?;
    Ok(0)
}

fn mprotect(call: &mut Call<'_>) -> SysResult {
    let bits = call.arg(2);
    let Some(prot) = u32::try_from(bits).ok().and_then(Prot::from_bits) else {
        return Err(Errno::EINVAL.into());
    };
    space(call)?.mprotect(call.arg(0), call.arg(1), prot)?;
    Ok(0)
}

fn brk(call: &mut Call<'_>) -> SysResult {
    Ok(space(call)?.brk(call.arg(0)))
}

fn mremap(call: &mut Call<'_>) -> SysResult {
    crate::mm::admit()?;
    let to = space(call)?.mremap(
        call.arg(0),
        call.arg(1),
        call.arg(2),
        call.arg(3) as u32,
        call.arg(4),
    )?;
    Ok(to)
}

fn msync(call: &mut Call<'_>) -> SysResult {
    space(call)?.msync(call.arg(0), call.arg(1), call.arg(2) as u32)?;
    Ok(0)
}

fn mincore(call: &mut Call<'_>) -> SysResult {
    let mut to = call.arg(2);
    space(call)?.mincore(call.arg(0), call.arg(1), &mut |bytes| {
        usermem::write_bytes(to, bytes)?;
        to += bytes.len() as u64;
        Ok(())
    })?;
    Ok(0)
}

fn madvise(call: &mut Call<'_>) -> SysResult {
    space(call)?.madvise(call.arg(0), call.arg(1), call.int(2))?;
    Ok(0)
}

fn mlock(call: &mut Call<'_>) -> SysResult {
    space(call)?.mlock(call.arg(0), call.arg(1), false)?;
    Ok(0)
}

fn mlock2(call: &mut Call<'_>) -> SysResult {
    const MLOCK_ONFAULT: u64 = 1;
    if call.arg(2) & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    space(call)?.mlock(call.arg(0), call.arg(1), call.arg(2) != 0)?;
    Ok(0)
}

fn munlock(call: &mut Call<'_>) -> SysResult {
    space(call)?.munlock(call.arg(0), call.arg(1))?;
    Ok(0)
}

fn mlockall(call: &mut Call<'_>) -> SysResult {
    space(call)?.mlockall(call.arg(0) as u32)?;
    Ok(0)
}

fn munlockall(call: &mut Call<'_>) -> SysResult {
    space(call)?.munlockall();
    Ok(0)
}
