//! `cargo run -- gantt`: a picture of the scheduler at work.
//!
//! A mix of all classes runs on a machine in virtual time ([`sched_sim`]): deadline and real-time tasks with periods, spinners
//! by nice, tasks that sleep and wake, and a group with a quota.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use sched::dl::{Flags, Params};
use sched::smp::CpuSet;
use sched::{Group, GroupId, Policy};
use sched_sim::{Behaviour, MS, Machine, Rng, gantt};

/// Draws `ms` of virtual time on `cpus` CPUs into the file `out`.
///
/// # Errors
/// Where there is no CPU, no time, or the file cannot be written.
pub fn draw(cpus: usize, ms: u64, seed: u64, out: &Path) -> Result<()> {
    ensure!((1..=64).contains(&cpus), "1 to 64 CPUs can be drawn");
    ensure!((1..=10_000).contains(&ms), "1 to 10000 ms can be drawn");
    let (mut machine, names) = mix(cpus, seed)?;
    machine.trace();
    machine.run(ms * MS);
    let svg = gantt::svg(machine.spans(), &names, cpus, 0, ms * MS);
    std::fs::write(out, svg).with_context(|| format!("writing {}", out.display()))?;
    println!(
        "{}: {} turns of {} tasks on {cpus} CPUs",
        out.display(),
        machine.spans().len(),
        names.len()
    );
    Ok(())
}

/// The machine and the names of its tasks.
fn mix(cpus: usize, seed: u64) -> Result<(Machine, Vec<String>)> {
    let mut rng = Rng::new(seed);
    let mut machine = Machine::new(cpus);
    let mut names = Vec::new();
    let quota = Arc::new(Group::new(GroupId::new(1), GroupId::ROOT));
    quota.pool().set(10 * MS, 40 * MS, 0, 0);
    for cpu in 0..cpus {
        machine.queue(cpu).fair_mut().add_group(quota.clone());
    }
    let all = CpuSet::first_n(cpus);
    let period = rng.within(8, 12) * MS;
    let params = Params::new(2 * MS, period, period, Flags::default());
    let params = params.ok().context("these parameters are valid")?;
    let mut add = |name: &str, policy, behaviour, group| {
        names.push(name.to_string());
        machine.spawn_with(policy, behaviour, all, |node| node.set_group(group));
    };
    let root = GroupId::ROOT;
    let periodic = |run_ns, period_ns| Behaviour::Periodic { run_ns, period_ns };
    add(
        "deadline",
        Policy::Deadline(params),
        periodic(2 * MS, period),
        root,
    );
    add(
        "fifo 50",
        Policy::Fifo { priority: 50 },
        periodic(MS, 15 * MS),
        root,
    );
    add(
        "nice -5",
        Policy::Normal { nice: -5 },
        Behaviour::Spin,
        root,
    );
    add("nice 0", Policy::default(), Behaviour::Spin, root);
    add("nice 5", Policy::Normal { nice: 5 }, Behaviour::Spin, root);
    for name in ["editor", "browser"] {
        let (run_ns, wait_ns) = (rng.within(MS / 2, 3 * MS), rng.within(5, 20) * MS);
        let rng = Rng::new(rng.below(u64::MAX));
        let bursts = Behaviour::Bursts {
            run_ns,
            wait_ns,
            rng,
        };
        add(name, Policy::default(), bursts, root);
    }
    add("quota 25%", Policy::default(), Behaviour::Spin, quota.id());
    add("idle", Policy::Idle { nice: 0 }, Behaviour::Spin, root);
    Ok((machine, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_picture() {
        let dir = std::env::temp_dir();
        let picture = |name: &str, seed| {
            let path = dir.join(format!("wake-gantt-{}-{name}.svg", std::process::id()));
            draw(2, 50, seed, &path).expect("it can be drawn");
            let text = std::fs::read_to_string(&path).expect("it was written");
            std::fs::remove_file(&path).expect("it can go");
            text
        };
        let (a, b, c) = (picture("a", 1), picture("b", 1), picture("c", 2));
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert!(a.starts_with("<svg") && a.contains("deadline on CPU"));
    }

    #[test]
    fn no_cpus_and_no_time_are_refused() {
        assert!(draw(0, 50, 1, Path::new("x.svg")).is_err());
        assert!(draw(1, 0, 1, Path::new("x.svg")).is_err());
    }
}
