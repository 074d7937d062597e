//! The files of a process's directory.

use alloc::sync::Arc;

use fs::{Errno, Result};

use super::{Subject, autogroup, fd, image, ino_of, limits, maps, numa, oom, stat, status, task};
use crate::procfs::net;
use crate::pseudofs::{Directory, Entry, ListSink, Node, Out, Text, put};

/// Writes the text of a file about a subject.
type Show = fn(&Subject, &mut Out) -> Result<()>;

/// What kind of file a name stands for.
enum Kind {
    /// Text that anybody may have.
    Text(u32, Show),
    /// Text for those who may look into the process.
    Private(u32, Show),
    /// Anything else.
    Other(fn(&Subject) -> Node, u32),
}

/// The files of processes alone, behind the others.
const OF_PROCESSES: &[(&str, Kind)] = &[("autogroup", Kind::Other(autogroup::file, 0o644))];

/// The files in both kinds of directory, in the order in which they are listed.
const FILES: &[(&str, Kind)] = &[
    ("auxv", Kind::Private(0o400, image::auxv)),
    ("cgroup", Kind::Text(0o444, cgroup)),
    ("clear_refs", Kind::Other(maps::clear_refs, 0o200)),
    ("cmdline", Kind::Text(0o444, image::cmdline)),
    ("comm", Kind::Other(image::comm_file, 0o644)),
    ("coredump_filter", Kind::Other(image::dump_filter, 0o644)),
    ("cwd", Kind::Other(image::cwd, 0o777)),
    ("environ", Kind::Private(0o400, image::environ)),
    ("exe", Kind::Other(image::exe, 0o777)),
    ("fd", Kind::Other(fd::links, 0o500)),
    ("fdinfo", Kind::Other(fd::infos, 0o555)),
    ("limits", Kind::Text(0o444, limits::show)),
    ("loginuid", Kind::Text(0o644, no_login)),
    ("maps", Kind::Private(0o444, maps::maps)),
    ("mem", Kind::Other(image::mem, 0o600)),
    ("mountinfo", Kind::Text(0o444, image::mountinfo)),
    ("mounts", Kind::Text(0o444, image::mounts)),
    ("net", Kind::Other(network, 0o555)),
    ("numa_maps", Kind::Private(0o444, numa::maps)),
    ("oom_adj", Kind::Other(oom::old_adjustment, 0o644)),
    ("oom_score", Kind::Text(0o444, oom::score)),
    ("oom_score_adj", Kind::Other(oom::adjustment, 0o644)),
    ("pagemap", Kind::Other(maps::pagemap, 0o400)),
    ("personality", Kind::Private(0o400, personality)),
    ("root", Kind::Other(image::root, 0o777)),
    ("sched", Kind::Text(0o444, stat::sched)),
    ("schedstat", Kind::Text(0o444, stat::schedstat)),
    ("sessionid", Kind::Text(0o444, no_login)),
    ("smaps", Kind::Private(0o444, maps::smaps)),
    ("smaps_rollup", Kind::Private(0o444, maps::smaps_rollup)),
    ("stat", Kind::Text(0o444, stat::stat)),
    ("statm", Kind::Text(0o444, stat::statm)),
    ("status", Kind::Text(0o444, status::show)),
    ("wchan", Kind::Text(0o444, wchan)),
];

/// `task` is a file of processes only.
const TASK: &str = "task";

/// The directory of `subject`.
pub(super) fn entry(subject: Subject) -> Entry {
    let ino = if subject.whole {
        ino_of(subject.id, 0)
    } else {
        ino_of(subject.id, task::THREAD_FILES)
    };
    let (uid, gid) = subject.owner();
    Entry::dir(ino, PidDir(subject)).owned_by(uid, gid)
}

struct PidDir(Subject);

impl PidDir {
    /// The files that there are in it, but for the directory of tasks.
    fn files(&self) -> impl Iterator<Item = &'static (&'static str, Kind)> {
        let of_processes = if self.0.whole { OF_PROCESSES } else { &[] };
        FILES.iter().chain(of_processes)
    }

    fn make(&self, at: usize) -> Entry {
        let base = if self.0.whole { 0 } else { task::THREAD_FILES };
        let number = ino_of(self.0.id, base + 1 + at as u64);
        let (uid, gid) = self.0.owner();
        let (node, mode) = match self.files().nth(at).map(|(_, kind)| kind) {
            Some(Kind::Text(mode, show)) => (self.text(*show, false), *mode),
            Some(Kind::Private(mode, show)) => (self.text(*show, true), *mode),
            Some(Kind::Other(make, mode)) => (make(&self.0), *mode),
            None => (
                Node::Dir(Arc::new(task::Tasks(self.0.process.clone()))),
                0o555,
            ),
        };
        Entry::new(number, mode, node).owned_by(uid, gid)
    }

    fn text(&self, show: Show, private: bool) -> Node {
        Node::Text(Arc::new(About {
            subject: self.0.clone(),
            show,
            private,
        }))
    }

    fn count(&self) -> usize {
        self.files().count() + usize::from(self.0.whole)
    }
}

impl Directory for PidDir {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        let found = self.files().position(|(own, _)| own.as_bytes() == name);
        match found {
            Some(at) => Ok(self.make(at)),
            None if self.0.whole && name == TASK.as_bytes() => Ok(self.make(self.files().count())),
            None => Err(Errno::ENOENT),
        }
    }

    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()> {
        for at in from as usize..self.count() {
            let name = self.files().nth(at).map_or(TASK, |(name, _)| name);
            if !sink.emit(name.as_bytes(), &self.make(at), at as u64 + 1) {
                break;
            }
        }
        Ok(())
    }

    fn subdirectories(&self) -> u32 {
        3 + u32::from(self.0.whole)
    }
}

/// A text file about a subject.
struct About {
    subject: Subject,
    show: Show,
    private: bool,
}

impl Text for About {
    fn show(&self, out: &mut Out) -> Result<()> {
        if self.private {
            self.subject.check_access()?;
        }
        (self.show)(&self.subject, out)
    }

    fn check_open(&self, _: u32) -> Result<()> {
        if self.private {
            self.subject.check_access()
        } else {
            Ok(())
        }
    }
}

fn network(_: &Subject) -> Node {
    Node::Dir(Arc::new(net::directory()))
}

fn cgroup(subject: &Subject, out: &mut Out) -> Result<()> {
    put!(out, "0::");
    match &subject.thread {
        Some(thread) => out.bytes(&crate::cgroup::path_of(thread)),
        None => out.bytes(b"/"),
    }
    put!(out, "\n");
    Ok(())
}

/// Nobody has logged in as far as an audit would know.
fn no_login(_: &Subject, out: &mut Out) -> Result<()> {
    put!(out, "{}", u32::MAX);
    Ok(())
}

fn personality(subject: &Subject, out: &mut Out) -> Result<()> {
    let personality = subject
        .live()?
        .personality
        .load(core::sync::atomic::Ordering::Relaxed);
    put!(out, "{personality:08x}\n");
    Ok(())
}

/// Where in the kernel it waits: a thread that waits has no stack here, so there is no such place.
fn wchan(_: &Subject, out: &mut Out) -> Result<()> {
    put!(out, "0");
    Ok(())
}
