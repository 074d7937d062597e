//! `stat`, `statm`, `schedstat`: figures for programs. Source: proc(5).

use core::sync::atomic::{AtomicU64, Ordering};

use fs::Result;

use super::Subject;
use crate::process::attributes::Attributes;
use crate::process::family::Life;
use crate::process::process::UsageSum;
use crate::process::rlimit::Resource;
use crate::process::table;
use crate::process::thread::STATE_FORKED;
use crate::procfs::system::TICK_NS;
use crate::pseudofs::{Out, put};
use crate::signal::SigSet;

const PF_EXITING: u32 = 0x4;
const PF_FORKNOEXEC: u32 = 0x40;
const PF_SIGNALED: u32 = 0x400;
const PF_RANDOMIZE: u32 = 0x0040_0000;
const PAGE: u64 = 4096;

/// Relations of a process, looked up at once.
struct Relations {
    ppid: i32,
    group: i32,
    session: i32,
    terminal: u32,
    foreground: i32,
    exit_signal: i32,
    exit_code: i32,
}

fn relations(subject: &Subject) -> Relations {
    let (mut relations, session) = {
        let table = table::lock();
        let family = subject.process.family(&table);
        let exit_code = match family.life {
            Life::Zombie(status) => status.word(),
            _ => 0,
        };
        let relations = Relations {
            ppid: subject.process.ppid(),
            group: family.group.id,
            session: family.group.session.id,
            terminal: 0,
            foreground: -1,
            exit_signal: family.exit_signal.map_or(0, |signal| signal.number()),
            exit_code,
        };
        (relations, family.group.session.clone())
    };
    if let Some(terminal) = session.terminal() {
        relations.terminal = terminal.device();
        relations.foreground = terminal.foreground_group();
    }
    relations
}

/// Time and events of the subject, and of the children its process has waited for.
pub(super) fn usage(subject: &Subject) -> (UsageSum, UsageSum) {
    let own = match &subject.thread {
        Some(thread) if !subject.whole => {
            let mut sum = UsageSum::default();
            sum.add(thread);
            sum
        }
        _ => subject.process.usage(),
    };
    (own, subject.process.accounts.lock().children)
}

/// Pending, blocked, ignored and caught signals.
pub(super) struct SignalSets {
    pub(super) own: SigSet,
    pub(super) shared: SigSet,
    pub(super) blocked: SigSet,
    pub(super) ignored: SigSet,
    pub(super) caught: SigSet,
}

pub(super) fn signal_sets(subject: &Subject) -> SignalSets {
    let state = subject.process.signals.lock();
    let (own, blocked) = match &subject.thread {
        Some(thread) => {
            let signals = thread.signals.get(&state.token);
            (signals.pending.set(), signals.blocked)
        }
        None => (SigSet::EMPTY, SigSet::EMPTY),
    };
    let actions = state.sighand.actions.lock();
    SignalSets {
        own,
        shared: state.shared.set(),
        blocked,
        ignored: actions.ignored(),
        caught: actions.caught(),
    }
}

