//! Who ends when memory for users has run out: the process with the most resident pages.

use alloc::sync::Arc;

use super::{Pid, Process, table};
use crate::mm::oom::{Verdict, set_chooser};
use crate::mm::{AddressSpace, PAGE_SIZE};
use crate::signal::Signal;
use crate::signal::send::send_kernel;

/// Has the memory manager ask here. Context: boot.
pub fn init() {
    set_chooser(choose);
}

struct Victim {
    process: Arc<Process>,
    space: Arc<AddressSpace>,
    pages: u64,
}

/// Chooses, kills and says so.
///
/// While one that was chosen before is still on its way out, nobody else is.
///
/// # Context
/// Task, no lock held.
fn choose(asking: &AddressSpace) -> Verdict {
    let mut victim: Option<Victim> = None;
    let mut from: Pid = 2;
    loop {
        // Held for one step only: the lock of an address space ranks before it.
        let Some(process) = table::lock().next_process(from).cloned() else {
            break;
        };
        from = process.pid + 1;
        let Some(space) = process.mm() else { continue };
        let dying = process
            .leader()
            .is_some_and(|leader| leader.fatal_signal_pending());
        if dying {
            return verdict(&space, asking);
        }
        let stats = space.stats();
        let pages = stats.rss() + stats.page_tables;
        if victim.as_ref().is_none_or(|worst| pages > worst.pages) {
            victim = Some(Victim {
                process,
                space,
                pages,
            });
        }
    }
    // Process 1 ends only where there is nobody else.
    let Some(victim) = victim else {
        return Verdict::Die;
    };
    let stats = victim.space.stats();
    let kib = |pages: u64| pages * (PAGE_SIZE as u64 / 1024);
    log::error!(
        "Out of memory: Killed process {} total-vm:{}kB, anon-rss:{}kB, file-rss:{}kB, shmem-rss:{}kB",
        victim.process.pid,
        kib(stats.total),
        kib(stats.rss_anon),
        kib(stats.rss_file),
        kib(stats.rss_shmem),
    );
    send_kernel(&victim.process, Signal::SIGKILL);
    verdict(&victim.space, asking)
}

fn verdict(victim: &AddressSpace, asking: &AddressSpace) -> Verdict {
    if core::ptr::eq(victim, asking) {
        Verdict::Die
    } else {
        Verdict::Retry
    }
}
