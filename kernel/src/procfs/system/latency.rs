//! `/proc/wake/latency`: how long the kernel keeps others waiting, and what its polls' stacks come to.
//!
//! `on` written to it has each CPU measure its longest poll and its longest sections with interrupts and with preemption off,
//! from nothing; `off` ends that. `latency=on` on the command line does so from the first task on. While nothing is measured
//! it costs nothing ([`crate::arch::sites`]); while it is, each guard makes a call more, which its section is charged.

use executor::Stretch;
use fs::{Credentials, Errno, Result};

use crate::arch::sites;
use crate::panic::Place;
use crate::pseudofs::{Out, Text, put};
use crate::task::{stacks, suspend};

/// The file.
pub(super) struct Latency;

/// A section's line: how long it was, and the instructions that began and ended it.
fn section(out: &mut Out, cpu: u32, what: &str, longest: Stretch) {
    put!(out, "cpu{cpu} {what} {} ns", longest.ns);
    if longest.ns != 0 {
        // The instructions are in front of these addresses, and may be a function's last.
        let (from, to) = (Place(longest.from - 1), Place(longest.to - 1));
        put!(out, " from {from} to {to}");
    }
    put!(out, "\n");
}

impl Text for Latency {
    fn show(&self, out: &mut Out) -> Result<()> {
        let measured = sites::are_telling();
        put!(out, "preempt {}\n", suspend::mode().name());
        put!(out, "measured {}\n", if measured { "on" } else { "off" });
        let (ready, made) = stacks::counts();
        put!(
            out,
            "stacks {made} ready {ready} limit {}\n",
            stacks::limit()
        );
        for (cpu, latency) in suspend::latencies() {
            let (suspended, refused) = (latency.suspensions, latency.refusals);
            put!(out, "cpu{cpu} suspended {suspended} refused {refused}\n");
            if measured {
                let (ns, poll) = (latency.longest_ns, Place(latency.longest_poll));
                put!(out, "cpu{cpu} poll {ns} ns {poll}\n");
                section(out, cpu, "irqs-off", latency.irqs_off);
                section(out, cpu, "preempt-off", latency.preempt_off);
            }
        }
        Ok(())
    }

    /// # Errors
    /// `EINVAL` for anything but `on` and `off`.
    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        match text.trim_ascii() {
            b"on" => sites::set_telling(true),
            b"off" => sites::set_telling(false),
            _ => Err(Errno::EINVAL),
        }
    }
}
