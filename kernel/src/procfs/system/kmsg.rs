//! `/proc/kmsg`: the log for a daemon, which takes what it reads.

use alloc::sync::Arc;

use fs::{Cap, Errno, File, FileOps, PollEvents, PollTable, Result, Sink};

use crate::printk::{self, syslog};
use crate::process::current;
use crate::pseudofs::Special;

/// The file.
pub struct Kmsg;

impl Special for Kmsg {
    fn open(&self, _: u32) -> Result<Arc<dyn FileOps>> {
        if current().cred().capable(Cap::Syslog) {
            Ok(Arc::new(Kmsg))
        } else {
            Err(Errno::EPERM)
        }
    }
}

impl FileOps for Kmsg {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let mut done = 0;
        syslog::take_unread(|line| {
            let whole = line.len() <= buf.remaining() && buf.put(line) == line.len();
            done += if whole { line.len() } else { 0 };
            whole
        });
        match done {
            0 if buf.faulted() => Err(Errno::EFAULT),
            0 if syslog::is_unread() => Err(Errno::EINVAL),
            0 => Err(Errno::EAGAIN),
            done => Ok(done),
        }
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&printk::readers());
        }
        if syslog::is_unread() {
            PollEvents::READ
        } else {
            PollEvents::empty()
        }
    }
}
