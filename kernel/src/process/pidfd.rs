//! Descriptors that stand for a process: whoever holds one holds that process, not its number.
//!
//! Source: pidfd_open(2).

use alloc::sync::Arc;
use core::fmt;

use fs::file::{Positioning, oflag};
use fs::{Errno, File, FileOps, PollEvents, PollTable, anon};

use super::family::Life;
use super::{Process, table};

/// The object behind a pidfd.
struct PidFd {
    process: Arc<Process>,
}

impl PidFd {
    fn life(&self) -> Life {
        self.process.family(&table::lock()).life
    }
}

impl FileOps for PidFd {
    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&self.process.exit_wait);
        }
        if self.life() == Life::Alive {
            PollEvents::empty()
        } else {
            PollEvents::IN | PollEvents::RDNORM
        }
    }

    fn show_fdinfo(&self, _: &File, out: &mut dyn fmt::Write) -> fmt::Result {
        let pid = match self.life() {
            Life::Reaped => -1,
            _ => self.process.pid,
        };
        writeln!(out, "Pid:\t{pid}\nNSpid:\t{pid}")
    }
}

/// An open file that stands for `process`. `flags` may hold `O_NONBLOCK`.
///
/// # Errors
/// `ENFILE`, `ENOMEM`.
pub fn open(process: &Arc<Process>, flags: u32) -> Result<Arc<File>, Errno> {
    let ops = Arc::new(PidFd {
        process: process.clone(),
    });
    anon::file(
        "[pidfd]",
        ops,
        oflag::O_RDWR | flags & oflag::O_NONBLOCK,
        Positioning::Stream,
    )
}

/// The process that `file` stands for.
///
/// # Errors
/// `EBADF` if it is no pidfd.
pub fn process_of(file: &File) -> Result<Arc<Process>, Errno> {
    let pidfd = file.ops_as::<PidFd>().ok_or(Errno::EBADF)?;
    Ok(pidfd.process.clone())
}
