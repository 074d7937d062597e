//! Deadline tasks: no misses on one CPU, bounded tardiness on several, and no more than one's share for anybody.

use sched::dl::{Admission, Flags, Params};
use sched::{Policy, rt};
use sched_sim::{Behaviour, MS, Machine, Rng, SECOND, TaskId};

struct Set {
    machine: Machine,
    /// Run time, period.
    tasks: Vec<(TaskId, u64, u64)>,
}

/// As many random tasks as are admitted on `cpus` CPUs, among fair spinners.
fn admitted(seed: u64, cpus: usize, tries: u64) -> Set {
    let mut rng = Rng::new(seed);
    let mut machine = Machine::new(cpus);
    let mut admission = Admission::new(cpus as u64);
    let mut tasks = Vec::new();
    for _ in 0..=cpus {
        machine.spawn(Policy::default(), Behaviour::Spin);
    }
    for _ in 0..tries {
        let period = rng.within(1, 50) * MS + rng.below(MS);
        let run = rng.within(2000, period / 2);
        let params = Params::new(run, period, period, Flags::default()).expect("valid");
        if admission.replace(None, Some(&params)).is_err() {
            continue;
        }
        let behaviour = Behaviour::Periodic {
            run_ns: run,
            period_ns: period,
        };
        tasks.push((
            machine.spawn(Policy::Deadline(params), behaviour),
            run,
            period,
        ));
    }
    Set { machine, tasks }
}

/// Liu and Layland, 1973, theorem 7: EDF meets all deadlines at a utilisation of up to 1; 95 % are admitted.
#[test]
fn what_is_admitted_on_one_cpu_never_misses() {
    for seed in 0..400 {
        let Set { mut machine, tasks } = admitted(seed, 1, 10);
        machine.run(SECOND);
        assert!(!machine.jobs().is_empty());
        for job in machine.jobs() {
            let (_, run, period) = tasks
                .iter()
                .find(|t| t.0 == job.task)
                .expect("a deadline task");
            let took = job.done - job.released;
            assert!(
                took <= *period,
                "seed {seed}: {run} in {period} took {took}"
            );
        }
    }
}

/// Devi and Anderson, "Tardiness bounds under global EDF scheduling", 2005, theorem 2: job k is late by at most
/// (E - e_min) / (m - U) + e_k, with E the sum of the m - 1 greatest run times and U that of the m - 2 greatest shares.
#[test]
fn tardiness_on_several_cpus_is_bounded() {
    for seed in 0..60 {
        let cpus = 2 + (seed % 3) as usize;
        let Set { mut machine, tasks } = admitted(seed, cpus, 24);
        machine.run(SECOND);
        let mut runs: Vec<u64> = tasks.iter().map(|t| t.1).collect();
        runs.sort_unstable_by(|a, b| b.cmp(a));
        let mut shares: Vec<f64> = tasks.iter().map(|t| t.1 as f64 / t.2 as f64).collect();
        shares.sort_by(|a, b| b.total_cmp(a));
        let longest: u64 = runs.iter().take(cpus - 1).sum();
        let share: f64 = shares.iter().take(cpus - 2).sum();
        let least = *runs.last().expect("some task is admitted");
        let common = (longest - least) as f64 / (cpus as f64 - share);
        for job in machine.jobs() {
            let (_, run, period) = tasks
                .iter()
                .find(|t| t.0 == job.task)
                .expect("a deadline task");
            let late = (job.done - job.released).saturating_sub(*period);
            let bound = common as u64 + run + 1000;
            assert!(
                late <= bound,
                "seed {seed}, {cpus} CPUs: late by {late} of {bound}"
            );
        }
    }
}

#[test]
fn a_greedy_task_gets_its_share_and_harms_nobody() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut machine = Machine::new(1);
        let deadline = |run: u64, period: u64| {
            Policy::Deadline(Params::new(run, period, period, Flags::default()).expect("valid"))
        };
        let greedy_period = rng.within(5, 40) * MS;
        let greedy_run = greedy_period * rng.within(10, 50) / 100;
        let greedy = machine.spawn(deadline(greedy_run, greedy_period), Behaviour::Spin);
        let period = rng.within(5, 40) * MS;
        let run = period * 2 / 5;
        machine.spawn(
            deadline(run, period),
            Behaviour::Periodic {
                run_ns: run,
                period_ns: period,
            },
        );
        machine.spawn(Policy::default(), Behaviour::Spin);
        let periods = 50;
        machine.run(periods * greedy_period);
        assert_eq!(machine.ran(greedy), periods * greedy_run, "seed {seed}");
        assert!(
            machine
                .jobs()
                .iter()
                .all(|job| job.done - job.released <= period),
            "seed {seed}"
        );
    }
}

#[test]
fn a_reclaiming_task_gets_what_the_others_leave_and_no_more_than_the_limit() {
    let mut machine = Machine::new(1);
    let flags = Flags {
        reclaim: true,
        overrun: false,
    };
    let params = Params::new(2 * MS, 10 * MS, 0, flags).expect("valid");
    machine
        .queue(0)
        .deadline_mut()
        .set_reclaim_limits(sched::dl::BW_UNIT * 95 / 100, sched::dl::BW_UNIT * 75 / 100);
    let id = machine.spawn(Policy::Deadline(params), Behaviour::Spin);
    let fair = machine.spawn(Policy::default(), Behaviour::Spin);
    machine.run(10 * SECOND);
    // Alone it may have 95 %: nobody else is admitted, so its time is charged at its share of that.
    let got = machine.ran(id) as f64 / machine.now() as f64;
    assert!((0.93..=0.951).contains(&got), "{got}");
    assert!(machine.ran(fair) > 0);
}

#[test]
fn deadline_comes_before_real_time_and_is_not_throttled_with_it() {
    let mut machine = Machine::new(1);
    let params = Params::new(3 * MS, 10 * MS, 0, Flags::default()).expect("valid");
    let deadline = machine.spawn(Policy::Deadline(params), Behaviour::Spin);
    let fifo = machine.spawn(Policy::Fifo { priority: 99 }, Behaviour::Spin);
    let fair = machine.spawn(Policy::default(), Behaviour::Spin);
    machine.run(SECOND);
    assert_eq!(machine.ran(deadline), 300 * MS);
    assert_eq!(machine.ran(fifo), 700 * MS);
    assert!(machine.ran(fifo) <= rt::bandwidth::RUNTIME_NS);
    assert_eq!(machine.ran(fair), 0);
}

#[test]
fn an_overrun_is_told_to_those_who_asked() {
    let mut queue = sched::RunQueue::<u32>::new();
    for (id, overrun) in [(0, false), (1, true)] {
        let flags = Flags {
            reclaim: false,
            overrun,
        };
        let params = Params::new(MS, 10 * MS, 0, flags).expect("valid");
        queue.enqueue(
            sched::Node::new(Policy::Deadline(params)),
            id,
            sched::Wake::New,
            0,
        );
        assert_eq!(queue.pick(0), Some(id));
        assert!(queue.tick(MS));
        let mut node = queue.end_turn(sched::Outcome::Sleeps, MS);
        assert_eq!(node.deadline_mut().take_overrun(), overrun);
        assert!(!node.deadline_mut().take_overrun());
    }
}
