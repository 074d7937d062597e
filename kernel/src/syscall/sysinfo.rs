//! Calls about the whole system.

use core::sync::atomic::{AtomicBool, Ordering, fence};

use fs::{Cap, Errno, Result};

use super::{Call, Plain, Stop, SysResult};
use crate::arch::{power, smp};
use crate::process::table;
use crate::signal::Signal;
use crate::usermem;
use crate::{mm, random, task, timekeeping, uts};

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (63, uname),
    (99, sysinfo),
    (169, reboot),
    (170, sethostname),
    (171, setdomainname),
    (176, delete_module),
    (309, getcpu),
    (318, getrandom),
    (324, membarrier),
];

/// The part of `personality(2)` that names a system, and the one of 32-bit programs.
const PERSONALITY_MASK: u32 = 0xff;
const PER_LINUX32: u32 = 8;

fn uname(call: &mut Call<'_>) -> SysResult {
    const FIELD: usize = 65;
    let mut names = [0u8; FIELD * 6];
    let host = uts::HOSTNAME.get();
    let domain = uts::DOMAINNAME.get();
    let personality = call.thread.personality.load(Ordering::Relaxed);
    let machine = if personality & PERSONALITY_MASK == PER_LINUX32 {
        "i686"
    } else {
        uts::MACHINE
    };
    let fields: [&[u8]; 6] = [
        uts::SYSNAME.as_bytes(),
        &host,
        uts::RELEASE.as_bytes(),
        uts::VERSION.as_bytes(),
        machine.as_bytes(),
        &domain,
    ];
    for (n, field) in fields.into_iter().enumerate() {
        let len = field.len().min(FIELD - 1);
        names[n * FIELD..n * FIELD + len].copy_from_slice(&field[..len]);
    }
    usermem::write_bytes(call.arg(0), &names)?;
    Ok(0)
}

fn set_name(call: &Call<'_>, name: &uts::Name) -> SysResult {
    if !call.thread.cred().capable(Cap::SysAdmin) {
        return Err(Errno::EPERM.into());
    }
    let len = call.int(1);
    if len < 0 || len as usize > uts::NAME_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = [0; uts::NAME_MAX];
    let bytes = &mut bytes[..len as usize];
    usermem::read_bytes(call.arg(0), bytes)?;
    name.set(bytes)?;
    Ok(0)
}

fn sethostname(call: &mut Call<'_>) -> SysResult {
    set_name(call, &uts::HOSTNAME)
}

fn setdomainname(call: &mut Call<'_>) -> SysResult {
    set_name(call, &uts::DOMAINNAME)
}

fn sysinfo(call: &mut Call<'_>) -> SysResult {
    let frames = mm::page_alloc::stats();
    let page = mm::PAGE_SIZE as u64;
    let loads = task::load::averages();
    let mut bytes = [0u8; 112];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, timekeeping::monotonic_ns() / 1_000_000_000);
    for (n, load) in loads.into_iter().enumerate() {
        put(8 + n * 8, load << (16 - task::load::LOAD_SHIFT));
    }
    put(32, frames.total as u64 * page);
    put(40, frames.free as u64 * page);
    let threads = table::lock().thread_count().min(usize::from(u16::MAX)) as u16;
    bytes[80..82].copy_from_slice(&threads.to_le_bytes());
    bytes[104..108].copy_from_slice(&1u32.to_le_bytes());
    usermem::write_bytes(call.arg(0), &bytes)?;
    Ok(0)
}

fn getcpu(call: &mut Call<'_>) -> SysResult {
    if call.arg(0) != 0 {
        usermem::write(call.arg(0), &executor::cpu::id())?;
    }
    if call.arg(1) != 0 {
        usermem::write(call.arg(1), &0u32)?;
    }
    Ok(0)
}

fn getrandom(call: &mut Call<'_>) -> SysResult {
    const NONBLOCK: u32 = 1;
    const RANDOM: u32 = 2;
    const INSECURE: u32 = 4;
    let flags = call.arg(2) as u32;
    if flags & !(NONBLOCK | RANDOM | INSECURE) != 0
        || flags & (RANDOM | INSECURE) == RANDOM | INSECURE
    {
        return Err(Errno::EINVAL.into());
    }
    let len = call.arg(1).min(usermem::RW_MAX as u64);
    let mut chunk = [0; 256];
    let mut done = 0;
    while done < len {
        let step = (len - done).min(chunk.len() as u64) as usize;
        random::fill(&mut chunk[..step]);
        if let Err(e) = usermem::write_bytes(call.arg(0).wrapping_add(done), &chunk[..step]) {
            return if done == 0 { Err(e.into()) } else { Ok(done) };
        }
        done += step as u64;
        if done.is_multiple_of(4096) && call.thread.signal_pending() {
            break;
        }
    }
    Ok(done)
}

