//! Who ends when memory for users has run out: the process with the highest badness.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering::*};

use super::thread::COMM_LEN;
use super::{Process, current, table};
use crate::mm::oom::{self, Verdict, set_chooser};
use crate::mm::space::SpaceStats;
use crate::mm::{AddressSpace, PAGE_SIZE, page_alloc, sysctl};
use crate::signal::Signal;
use crate::signal::send::send_kernel;

/// Has the memory manager ask here. Context: boot.
pub fn init() {
    set_chooser(choose);
}

/// A process with memory of its own.
struct Candidate {
    process: Arc<Process>,
    space: Arc<AddressSpace>,
}

impl Candidate {
    fn of(process: Arc<Process>) -> Option<Candidate> {
        let space = process.mm()?;
        Some(Candidate { process, space })
    }

    /// Whether it is on its way out, so that its memory comes back.
    fn is_dying(&self) -> bool {
        let leader = self.process.leader();
        leader.is_some_and(|leader| leader.fatal_signal_pending())
    }

    fn adjustment(&self) -> i16 {
        self.process.oom_score_adj.load(Relaxed)
    }

    fn verdict(&self, asking: &AddressSpace) -> Verdict {
        if core::ptr::eq(&*self.space, asking) {
            Verdict::Die
        } else {
            Verdict::Retry
        }
    }
}

/// All that can be chosen. Process 1 ends only where there is nobody else.
fn candidates() -> impl Iterator<Item = Candidate> {
    // Held for one step only: the lock of an address space ranks before the list's.
    table::each_process()
        .filter(|process| process.pid != 1)
        .filter_map(Candidate::of)
}

/// Whether a CPU is choosing.
static CHOOSING: AtomicBool = AtomicBool::new(false);

/// Chooses, kills and says so.
///
/// While one that was chosen before is still on its way out, or another thread is choosing, nobody else is chosen.
///
/// # Context
/// Task, no lock held.
fn choose(asking: &AddressSpace) -> Verdict {
    if CHOOSING.swap(true, Acquire) {
        return Verdict::Retry;
    }
    let verdict = choose_alone(asking);
    CHOOSING.store(false, Release);
    verdict
}

fn choose_alone(asking: &AddressSpace) -> Verdict {
    let total = page_alloc::total() as u64;
    let asker_first = sysctl::OOM_KILL_ALLOCATING_TASK.get() != 0;
    let mut victim: Option<(i64, Candidate)> = None;
    for candidate in candidates() {
        if candidate.is_dying() {
            return candidate.verdict(asking);
        }
        let Some(mut badness) =
            oom::badness(&candidate.space.stats(), candidate.adjustment(), total)
        else {
            continue;
        };
        if asker_first && core::ptr::eq(&*candidate.space, asking) {
            badness = i64::MAX;
        }
        if victim.as_ref().is_none_or(|(worst, _)| badness > *worst) {
            victim = Some((badness, candidate));
        }
    }
    let Some((_, victim)) = victim else {
        return Verdict::Die;
    };
    report(&victim);
    oom::count_kill();
    // Memory comes back only when all who share it have ended.
    for candidate in candidates() {
        if Arc::ptr_eq(&candidate.space, &victim.space) {
            send_kernel(&candidate.process, Signal::SIGKILL);
        }
    }
    victim.verdict(asking)
}

/// What a line of the report tells of a process.
struct Told {
    uid: u32,
    name: Name,
    stats: SpaceStats,
}

/// The name of a thread, as text.
struct Name([u8; COMM_LEN]);

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        write!(f, "{}", text.escape_ascii())
    }
}

impl Told {
    fn of(candidate: &Candidate) -> Told {
        let leader = candidate.process.leader();
        Told {
            uid: leader.as_ref().map_or(0, |leader| leader.cred().uid),
            name: Name(leader.map_or([0; COMM_LEN], |leader| leader.comm())),
            stats: candidate.space.stats(),
        }
    }

    fn table_bytes(&self) -> u64 {
        self.stats.page_tables * PAGE_SIZE as u64
    }
}

/// Says who asked for memory, what there is and who ends, in Linux's words.
fn report(victim: &Candidate) {
    let asker = current::try_current();
    if let Some(asker) = &asker {
        log::warn!(
            "{} invoked oom-killer: order=0, oom_score_adj={}",
            Name(asker.comm()),
            asker.process().oom_score_adj.load(Relaxed)
        );
    }
    if sysctl::OOM_DUMP_TASKS.get() != 0 {
        log::info!("Tasks state (memory values in pages):");
        log::info!(
            "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
        );
        for candidate in candidates() {
            let told = Told::of(&candidate);
            log::info!(
                "[{:7}] {:5} {:5} {:8} {:8} {:8} {:8} {:13} {}",
                candidate.process.pid,
                told.uid,
                candidate.process.pid,
                told.stats.total,
                told.stats.rss(),
                told.table_bytes(),
                0,
                candidate.adjustment(),
                told.name
            );
        }
    }
    let told = Told::of(victim);
    let kib = |pages: u64| pages * (PAGE_SIZE as u64 / 1024);
    log::error!(
        "Out of memory: Killed process {} ({}) total-vm:{}kB, anon-rss:{}kB, file-rss:{}kB, shmem-rss:{}kB, UID:{} \
         pgtables:{}kB oom_score_adj:{}",
        victim.process.pid,
        told.name,
        kib(told.stats.total),
        kib(told.stats.rss_anon),
        kib(told.stats.rss_file),
        kib(told.stats.rss_shmem),
        told.uid,
        told.table_bytes() / 1024,
        victim.adjustment()
    );
}
