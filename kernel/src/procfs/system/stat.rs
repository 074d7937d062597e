//! `/proc/stat`.

use fs::Result;

use super::TICK_NS;
use crate::arch::{irq, smp};
use crate::process::table;
use crate::pseudofs::{Out, put};
use crate::task::load::{self, CpuTimes};

/// Vectors that the CPU may be interrupted by from outside.
const FIRST_VECTOR: u8 = 0x30;

pub(super) fn show(out: &mut Out) -> Result<()> {
    let cpus = smp::cpu_count();
    let total = (0..cpus)
        .map(load::times)
        .fold(CpuTimes::default(), |sum, times| CpuTimes {
            user: sum.user + times.user,
            nice: sum.nice + times.nice,
            system: sum.system + times.system,
            idle: sum.idle + times.idle,
        });
    line(out, format_args!("cpu "), &total);
    for cpu in 0..cpus {
        line(out, format_args!("cpu{cpu}"), &load::times(cpu));
    }
    let taken = |vector: u8| (0..cpus).map(|cpu| irq::count(cpu, vector)).sum::<u64>();
    put!(
        out,
        "intr {}",
        (FIRST_VECTOR..=u8::MAX).map(taken).sum::<u64>()
    );
    for vector in FIRST_VECTOR..=u8::MAX {
        put!(out, " {}", taken(vector));
    }
    let boot =
        fs::time::now().sec - (executor::time::Instant::now().as_ns() / 1_000_000_000) as i64;
    put!(out, "\nctxt {}\nbtime {boot}\n", load::switches());
    let running = super::super::running_threads();
    put!(
        out,
        "processes {}\nprocs_running {running}\nprocs_blocked 0\n",
        table::lock().fork_count()
    );
    put!(out, "softirq 0 0 0 0 0 0 0 0 0 0 0\n");
    Ok(())
}

fn line(out: &mut Out, name: core::fmt::Arguments<'_>, times: &CpuTimes) {
    let [user, nice, system, idle] =
        [times.user, times.nice, times.system, times.idle].map(|ns| ns / TICK_NS);
    put!(out, "{name} {user} {nice} {system} {idle} 0 0 0 0 0 0\n");
}
