//! procfs: processes and the kernel's own figures as files, in Linux's formats.
//!
//! | module | files |
//! | --- | --- |
//! | `root` | the top directory: the fixed files, then a directory for each process |
//! | [`pid`] | what is in such a directory |
//! | [`system`] | memory, time, load, CPUs, interrupts, versions |
//! | `irq` | `/proc/irq`: interrupt lines |
//! | `sys` | `/proc/sys`: what sysctl(8) reads and sets |
//! | `net` | `/proc/PID/net`, as far as there is a network |
//!
//! Source: proc(5).

mod access;
mod irq;
mod net;
pub mod pid;
mod root;
mod sys;
pub mod system;

use alloc::sync::Arc;

use executor::sync::SpinLock;
use fs::dentry::Dentry;
use fs::superblock::{FileSystemType, register_filesystem};
use fs::{Errno, Result};

use crate::pseudofs::{self, Entry};
use crate::{process, task};

/// `PROC_SUPER_MAGIC`.
const MAGIC: u64 = 0x9fa0;

/// Inode numbers: of the root, of the fixed files from [`ino::FIXED`] on, of a process's files above [`ino::PID_SHIFT`].
mod ino {
    pub const ROOT: u64 = 1;
    pub const FIXED: u64 = 0xf000_0000;
    pub const SYS: u64 = 0xf100_0000;
    pub const NET: u64 = 0xf200_0000;
    pub const IRQ: u64 = 0xf300_0000;
    pub const PID_SHIFT: u32 = 32;
}

/// The one instance, made by the first mount.
static INSTANCE: SpinLock<Option<Arc<Dentry>>> = SpinLock::new(None);

/// The type, for `mount -t proc`.
#[derive(Debug)]
struct ProcType;

impl FileSystemType for ProcType {
    fn name(&self) -> &'static str {
        "proc"
    }

    fn mount(&self, _: &[u8], options: &[u8]) -> Result<Arc<Dentry>> {
        check_options(options)?;
        let made = {
            let kept = INSTANCE.lock().clone();
            match kept {
                Some(root) => return Ok(root),
                None => pseudofs::mount("proc", MAGIC, Entry::dir(ino::ROOT, root::Root::new())),
            }
        };
        Ok(INSTANCE.lock().get_or_insert(made).clone())
    }
}

/// `hidepid=0` and `gid=` are what is there without them; others are refused.
fn check_options(options: &[u8]) -> Result<()> {
    let known =
        |option: &[u8]| option.is_empty() || option == b"hidepid=0" || option.starts_with(b"gid=");
    if options.split(|&b| b == b',').all(known) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Registers procfs, and keeps the load averages from now on.
///
/// # Context
/// Task, at the end of the boot.
/// # Errors
/// `EBUSY` if it was done before.
pub fn init() -> Result<()> {
    register_filesystem(&ProcType)?;
    executor::spawn("loadavg", task::load::watch(running_threads)).detach();
    Ok(())
}

/// User threads that run or could.
fn running_threads() -> u64 {
    let table = process::table::lock();
    let threads = table.processes().map(|process| {
        let state = process.signals.lock();
        state
            .threads
            .iter()
            .filter(|thread| thread.task().is_some_and(|task| task.is_runnable()))
            .count() as u64
    });
    threads.sum()
}
