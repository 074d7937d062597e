//! Task groups: shares, quotas, and groups within groups.

use std::sync::Arc;

use sched::fair::SLICE_NS;
use sched::smp::CpuSet;
use sched::{Group, GroupId, Policy};
use sched_sim::{Behaviour, MS, Machine, Rng, SECOND, TaskId};

fn group(machine: &mut Machine, cpus: usize, number: u32, parent: GroupId) -> Arc<Group> {
    let group = Arc::new(Group::new(GroupId::new(number), parent));
    for cpu in 0..cpus {
        machine.queue(cpu).fair_mut().add_group(group.clone());
    }
    group
}

fn spin(machine: &mut Machine, group: &Group, cpus: CpuSet) -> TaskId {
    let id = group.id();
    machine.spawn_with(Policy::default(), Behaviour::Spin, cpus, |node| {
        node.set_group(id)
    })
}

#[test]
fn groups_compete_and_not_their_tasks() {
    let mut machine = Machine::new(1);
    let all = CpuSet::first_n(1);
    let a = group(&mut machine, 1, 1, GroupId::ROOT);
    let b = group(&mut machine, 1, 2, GroupId::ROOT);
    let of_a: Vec<TaskId> = (0..10).map(|_| spin(&mut machine, &a, all)).collect();
    let of_b: Vec<TaskId> = (0..5).map(|_| spin(&mut machine, &b, all)).collect();
    machine.run(10 * SECOND);
    for (tasks, ideal) in [(of_a, SECOND / 2), (of_b, SECOND)] {
        for id in tasks {
            assert!(
                machine.ran(id).abs_diff(ideal) <= ideal / 100 + 2 * SLICE_NS,
                "{}",
                machine.ran(id)
            );
        }
    }
}

/// A group's entity keeps the same lag bound as a task, a slice for each level; over 20 s that is far below 1 %.
#[test]
fn shares_of_random_hierarchies_are_exact_to_one_percent() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut machine = Machine::new(1);
        let all = CpuSet::first_n(1);
        // The root, then groups, each in one before it. A task in each, so that all compete.
        let mut weights = vec![0.0];
        let mut parents = vec![0];
        let mut groups = Vec::new();
        for number in 1..=rng.within(2, 6) as u32 {
            let parent = rng.below(u64::from(number)) as u32;
            let g = group(&mut machine, 1, number, GroupId::new(parent));
            g.set_shares(rng.within(256, 4096));
            weights.push(g.shares() as f64);
            parents.push(parent as usize);
            groups.push(g);
        }
        let mut tasks = vec![machine.spawn(Policy::default(), Behaviour::Spin)];
        tasks.extend(groups.iter().map(|g| spin(&mut machine, g, all)));
        machine.run(20 * SECOND);
        // What each level's entities weigh together: one task of 1024, and the groups in it.
        let level = |at: usize| -> f64 {
            1024.0
                + (1..weights.len())
                    .filter(|g| parents[*g] == at)
                    .map(|g| weights[g])
                    .sum::<f64>()
        };
        for (at, &id) in tasks.iter().enumerate() {
            let mut share = 1024.0 / level(at);
            let mut up = at;
            while up != 0 {
                share *= weights[up] / level(parents[up]);
                up = parents[up];
            }
            let ideal = (20.0 * SECOND as f64 * share) as u64;
            let bound = ideal / 100 + 6 * SLICE_NS;
            let got = machine.ran(id);
            assert!(
                got.abs_diff(ideal) <= bound,
                "seed {seed}: {got} for {ideal}"
            );
        }
    }
}

#[test]
fn a_quota_is_exact_in_every_period() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut machine = Machine::new(1);
        let all = CpuSet::first_n(1);
        let g = group(&mut machine, 1, 1, GroupId::ROOT);
        let period = rng.within(10, 100) * MS;
        let quota = period * rng.within(10, 40) / 100;
        g.pool().set(quota, period, 0, 0);
        let tasks: Vec<TaskId> = (0..rng.within(1, 3))
            .map(|_| spin(&mut machine, &g, all))
            .collect();
        let fair = machine.spawn(Policy::default(), Behaviour::Spin);
        for periods in 1..=30 {
            machine.run(period);
            let used: u64 = tasks.iter().map(|id| machine.ran(*id)).sum();
            // One nanosecond: a CPU finds out that it has no budget by running.
            assert!(
                used.abs_diff(periods * quota) <= 1,
                "seed {seed}: {used} after {periods} of {quota}"
            );
            assert_eq!(used + machine.ran(fair), machine.now());
        }
        assert_eq!(g.pool().stat().throttled, 30);
    }
}

