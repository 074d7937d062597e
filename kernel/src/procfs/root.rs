//! The top directory.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;

use fs::inode::LinkTarget;
use fs::{Errno, Result};

use super::{ino, irq, pid, sys, system};
use crate::process::{self, Pid, table};
use crate::pseudofs::{Directory, Entry, Fixed, Link, ListSink, Node};

const DT_DIR: u8 = 4;

/// Fixed files, then processes by number.
pub(super) struct Root {
    fixed: Fixed,
}

impl Root {
    pub(super) fn new() -> Root {
        let mut entries = alloc::vec::Vec::new();
        let mut next = ino::FIXED;
        let mut add = |name: &'static str, mut entry: Entry| {
            entry.ino = next;
            next += 1;
            entries.push((name, entry));
        };
        for (name, mode, show) in system::FILES {
            add(name, Entry::text(0, *mode, *show));
        }
        add(
            "kmsg",
            Entry::new(0, 0o400, Node::Special(Arc::new(system::Kmsg))),
        );
        add("driver", Entry::dir(0, system::driver()));
        add("irq", irq::dir());
        add("mounts", Entry::link(0, "self/mounts"));
        add("net", Entry::link(0, "self/net"));
        add("self", link(OwnProcess));
        add("thread-self", link(OwnThread));
        add("bus", Entry::dir(0, system::bus()));
        add("sys", Entry::dir(0, sys::tree()));
        add("sysvipc", Entry::dir(0, system::sysvipc()));
        add("wake", Entry::dir(0, system::wake()));
        Root {
            fixed: Fixed(entries),
        }
    }
}

fn link(link: impl Link) -> Entry {
    Entry::new(0, 0o777, Node::Link(Arc::new(link)))
}

/// A number as procfs takes it for a name: no sign, no leading zero.
pub(super) fn parse_pid(name: &[u8]) -> Option<Pid> {
    let plain = matches!(name, [b'1'..=b'9', ..]) && name.iter().all(u8::is_ascii_digit);
    core::str::from_utf8(name)
        .ok()?
        .parse()
        .ok()
        .filter(|_| plain)
}

impl Directory for Root {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        match parse_pid(name) {
            Some(pid) => pid::entry(pid),
            None => self.fixed.lookup(name),
        }
    }

    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()> {
        let fixed = self.fixed.0.len() as u64;
        for at in from..fixed {
            let (name, entry) = &self.fixed.0[at as usize];
            if !sink.emit(name.as_bytes(), entry, at + 1) {
                return Ok(());
            }
        }
        let mut pid = from.saturating_sub(fixed) as Pid;
        loop {
            let Some(found) = table::lock().next_process(pid).map(|process| process.pid) else {
                return Ok(());
            };
            pid = found + 1;
            let name = found.to_string();
            if !sink.emit_raw(
                name.as_bytes(),
                pid::ino_of(found, 0),
                DT_DIR,
                fixed + pid as u64,
            ) {
                return Ok(());
            }
        }
    }

    fn subdirectories(&self) -> u32 {
        self.fixed.subdirectories() + table::lock().process_count() as u32
    }
}

/// `self`.
struct OwnProcess;

impl Link for OwnProcess {
    fn target(&self) -> Result<LinkTarget> {
        let thread = process::current::try_current().ok_or(Errno::ENOENT)?;
        Ok(LinkTarget::Text(
            thread.process().pid.to_string().into_bytes().into(),
        ))
    }
}

/// `thread-self`.
struct OwnThread;

impl Link for OwnThread {
    fn target(&self) -> Result<LinkTarget> {
        let thread = process::current::try_current().ok_or(Errno::ENOENT)?;
        let text = format!("{}/task/{}", thread.process().pid, thread.tid());
        Ok(LinkTarget::Text(text.into_bytes().into()))
    }
}
