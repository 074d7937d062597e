//! The files of a group's directory.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use fs::file::Whence;
use fs::{Credentials, Errno, File, FileOps, PollEvents, PollTable, Result, Sink};

use super::cpu::{Cpu, number, parse_max};
use super::{Cgroup, Thread, group_of};
use crate::process::{Pid, current, table};
use crate::pseudofs::{self, Out, Special, Text, put};
use crate::signal::{Signal, send};

const NS_PER_US: u64 = 1000;

/// Where a file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In every group.
    All,
    /// In every group but the root.
    Inner,
    /// Where the group has the `cpu` controller.
    Cpu,
}

type Show = fn(&Arc<Cgroup>, &mut Out) -> Result<()>;
type Store = fn(&Arc<Cgroup>, &str) -> Result<()>;

/// A kind of file.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) mode: u32,
    at: At,
    show: Show,
    store: Option<Store>,
}

const fn read(name: &'static str, at: At, show: Show) -> Kind {
    Kind {
        name,
        mode: 0o444,
        at,
        show,
        store: None,
    }
}

const fn write(name: &'static str, at: At, show: Show, store: Store) -> Kind {
    Kind {
        name,
        mode: 0o644,
        at,
        show,
        store: Some(store),
    }
}

/// All kinds, in the order in which they are listed.
pub(super) const ALL: &[Kind] = &[
    read("cgroup.controllers", At::All, controllers),
    read(EVENTS, At::Inner, events),
    Kind {
        mode: 0o200,
        ..write("cgroup.kill", At::Inner, |_, _| Err(Errno::EINVAL), kill)
    },
    write("cgroup.procs", At::All, procs, move_process),
    read("cgroup.stat", At::All, stat),
    write("cgroup.subtree_control", At::All, subtree, set_subtree),
    write("cgroup.threads", At::All, threads, move_thread),
    write("cgroup.type", At::Inner, kind_of, set_kind),
    write("cpu.idle", At::Cpu, idle, set_idle),
    write("cpu.max", At::Cpu, max, set_max),
    write("cpu.max.burst", At::Cpu, burst, set_burst),
    read("cpu.stat", At::All, cpu_stat),
    write("cpu.weight", At::Cpu, weight, set_weight),
    write("cpu.weight.nice", At::Cpu, nice, set_nice),
];

pub(super) const EVENTS: &str = "cgroup.events";

/// The files of `cgroup`, with numbers from 1 on.
pub(super) fn of(cgroup: &Cgroup) -> impl Iterator<Item = (usize, &'static Kind)> {
    let (root, cpu) = (cgroup.is_root(), cgroup.cpu.lock().is_some());
    let has = move |kind: &Kind| match kind.at {
        At::All => true,
        At::Inner => !root,
        At::Cpu => cpu,
    };
    (1..).zip(ALL).filter(move |(_, kind)| has(kind))
}

/// A file of a group.
pub(super) struct CgroupFile {
    pub(super) cgroup: Arc<Cgroup>,
    pub(super) kind: &'static Kind,
}

impl Text for CgroupFile {
    fn show(&self, out: &mut Out) -> Result<()> {
        alive(&self.cgroup)?;
        (self.kind.show)(&self.cgroup, out)
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        alive(&self.cgroup)?;
        let store = self.kind.store.ok_or(Errno::EINVAL)?;
        let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        store(&self.cgroup, text.trim())
    }
}

/// `cgroup.events`, which tells who polls it when it has changed since it was read.
pub(super) struct EventsFile(pub(super) Arc<Cgroup>);

impl Special for EventsFile {
    fn open(&self, _: u32) -> Result<Arc<dyn FileOps>> {
        let seen = AtomicU64::new(self.0.changes.load(Ordering::Acquire));
        Ok(Arc::new(OpenEvents {
            cgroup: self.0.clone(),
            seen,
        }))
    }
}