#[test]
fn a_quota_is_for_all_cpus_together() {
    let mut machine = Machine::new(4);
    let g = group(&mut machine, 4, 1, GroupId::ROOT);
    g.pool().set(60 * MS, 100 * MS, 0, 0);
    let tasks: Vec<TaskId> = (0..4)
        .map(|cpu| spin(&mut machine, &g, CpuSet::one(cpu)))
        .collect();
    for periods in 1..=20 {
        machine.run(100 * MS);
        let used: u64 = tasks.iter().map(|id| machine.ran(*id)).sum();
        // Each CPU may hold a slice of 5 ms that it has not used.
        assert!(used <= periods * 60 * MS + 4, "{used}");
        assert!(used + 4 * 5 * MS >= periods * 60 * MS, "{used}");
    }
}

#[test]
fn an_inner_quota_holds_under_an_outer_one() {
    let mut machine = Machine::new(1);
    let all = CpuSet::first_n(1);
    let outer = group(&mut machine, 1, 1, GroupId::ROOT);
    let inner = group(&mut machine, 1, 2, outer.id());
    outer.pool().set(50 * MS, 100 * MS, 0, 0);
    inner.pool().set(10 * MS, 100 * MS, 0, 0);
    let a = spin(&mut machine, &outer, all);
    let b = spin(&mut machine, &inner, all);
    machine.run(10 * SECOND);
    assert!(machine.ran(b).abs_diff(SECOND) <= 2, "{}", machine.ran(b));
    assert!((machine.ran(a) + machine.ran(b)).abs_diff(5 * SECOND) <= 2);
}

/// A group with a task on each of two CPUs has half of its shares on each.
#[test]
fn shares_are_divided_among_cpus_by_load() {
    let mut machine = Machine::new(2);
    machine.set_balance(false);
    let a = group(&mut machine, 2, 1, GroupId::ROOT);
    let b = group(&mut machine, 2, 2, GroupId::ROOT);
    let on_0 = spin(&mut machine, &a, CpuSet::one(0));
    let on_1 = spin(&mut machine, &a, CpuSet::one(1));
    let other = spin(&mut machine, &b, CpuSet::one(0));
    machine.run(20 * SECOND);
    let third = 20 * SECOND / 3;
    assert!(
        machine.ran(on_0).abs_diff(third) <= third / 100,
        "{}",
        machine.ran(on_0)
    );
    assert!(machine.ran(other).abs_diff(2 * third) <= third / 50);
    assert_eq!(machine.ran(on_1), 20 * SECOND);
}

#[test]
fn groups_of_sleepers_lose_no_time() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut machine = Machine::new(1);
        let all = CpuSet::first_n(1);
        let mut groups: Vec<Arc<Group>> = Vec::new();
        for number in 1..=rng.within(1, 5) as u32 {
            let parent = GroupId::new(rng.below(u64::from(number)) as u32);
            groups.push(group(&mut machine, 1, number, parent));
        }
        for i in 0..8 {
            let id = rng.one_of(&groups).id();
            let bursts = Behaviour::Bursts {
                run_ns: rng.within(1000, 8 * MS),
                wait_ns: rng.within(1000, 8 * MS),
                rng: Rng::new(seed * 50 + i),
            };
            machine.spawn_with(Policy::default(), bursts, all, |n| n.set_group(id));
        }
        let last = groups.last().expect("one at least").clone();
        last.pool().set(5 * MS, 20 * MS, 0, 0);
        spin(&mut machine, &groups[0], all);
        machine.run(SECOND);
        let sum: u64 = (0..machine.len()).map(|id| machine.ran(id)).sum();
        if groups.len() > 1 {
            assert_eq!(sum, SECOND, "seed {seed}");
        } else {
            assert!(sum <= SECOND * 5 / 20 + 1, "seed {seed}: {sum}");
        }
    }
}
