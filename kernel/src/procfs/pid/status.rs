//! `status`: the figures for people.

use core::sync::atomic::Ordering;

use fs::Result;

use super::{Subject, stat};
use crate::arch::smp;
use crate::irq::mask::{List, Mask};
use crate::process::rlimit::Resource;
use crate::process::table;
use crate::pseudofs::{Out, put};
use crate::seccomp;
use crate::syscall::ptrace;
use crate::task::place;

/// KiB in a page.
const PAGE_KIB: u64 = 4;

pub(super) fn show(subject: &Subject, out: &mut Out) -> Result<()> {
    identity(subject, out);
    memory(subject, out);
    signals(subject, out);
    privileges(subject, out);
    scheduling(subject, out);
    Ok(())
}

fn identity(subject: &Subject, out: &mut Out) {
    put!(out, "Name:\t");
    for byte in subject.comm() {
        match byte {
            b'\n' => out.bytes(b"\\n"),
            b'\\' => out.bytes(b"\\\\"),
            byte => out.bytes(&[byte]),
        }
    }
    put!(out, "\n");
    let context = subject.thread.as_ref().and_then(|thread| thread.try_fs());
    if let Some(context) = context {
        put!(out, "Umask:\t{:04o}\n", context.lock().umask);
    }
    let (letter, word) = subject.state();
    let tgid = subject.process.pid;
    put!(
        out,
        "State:\t{letter} ({word})\nTgid:\t{tgid}\nNgid:\t0\nPid:\t{}\n",
        subject.id
    );
    let tracer = subject.thread.as_ref().map_or(0, |t| ptrace::tracer_pid(t));
    put!(
        out,
        "PPid:\t{}\nTracerPid:\t{tracer}\n",
        subject.process.ppid()
    );
    let cred = subject.cred();
    let (real, effective, saved) = (subject.process.uid(), cred.euid, cred.suid);
    put!(out, "Uid:\t{real}\t{effective}\t{saved}\t{}\n", cred.fsuid);
    put!(
        out,
        "Gid:\t{}\t{}\t{}\t{}\n",
        cred.gid,
        cred.egid,
        cred.sgid,
        cred.fsgid
    );
    let slots = subject
        .thread
        .as_ref()
        .and_then(|thread| thread.try_files())
        .map_or(0, |files| files.capacity());
    put!(out, "FDSize:\t{slots}\nGroups:\t");
    for group in cred.groups.iter() {
        put!(out, "{group} ");
    }
    if cred.groups.is_empty() {
        put!(out, " ");
    }
    let (group, session) = {
        let table = table::lock();
        let group = &subject.process.family(&table).group;
        (group.id, group.session.id)
    };
    put!(
        out,
        "\nNStgid:\t{tgid}\nNSpid:\t{}\nNSpgid:\t{group}\nNSsid:\t{session}\n",
        subject.id
    );
}

fn memory(subject: &Subject, out: &mut Out) {
    let Some(space) = subject.process.mm() else {
        return;
    };
    let stats = space.stats();
    let layout = space.layout();
    let code = (layout.end_code.saturating_sub(layout.start_code)).div_ceil(4096);
    for (name, pages) in [
        ("VmPeak", stats.peak),
        ("VmSize", stats.total),
        ("VmLck", stats.locked),
        ("VmPin", 0),
        ("VmHWM", stats.rss_peak),
        ("VmRSS", stats.rss()),
        ("RssAnon", stats.rss_anon),
        ("RssFile", stats.rss_file),
        ("RssShmem", stats.rss_shmem),
        ("VmData", stats.data),
        ("VmStk", stats.stack),
        ("VmExe", code),
        ("VmLib", stats.exec.saturating_sub(code)),
        ("VmPTE", stats.page_tables),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ] {
        put!(out, "{name}:\t{:>8} kB\n", pages * PAGE_KIB);
    }
    put!(out, "CoreDumping:\t0\nTHP_enabled:\t0\n");
}

fn signals(subject: &Subject, out: &mut Out) {
    let sets = stat::signal_sets(subject);
    let threads = subject.process.signals.lock().threads.len();
    let queued = subject.thread.as_ref().map_or(0, |thread| {
        thread.with_shared(|shared| shared.user.sigpending.load(Ordering::Relaxed))
    });
    put!(
        out,
        "Threads:\t{threads}\nSigQ:\t{queued}/{}\n",
        subject.process.limit(Resource::SigPending)
    );
    for (name, set) in [
        ("SigPnd", sets.own),
        ("ShdPnd", sets.shared),
        ("SigBlk", sets.blocked),
        ("SigIgn", sets.ignored),
        ("SigCgt", sets.caught),
    ] {
        put!(out, "{name}:\t{:016x}\n", set.0);
    }
}

fn privileges(subject: &Subject, out: &mut Out) {
    let cred = subject.cred();
    for (name, set) in [
        ("CapInh", cred.cap_inheritable),
        ("CapPrm", cred.cap_permitted),
        ("CapEff", cred.cap_effective),
        ("CapBnd", cred.cap_bounding),
        ("CapAmb", cred.cap_ambient),
    ] {
        put!(out, "{name}:\t{set:016x}\n");
    }
    let no_new = subject
        .thread
        .as_ref()
        .map_or(0, |thread| thread.no_new_privs.load(Ordering::Relaxed));
    let mode = subject
        .thread
        .as_ref()
        .map_or(seccomp::Mode::Off, |t| t.seccomp.lock().clone());
    put!(
        out,
        "NoNewPrivs:\t{no_new}\nSeccomp:\t{}\nSeccomp_filters:\t{}\n",
        mode.number(),
        mode.filter().map_or(0, |filter| filter.count())
    );
    put!(
        out,
        "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\talways enabled\n"
    );
}

fn scheduling(subject: &Subject, out: &mut Out) {
    let cpus = smp::cpu_count();
    let affinity = subject
        .thread
        .as_ref()
        .map_or(u64::MAX, |thread| thread.affinity.load(Ordering::Relaxed));
    let set = affinity & place::possible();
    let (mask, list) = (Mask { set, cpus }, List(set));
    put!(out, "Cpus_allowed:\t{mask}\nCpus_allowed_list:\t{list}\n");
    put!(
        out,
        "Mems_allowed:\t00000000,00000001\nMems_allowed_list:\t0\n"
    );
    let (own, _) = stat::usage(subject);
    put!(
        out,
        "voluntary_ctxt_switches:\t{}\n",
        own.voluntary_switches
    );
    put!(
        out,
        "nonvoluntary_ctxt_switches:\t{}\n",
        own.involuntary_switches
    );
}
