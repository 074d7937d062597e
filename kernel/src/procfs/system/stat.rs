//! `/proc/stat`.

use executor::softirq;
use fs::Result;

use super::TICK_NS;
use crate::arch::{irq, smp, vectors};
use crate::irq as lines;
use crate::process::table;
use crate::pseudofs::{Out, put};
use crate::task::load::{self, CpuTimes};

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
    for cpu in smp::each(smp::online()) {
        line(out, format_args!("cpu{cpu}"), &load::times(cpu));
    }
    let own = vectors::NAMED.into_iter();
    let taken = |vector: u8| (0..cpus).map(|cpu| irq::count(cpu, vector)).sum::<u64>();
    let devices: u64 = lines::existing().map(|line| line.total()).sum();
    put!(out, "intr {}", devices + own.map(taken).sum::<u64>());
    for number in 0..lines::IRQS {
        put!(
            out,
            " {}",
            lines::get(number).map_or(0, |line| line.total())
        );
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
    let softirqs = (0..cpus).map(softirq::counts).fold([0; 10], |sum, of_cpu| {
        core::array::from_fn(|vector| sum[vector] + of_cpu[vector])
    });
    put!(out, "softirq {}", softirqs.iter().sum::<u64>());
    for count in softirqs {
        put!(out, " {count}");
    }
    put!(out, "\n");
    Ok(())
}

fn line(out: &mut Out, name: core::fmt::Arguments<'_>, times: &CpuTimes) {
    let [user, nice, system, idle] =
        [times.user, times.nice, times.system, times.idle].map(|ns| ns / TICK_NS);
    put!(out, "{name} {user} {nice} {system} {idle} 0 0 0 0 0 0\n");
}
