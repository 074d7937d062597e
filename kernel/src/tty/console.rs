//! Opening terminals by device number.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use fs::device::{self, Device, DeviceKind, Opened};
use fs::file::oflag::{O_ACCMODE, O_NOCTTY, O_WRONLY};
use fs::inode::{dev_major, dev_minor};
use fs::{Errno, FileOps, Inode, Result};

use super::file::TtyFile;
use super::{Tty, devpts, hvc, job, pty, serial};
use crate::devtmpfs;
use crate::process::current;

/// Major number of `/dev/tty`, `/dev/console` and `/dev/ptmx`.
pub const AUX_MAJOR: u32 = 5;

/// Which terminal `/dev/console` is: the number of a serial port, or [`HVC`] and that of another line.
static CONSOLE: AtomicUsize = AtomicUsize::new(0);
const HVC: usize = 1 << 8;

/// Takes one `console=`: the last one that names a terminal of this kernel's says which `/dev/console` is. `serial` is
/// the number of the serial port that it names, if it does.
///
/// # Context
/// Boot.
pub fn set_console(name: &str, serial: Option<usize>) {
    let named = serial.or_else(|| hvc::named(name).map(|index| HVC | index));
    if let Some(console) = named {
        CONSOLE.store(console, Ordering::Relaxed);
    }
}

/// Whether the log is to be printed on the line `hvc`*index*.
pub fn is_hvc(index: usize) -> bool {
    let names = crate::boot::info().cmdline().values("console");
    let mut names = names.map(|value| value.split(',').next().unwrap_or(value));
    names.any(|name| hvc::named(name) == Some(index))
}

/// The terminal behind `/dev/console`.
fn console() -> Option<Arc<Tty>> {
    match CONSOLE.load(Ordering::Relaxed) {
        line if line & HVC != 0 => hvc::terminal(line & !HVC),
        port => serial::terminal(port),
    }
}

/// Serves the terminal device numbers.
struct Terminals;

impl Device for Terminals {
    fn open(&self, rdev: u64, _: &Arc<Inode>, flags: u32) -> Result<Opened> {
        let ops: Arc<dyn FileOps> = match (dev_major(rdev), dev_minor(rdev)) {
            (AUX_MAJOR, 0) => {
                let tty = job::controlling_tty(&current()).ok_or(Errno::ENXIO)?;
                TtyFile::open(&tty, false)?
            }
            (AUX_MAJOR, 1) => TtyFile::open(&console().ok_or(Errno::ENODEV)?, true)?,
            (AUX_MAJOR, 2) => pty::open_master()?,
            (serial::MAJOR, minor) if minor >= serial::FIRST_MINOR => {
                let index = (minor - serial::FIRST_MINOR) as usize;
                open(&serial::terminal(index).ok_or(Errno::EIO)?, flags)?
            }
            (hvc::MAJOR, index) => {
                let line = hvc::terminal(index as usize);
                open(&line.ok_or(Errno::ENODEV)?, flags)?
            }
            (pty::SLAVE_MAJOR, index) => open(&devpts::slave(index)?, flags)?,
            _ => return Err(Errno::ENXIO),
        };
        Ok(Opened::stream(ops))
    }
}

/// Opens `tty` and makes it the controlling terminal where that is due.
pub(super) fn open(tty: &Arc<Tty>, flags: u32) -> Result<Arc<TtyFile>> {
    let file = TtyFile::open(tty, false)?;
    if flags & O_NOCTTY == 0 && flags & O_ACCMODE != O_WRONLY {
        tty.acquire_on_open(&current());
    }
    Ok(file)
}

/// Registers the terminal device numbers.
///
/// # Context
/// Boot.
pub fn init() {
    let terminals: Arc<dyn Device> = Arc::new(Terminals);
    for (name, number, count) in [
        ("/dev/tty", (AUX_MAJOR, 0), 1),
        ("/dev/console", (AUX_MAJOR, 1), 1),
        ("/dev/ptmx", (AUX_MAJOR, 2), 1),
        ("ttyS", (serial::MAJOR, serial::FIRST_MINOR), 4),
        ("hvc", (hvc::MAJOR, 0), hvc::LINES as u32),
        ("pts", (pty::SLAVE_MAJOR, 0), 1 << 20),
    ] {
        if let Err(error) =
            device::register(DeviceKind::Char, name, number, count, terminals.clone())
        {
            log::error!("tty: {name} is not registered: {error}");
        }
    }
    for (name, mode, minor) in [("tty", 0o666, 0), ("console", 0o600, 1), ("ptmx", 0o666, 2)] {
        add_node(name, mode, (AUX_MAJOR, minor));
    }
}

/// Makes a node in devtmpfs.
pub(super) fn add_node(name: &str, mode: u32, number: (u32, u32)) {
    if let Err(error) = devtmpfs::add(name, mode, number) {
        log::error!("tty: no node for {name}: {error}");
    }
}

/// Takes a node out of devtmpfs.
pub(super) fn remove_node(name: &str) {
    // Programs may have taken it away themselves.
    let _ = devtmpfs::remove(name);
}
