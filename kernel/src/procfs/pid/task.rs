//! `task`: the threads of a process.

use alloc::string::ToString;
use alloc::sync::Arc;

use fs::{Errno, Result};

use super::{Subject, dir, ino_of};
use crate::process::Process;
use crate::procfs::root::parse_pid;
use crate::pseudofs::{Directory, Entry, ListSink};

const DT_DIR: u8 = 4;

/// Inode numbers of a thread's files lie so much above those of a process's.
pub(super) const THREAD_FILES: u64 = 0x1000_0000;

pub(super) struct Tasks(pub(super) Arc<Process>);

impl Directory for Tasks {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        let tid = parse_pid(name).ok_or(Errno::ENOENT)?;
        let thread = self
            .0
            .threads()
            .into_iter()
            .find(|thread| thread.tid() == tid)
            .ok_or(Errno::ENOENT)?;
        Ok(dir::entry(Subject {
            process: self.0.clone(),
            thread: Some(thread),
            id: tid,
            whole: false,
        }))
    }

    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()> {
        let mut tids: alloc::vec::Vec<_> =
            self.0.threads().iter().map(|thread| thread.tid()).collect();
        tids.sort_unstable();
        // The position is the number behind that of the last thread given.
        for tid in tids.into_iter().filter(|&tid| tid as u64 >= from) {
            if !sink.emit_raw(
                tid.to_string().as_bytes(),
                ino_of(tid, THREAD_FILES),
                DT_DIR,
                tid as u64 + 1,
            ) {
                break;
            }
        }
        Ok(())
    }

    fn subdirectories(&self) -> u32 {
        self.0.signals.lock().threads.len() as u32
    }
}