struct OpenEvents {
    cgroup: Arc<Cgroup>,
    /// The changes that whoever has it open knows of.
    seen: AtomicU64,
}

impl FileOps for OpenEvents {
    fn splices(&self) -> bool {
        true
    }

    fn read(&self, _: &File, pos: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        alive(&self.cgroup)?;
        let changes = self.cgroup.changes.load(Ordering::Acquire);
        let mut out = Out::default();
        events(&self.cgroup, &mut out)?;
        self.seen.store(changes, Ordering::Relaxed);
        let text = out.into_bytes();
        let rest = text.get(*pos as usize..).unwrap_or(&[]);
        let want = rest.len().min(buf.remaining());
        let n = buf.put(&rest[..want]);
        if n == 0 && want > 0 {
            return Err(Errno::EFAULT);
        }
        *pos += n as u64;
        Ok(n)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&self.cgroup.events);
        }
        let always = PollEvents::READ | PollEvents::WRITE;
        if self.cgroup.changes.load(Ordering::Acquire) == self.seen.load(Ordering::Relaxed) {
            always
        } else {
            always | PollEvents::ERR | PollEvents::PRI
        }
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        pseudofs::seek_text(pos, offset, whence)
    }
}

/// # Errors
/// `ENODEV` once the group is removed.
fn alive(cgroup: &Cgroup) -> Result<()> {
    if cgroup.state.lock().removed {
        return Err(Errno::ENODEV);
    }
    Ok(())
}

/// The group's part in the scheduler.
///
/// # Errors
/// `ENODEV` if it has lost that.
fn cpu(cgroup: &Cgroup) -> Result<Arc<Cpu>> {
    cgroup.cpu.lock().clone().ok_or(Errno::ENODEV)
}

fn line(out: &mut Out, present: bool) -> Result<()> {
    put!(out, "{}\n", if present { "cpu" } else { "" });
    Ok(())
}

fn controllers(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    line(out, cgroup.is_root() || cgroup.cpu.lock().is_some())
}

fn subtree(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    line(out, cgroup.state.lock().hands_on)
}

fn set_subtree(cgroup: &Arc<Cgroup>, text: &str) -> Result<()> {
    let mut wanted = None;
    for word in text.split_whitespace() {
        wanted = Some(match word {
            "+cpu" => true,
            "-cpu" => false,
            _ => return Err(Errno::EINVAL),
        });
    }
    wanted.map_or(Ok(()), |on| cgroup.hand_on(on))
}

fn events(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    put!(out, "populated {}\n", u8::from(cgroup.is_populated()));
    put!(out, "frozen 0\n");
    Ok(())
}

fn kind_of(_: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    put!(out, "domain\n");
    Ok(())
}