pub(super) fn stat(subject: &Subject, out: &mut Out) -> Result<()> {
    let relations = relations(subject);
    let (own, children) = usage(subject);
    let sets = signal_sets(subject);
    let space = subject.process.mm();
    let stats = space
        .as_ref()
        .map(|space| space.stats())
        .unwrap_or_default();
    let may_look = subject.check_access().is_ok();
    let layout = space
        .as_ref()
        .filter(|_| may_look)
        .map(|space| space.layout())
        .unwrap_or_default();
    let (attributes, priority, forked, cpu) = match &subject.thread {
        Some(thread) => (
            thread.attributes(),
            thread.shown_priority(),
            thread.bits() & STATE_FORKED != 0,
            thread.task().map_or(0, |task| task.cpu()),
        ),
        None => {
            let usual = Attributes::default();
            let forked = subject.process.execs.load(Ordering::Relaxed) == 0;
            (usual, usual.shown_priority(), forked, 0)
        }
    };
    let flag = |flag, is_set| if is_set { flag } else { 0 };
    let flags = PF_RANDOMIZE
        | flag(PF_FORKNOEXEC, forked)
        | flag(PF_EXITING, subject.thread.is_none())
        // The low bits of the word are the signal's number.
        | flag(PF_SIGNALED, relations.exit_code & 0x7f != 0);
    let threads = subject.process.signals.lock().threads.len();
    let ticks = |ns: u64| ns / TICK_NS;
    put!(out, "{} (", subject.id);
    out.bytes(&subject.comm());
    put!(
        out,
        ") {} {} {} {} ",
        subject.state().0,
        relations.ppid,
        relations.group,
        relations.session
    );
    put!(
        out,
        "{} {} {flags} ",
        relations.terminal,
        relations.foreground
    );
    put!(
        out,
        "{} {} {} {} ",
        own.minor_faults,
        children.minor_faults,
        own.major_faults,
        children.major_faults
    );
    put!(out, "{} {} ", ticks(own.user_ns), ticks(own.system_ns));
    put!(
        out,
        "{} {} ",
        ticks(children.user_ns),
        ticks(children.system_ns)
    );
    let nice = attributes.nice;
    put!(out, "{priority} {nice} {threads} 0 ");
    put!(
        out,
        "{} {} {} ",
        ticks(subject.process.start.as_ns()),
        stats.total * PAGE,
        stats.rss()
    );
    put!(out, "{} ", subject.process.limit(Resource::Rss));
    let (code, end) = match (&space, may_look) {
        (None, _) => (0, 0),
        (Some(_), true) => (layout.start_code, layout.end_code),
        (Some(_), false) => (1, 1),
    };
    put!(out, "{code} {end} {} 0 0 ", layout.start_stack);
    // Only the first 31 signals; the sets in `status` are whole.
    let old = |set: SigSet| set.0 & 0x7fff_ffff;
    put!(
        out,
        "{} {} {} {} ",
        old(sets.own),
        old(sets.blocked),
        old(sets.ignored),
        old(sets.caught)
    );
    let (rt_priority, policy) = (attributes.priority, attributes.kind as u8);
    put!(
        out,
        "0 0 0 {} {cpu} {rt_priority} {policy} ",
        relations.exit_signal
    );
    put!(out, "0 0 0 ");
    put!(out, "{} {} 0 ", layout.start_data, layout.end_data);
    put!(
        out,
        "{} {} {} {} ",
        layout.arg_start,
        layout.arg_end,
        layout.env_start,
        layout.env_end
    );
    put!(out, "{}\n", if may_look { relations.exit_code } else { 0 });
    Ok(())
}

pub(super) fn statm(subject: &Subject, out: &mut Out) -> Result<()> {
    let stats = subject
        .process
        .with_space(|space| space.map(|space| space.stats()))
        .unwrap_or_default();
    let shared = stats.rss_file + stats.rss_shmem;
    put!(
        out,
        "{} {} {shared} {} 0 {} 0\n",
        stats.total,
        stats.rss(),
        stats.exec,
        stats.data + stats.stack
    );
    Ok(())
}

/// Time on a CPU, time waiting for one, turns.
pub(super) fn schedstat(subject: &Subject, out: &mut Out) -> Result<()> {
    let task = subject.live()?.task();
    let run = task.map_or(0, |task| task.run_time().as_nanos() as u64);
    put!(out, "{run} 0 {}\n", task.map_or(0, |task| task.polls()));
    Ok(())
}

/// What the scheduler knows of the thread, a line each.
pub(super) fn sched(subject: &Subject, out: &mut Out) -> Result<()> {
    /// Milliseconds, with six digits behind the point.
    const NS_PER_MS: u64 = 1_000_000;
    /// Weights have ten more bits to readers.
    const WEIGHT_SHIFT: u32 = 10;
    let thread = subject.live()?;
    let attributes = thread.attributes();
    let count = |events: &AtomicU64| events.load(Ordering::Relaxed);
    let run = thread.task().map_or(0, |task| task.run_time().as_nanos()) as u64;
    let (voluntary, involuntary) = (
        count(&thread.usage.voluntary_switches),
        count(&thread.usage.involuntary_switches),
    );
    out.bytes(&subject.comm());
    let threads = subject.process.signals.lock().threads.len();
    put!(out, " ({}, #threads: {threads})\n{:-<67}\n", subject.id, "");
    put!(
        out,
        "{:<45}:{:14}.{:06}\n",
        "se.sum_exec_runtime",
        run / NS_PER_MS,
        run % NS_PER_MS
    );
    for (name, value) in [
        ("se.nr_migrations", count(&thread.migrations)),
        ("nr_switches", voluntary + involuntary),
        ("nr_voluntary_switches", voluntary),
        ("nr_involuntary_switches", involuntary),
        (
            "se.load.weight",
            thread.sched_policy().weight() << WEIGHT_SHIFT,
        ),
        ("policy", attributes.kind as u64),
        // From 0 for the first real-time priority; that of nice 0 is 120.
        ("prio", (thread.shown_priority() + 100) as u64),
    ] {
        put!(out, "{name:<45}:{value:21}\n");
    }
    Ok(())
}
