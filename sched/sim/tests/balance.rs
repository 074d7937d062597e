//! Several CPUs: tasks spread, and stay spread.

use sched::Policy;
use sched::smp::CpuSet;
use sched::smp::domain::Place;
use sched::smp::progress;
use sched::weight::of_nice;
use sched_sim::{Behaviour, MS, Machine, Rng, SECOND};

#[test]
fn spinners_spread_within_a_second_and_then_stay() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let places: Vec<Place> = (0..rng.within(1, 4) as u32 * 2)
            .map(|cpu| Place {
                core: cpu / 2,
                cache: cpu / 4,
                package: cpu / 4,
                node: cpu / 4,
            })
            .collect();
        let cpus = places.len();
        let mut machine = Machine::with_places(&places);
        let tasks = rng.within(1, 3 * cpus as u64) as usize;
        // All begin on CPU 0, as tasks that were pinned there.
        machine.set_balance(false);
        for _ in 0..tasks {
            machine.spawn_with(
                Policy::default(),
                Behaviour::Spin,
                CpuSet::first_n(cpus),
                |_| {},
            );
        }
        machine.set_balance(true);
        machine.run(SECOND);
        let lens: Vec<usize> = (0..cpus).map(|cpu| machine.runnable(cpu)).collect();
        let (least, most) = (lens.iter().min(), lens.iter().max());
        assert!(
            most.unwrap_or(&0) - least.unwrap_or(&0) <= 1,
            "seed {seed}: {lens:?}"
        );
        let moves =
            |machine: &Machine| -> u64 { (0..tasks).map(|id| machine.migrations(id)).sum() };
        let before = moves(&machine);
        machine.run(SECOND);
        let later = moves(&machine) - before;
        if tasks.is_multiple_of(cpus) || tasks < cpus {
            assert_eq!(later, 0, "seed {seed}: tasks go round");
        }
        // Else they take turns: two moves a CPU for each turn that it is behind by.
        let turns = SECOND / progress::TURN_NS;
        assert!(later <= 2 * turns * cpus as u64, "seed {seed}: {later}");
    }
}

/// Whatever way they are spread, they do not fit evenly: without taking turns a task would be off by a quarter. What they get
/// over time is theirs by weight all the same. A task that moves each time is off the most, by what the views of CPUs are old.
#[test]
fn shares_follow_weights_over_all_cpus() {
    let mut errors = Vec::new();
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let cpus = rng.within(2, 4) as usize;
        let mut machine = Machine::new(cpus);
        let nices: Vec<i8> = (0..rng.within(cpus as u64 + 1, 4 * cpus as u64))
            .map(|_| rng.within(0, 5) as i8)
            .collect();
        let total: u64 = nices.iter().map(|nice| of_nice(*nice)).sum();
        let due = |nice: i8| of_nice(nice) as f64 * cpus as f64 / total as f64;
        // Nobody is due more than a CPU.
        if nices.iter().any(|nice| due(*nice) > 1.0) {
            continue;
        }
        for nice in &nices {
            machine.spawn(Policy::Normal { nice: *nice }, Behaviour::Spin);
        }
        machine.run(SECOND);
        let before: Vec<u64> = (0..nices.len()).map(|id| machine.ran(id)).collect();
        machine.run(10 * SECOND);
        for (id, nice) in nices.iter().enumerate() {
            let got = (machine.ran(id) - before[id]) as f64 / (10 * SECOND) as f64;
            let off = (got / due(*nice) - 1.0).abs();
            assert!(
                off < 0.1,
                "seed {seed}, {cpus} CPUs, {nices:?}: {id} is off by {off}"
            );
            errors.push(off);
        }
    }
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(mean < 0.01, "{mean}");
}

#[test]
fn no_cpu_idles_while_a_task_waits_elsewhere() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let cpus = rng.within(2, 6) as usize;
        let mut machine = Machine::new(cpus);
        for i in 0..rng.within(2, 16) {
            machine.spawn(
                Policy::default(),
                Behaviour::Bursts {
                    run_ns: rng.within(10_000, 5 * MS),
                    wait_ns: rng.within(10_000, 5 * MS),
                    rng: Rng::new(seed * 99 + i),
                },
            );
        }
        for _ in 0..300 {
            machine.run(rng.within(1, MS));
            let lens: Vec<usize> = (0..cpus).map(|cpu| machine.runnable(cpu)).collect();
            let wasted = lens.contains(&0) && lens.iter().any(|len| *len > 1);
            assert!(!wasted, "seed {seed}: {lens:?}");
        }
    }
}

#[test]
fn affinity_holds_whatever_the_balance() {
    let mut machine = Machine::new(4);
    for i in 0..12 {
        machine.spawn_with(
            Policy::default(),
            Behaviour::Spin,
            CpuSet::one(i % 2),
            |_| {},
        );
    }
    machine.run(SECOND);
    assert_eq!((machine.runnable(0), machine.runnable(1)), (6, 6));
    assert_eq!((machine.runnable(2), machine.runnable(3)), (0, 0));
}