/// Domains of threads are not there.
fn set_kind(_: &Arc<Cgroup>, text: &str) -> Result<()> {
    match text {
        "threaded" => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

fn stat(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    fn below(cgroup: &Cgroup) -> usize {
        let state = cgroup.state.lock();
        state.children.values().map(|child| 1 + below(child)).sum()
    }
    put!(out, "nr_descendants {}\n", below(cgroup));
    put!(out, "nr_dying_descendants 0\n");
    Ok(())
}

/// Calls `f` for the threads of just this group, those of a process one after the other.
fn for_each_member(cgroup: &Arc<Cgroup>, mut f: impl FnMut(&Arc<Thread>)) {
    cgroup.for_each_thread(|thread| {
        if group_of(thread).is_some_and(|own| Arc::ptr_eq(&own, cgroup)) {
            f(thread);
        }
    });
}

fn procs(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    let mut told = None;
    for_each_member(cgroup, |thread| {
        let pid = thread.process().pid;
        if told.replace(pid) != Some(pid) {
            put!(out, "{pid}\n");
        }
    });
    Ok(())
}

fn threads(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    for_each_member(cgroup, |thread| put!(out, "{}\n", thread.tid()));
    Ok(())
}

/// The thread with the number that was written; 0 is the caller's.
///
/// # Errors
/// `EINVAL`, `ESRCH`.
fn named(text: &str) -> Result<Arc<Thread>> {
    match number::<Pid>(text)? {
        0 => Ok(current()),
        pid if pid < 0 => Err(Errno::EINVAL),
        pid => table::lock().thread(pid).cloned().ok_or(Errno::ESRCH),
    }
}

fn move_process(cgroup: &Arc<Cgroup>, text: &str) -> Result<()> {
    let thread = named(text)?;
    cgroup.take_in(thread.process(), None)
}

fn move_thread(cgroup: &Arc<Cgroup>, text: &str) -> Result<()> {
    let thread = named(text)?;
    // A thread leaves its process's domain with all the others only.
    if !group_of(&thread).is_some_and(|own| Arc::ptr_eq(&own, cgroup)) {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

fn kill(cgroup: &Arc<Cgroup>, text: &str) -> Result<()> {
    if number::<u32>(text)? != 1 {
        return Err(Errno::ERANGE);
    }
    let mut told = None;
    cgroup.for_each_thread(|thread| {
        let process = thread.process();
        if told.replace(process.pid) != Some(process.pid) {
            send::send_kernel(process, Signal::SIGKILL);
        }
    });
    Ok(())
}

fn cpu_stat(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    let used = cgroup.used();
    put!(out, "usage_usec {}\n", used.total_ns() / NS_PER_US);
    put!(out, "user_usec {}\n", used.user_ns / NS_PER_US);
    put!(out, "system_usec {}\n", used.system_ns / NS_PER_US);
    if let Some(cpu) = cgroup.cpu.lock().as_ref() {
        let stat = cpu.stat();
        put!(out, "nr_periods {}\n", stat.periods);
        put!(out, "nr_throttled {}\n", stat.throttled);
        put!(out, "throttled_usec {}\n", stat.throttled_ns / NS_PER_US);
    }
    Ok(())
}

fn weight(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    put!(out, "{}\n", cpu(cgroup)?.weight());
    Ok(())
}

fn set_weight(cgroup: &Arc<Cgroup>, text: &str) -> Result<()> {
    cpu(cgroup)?.set_weight(number(text)?)
}

fn nice(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    put!(out, "{}\n", cpu(cgroup)?.nice());
    Ok(())
}

fn set_nice(cgroup: &Arc<Cgroup>, text: &str) -> Result<()> {
    cpu(cgroup)?.set_nice(number(text)?)
}

fn idle(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    put!(out, "{}\n", u8::from(cpu(cgroup)?.is_idle()));
    Ok(())
}

fn set_idle(cgroup: &Arc<Cgroup>, text: &str) -> Result<()> {
    match number::<i64>(text)? {
        value @ 0..=1 => cpu(cgroup)?.set_idle(value == 1),
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn max(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    match cpu(cgroup)?.max_us() {
        (None, period) => put!(out, "max {period}\n"),
        (Some(quota), period) => put!(out, "{quota} {period}\n"),
    }
    Ok(())
}

fn set_max(cgroup: &Arc<Cgroup>, text: &str) -> Result<()> {
    let (quota, period) = parse_max(text)?;
    let cpu = cpu(cgroup)?;
    let period = period.unwrap_or(cpu.max_us().1);
    cpu.set_max(quota, period)?;
    // Those that were held back go on at once, if they may now.
    cgroup.for_each_thread(|thread| thread.look_again());
    Ok(())
}

fn burst(cgroup: &Arc<Cgroup>, out: &mut Out) -> Result<()> {
    put!(out, "{}\n", cpu(cgroup)?.burst_us());
    Ok(())
}

fn set_burst(cgroup: &Arc<Cgroup>, text: &str) -> Result<()> {
    cpu(cgroup)?.set_burst(number(text)?)
}
