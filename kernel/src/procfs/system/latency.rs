//! `/proc/wake/latency`: how long the kernel keeps others waiting, and what its polls' stacks come to.
//!
//! Writing anything to it begins anew. A user thread's poll goes on while it is in user mode, so its figure is not the kernel's alone. Sections
//! with interrupts or preemption off are not measured yet.

use executor::CpuShared;
use fs::{Credentials, Result};

use crate::panic::Place;
use crate::pseudofs::{Out, Text, put};
use crate::task::{stacks, suspend};

/// The file.
pub(super) struct Latency;

impl Text for Latency {
    fn show(&self, out: &mut Out) -> Result<()> {
        put!(out, "preempt {}\n", suspend::mode().name());
        let (ready, made) = stacks::counts();
        put!(
            out,
            "stacks {made} ready {ready} limit {}\n",
            stacks::limit()
        );
        for (cpu, polls) in suspend::latencies() {
            put!(
                out,
                "cpu{cpu} suspended {} refused {}\n",
                polls.suspensions,
                polls.refusals
            );
            put!(
                out,
                "cpu{cpu} poll {} ns {}\n",
                polls.longest_ns,
                Place(polls.longest_poll)
            );
        }
        Ok(())
    }

    fn store(&self, _: &[u8], _: &Credentials) -> Result<()> {
        for (cpu, _) in suspend::latencies() {
            if let Some(shared) = CpuShared::of(cpu) {
                shared.reset_latency();
            }
        }
        Ok(())
    }
}