/// What reboot(2) is asked to do to the machine.
enum Ending {
    Restart,
    Halt,
    PowerOff,
}

/// What the call asks for; `None` for what has no effect here.
fn ending(call: &Call<'_>) -> Result<Option<Ending>> {
    const MAGIC1: u64 = 0xfee1_dead;
    const MAGIC2: [u64; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    const RESTART: u32 = 0x0123_4567;
    const HALT: u32 = 0xcdef_0123;
    const CAD_ON: u32 = 0x89ab_cdef;
    const CAD_OFF: u32 = 0;
    const POWER_OFF: u32 = 0x4321_fedc;
    const RESTART2: u32 = 0xa1b2_c3d4;
    if !call.thread.cred().capable(Cap::SysBoot) {
        return Err(Errno::EPERM);
    }
    if call.arg(0) & 0xffff_ffff != MAGIC1 || !MAGIC2.contains(&(call.arg(1) & 0xffff_ffff)) {
        return Err(Errno::EINVAL);
    }
    match call.arg(2) as u32 {
        command @ (CAD_ON | CAD_OFF) => {
            RESTARTS_ON_KEYS.store(command == CAD_ON, Ordering::Relaxed);
            Ok(None)
        }
        RESTART | RESTART2 => Ok(Some(Ending::Restart)),
        HALT => Ok(Some(Ending::Halt)),
        POWER_OFF => Ok(Some(Ending::PowerOff)),
        _ => Err(Errno::EINVAL),
    }
}

fn reboot(call: &mut Call<'_>) -> SysResult {
    match ending(call)? {
        Some(_) => Err(Stop::Wait),
        None => Ok(0),
    }
}

/// Whether Ctrl-Alt-Del restarts the machine; else init is told.
static RESTARTS_ON_KEYS: AtomicBool = AtomicBool::new(true);

/// Somebody has pressed Ctrl-Alt-Del: restarts the machine, or sends `SIGINT` to init where reboot(2) has said so.
pub async fn ctrl_alt_del() {
    if RESTARTS_ON_KEYS.load(Ordering::Relaxed) {
        end(Ending::Restart).await
    }
    let init = crate::process::table::lock().process(1).cloned();
    if let Some(init) = init {
        crate::signal::send::send_kernel(&init, Signal::SIGINT);
    }
}

/// The waiting part of reboot(2): lets the terminals send what they were given, and ends.
pub async fn reboot_wait(call: &mut Call<'_>) -> Result<u64> {
    match ending(call)? {
        Some(ending) => end(ending).await,
        None => Ok(0),
    }
}

async fn end(ending: Ending) -> ! {
    crate::tty::serial::drain().await;
    match ending {
        Ending::Restart => {
            log::error!("reboot: Restarting system");
            power::reset()
        }
        Ending::Halt => {
            log::error!("reboot: System halted");
            crate::arch::halt_forever()
        }
        Ending::PowerOff => {
            log::error!("reboot: Power down");
            power::poweroff()
        }
    }
}

/// No module is loaded, whatever its name.
fn delete_module(call: &mut Call<'_>) -> SysResult {
    /// Bytes of a module's name, with its zero (`MODULE_NAME_LEN`).
    const NAME_LEN: usize = 56;
    if !call.thread.cred().capable(Cap::SysModule) {
        return Err(Errno::EPERM.into());
    }
    match usermem::read_cstr(call.arg(0), NAME_LEN) {
        Err(Errno::ENAMETOOLONG) | Ok(_) => Err(Errno::ENOENT.into()),
        Err(e) => Err(e.into()),
    }
}

fn membarrier(call: &mut Call<'_>) -> SysResult {
    const QUERY: i32 = 0;
    const GLOBAL: i32 = 1;
    if call.arg(1) != 0 {
        return Err(Errno::EINVAL.into());
    }
    match call.int(0) {
        QUERY => Ok(GLOBAL as u64),
        GLOBAL => {
            // Every other CPU passes through an interrupt, which is a barrier there.
            fence(Ordering::SeqCst);
            smp::call(smp::online(), &|| fence(Ordering::SeqCst));
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
