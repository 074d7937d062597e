//! The fair class against the ideal fluid server.
//!
//! The fluid server gives task i at each moment w_i / W of the CPU. What a task has had less than that is its *lag*. With
//! requests of at most r, EEVDF keeps it within -r and r (Stoica and Abdel-Wahab, 1995, theorem 1; a request is a slice here,
//! and what runs is not interrupted within one, so the quantum is r too). Rounding adds less than 1 ns per turn.

use proptest::prelude::*;
use sched::fair::SLICE_NS;
use sched::{Policy, Wake};
use sched_sim::{Behaviour, MS, Machine, Rng, SECOND};

fn weight(nice: i8) -> u64 {
    Policy::Normal { nice }.weight()
}

#[test]
fn lag_against_the_fluid_server_stays_within_a_slice() {
    for seed in 0..1000 {
        let mut rng = Rng::new(seed);
        let nices: Vec<i8> = (0..rng.within(2, 12))
            .map(|_| rng.below(40) as i8 - 20)
            .collect();
        let total: u64 = nices.iter().map(|n| weight(*n)).sum();
        let mut machine = Machine::new(1);
        for &nice in &nices {
            machine.spawn(Policy::Normal { nice }, Behaviour::Spin);
        }
        for _ in 0..60 {
            machine.run(rng.within(1, 4 * MS));
            for (id, &nice) in nices.iter().enumerate() {
                let ideal =
                    u128::from(machine.now()) * u128::from(weight(nice)) / u128::from(total);
                let lag = ideal as i64 - machine.ran(id) as i64;
                let bound = SLICE_NS as i64 + 10_000;
                assert!(
                    lag.abs() <= bound,
                    "seed {seed}, task {id} of {nices:?}: lag {lag} ns"
                );
            }
        }
    }
}

#[test]
fn shares_are_those_of_the_weights_within_one_percent_over_ten_seconds() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let nices: Vec<i8> = (0..rng.within(2, 8))
            .map(|_| rng.below(21) as i8 - 10)
            .collect();
        let total: u64 = nices.iter().map(|n| weight(*n)).sum();
        let mut machine = Machine::new(1);
        for &nice in &nices {
            machine.spawn(Policy::Normal { nice }, Behaviour::Spin);
        }
        machine.run(10 * SECOND);
        for (id, &nice) in nices.iter().enumerate() {
            let ideal = 10 * SECOND * weight(nice) / total;
            // One percent; of a share so small that a slice is more than that, a slice.
            let bound = (ideal / 100).max(SLICE_NS + 10_000);
            assert!(
                machine.ran(id).abs_diff(ideal) <= bound,
                "seed {seed}, task {id} of {nices:?}"
            );
        }
    }
}

/// A task that could run is served before its lag reaches r. It comes with a lag of -4 r at the least (what is kept over
/// sleep is clamped at 2 r, and an arrival scales that up at most twice), and gains w / W of the time, so that it waits for
/// at most 5 r W / w; one slice more for the one that is being served.
#[test]
fn nobody_starves_whoever_sleeps_and_wakes() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut machine = Machine::new(1);
        let count = rng.within(2, 10);
        let mut nices = Vec::new();
        for i in 0..count {
            let nice = rng.below(16) as i8 - 8;
            nices.push(nice);
            let behaviour = match rng.below(3) {
                0 => Behaviour::Spin,
                1 => Behaviour::Yield {
                    every_ns: rng.within(10_000, 5 * MS),
                },
                _ => Behaviour::Bursts {
                    run_ns: rng.within(10_000, 10 * MS),
                    wait_ns: rng.within(10_000, 10 * MS),
                    rng: Rng::new(seed * 1000 + i),
                },
            };
            machine.spawn(Policy::Normal { nice }, behaviour);
        }
        machine.run(SECOND);
        let total: u64 = nices.iter().map(|n| weight(*n)).sum();
        for (id, nice) in nices.iter().enumerate() {
            let bound = 5 * SLICE_NS * total / weight(*nice) + SLICE_NS;
            let waited = machine.longest_wait(id);
            assert!(
                waited <= bound,
                "seed {seed}, task {id} of {nices:?}: {waited} of {bound}"
            );
        }
    }
}

#[test]
fn a_sleeper_never_gets_more_than_its_share_of_the_time() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut machine = Machine::new(1);
        let spinners = rng.within(1, 4);
        for _ in 0..spinners {
            machine.spawn(Policy::default(), Behaviour::Spin);
        }
        let sleeper = machine.spawn(
            Policy::default(),
            Behaviour::Bursts {
                run_ns: rng.within(MS, 6 * MS),
                wait_ns: rng.within(1000, MS),
                rng: rng.clone(),
            },
        );
        machine.run(4 * SECOND);
        let share = 4 * SECOND / (spinners + 1);
        assert!(
            machine.ran(sleeper) <= share + 2 * SLICE_NS,
            "seed {seed}: {}",
            machine.ran(sleeper)
        );
    }
}

#[test]
fn a_short_slice_is_served_sooner_and_gets_no_more() {
    let latency = |slice_ns| {
        let mut machine = Machine::new(1);
        for _ in 0..4 {
            machine.spawn(Policy::default(), Behaviour::Spin);
        }
        let bursts = Behaviour::Bursts {
            run_ns: MS / 5,
            wait_ns: 10 * MS,
            rng: Rng::new(7),
        };
        let all = sched::smp::CpuSet::first_n(1);
        let id = machine.spawn_with(Policy::default(), bursts, all, |node| {
            node.set_slice_ns(slice_ns)
        });
        machine.run(4 * SECOND);
        (machine.longest_wait(id), machine.ran(id))
    };
    let (short, short_ran) = latency(MS / 5);
    let (long, long_ran) = latency(20 * MS);
    // It waits for what runs to end its slice, and no more than its own.
    assert!(short <= SLICE_NS + MS / 2, "{short}");
    assert!(long >= short + 2 * MS, "{short} against {long}");
    assert!(short_ran.abs_diff(long_ran) < long_ran / 5);
}

#[test]
fn a_yield_lets_the_other_run() {
    let mut machine = Machine::new(1);
    for _ in 0..2 {
        machine.spawn(Policy::default(), Behaviour::Yield { every_ns: 1000 });
    }
    machine.trace();
    machine.run(MS);
    let spans = machine.spans();
    assert!(spans.len() > 900);
    assert!(spans.windows(2).all(|pair| pair[0].task != pair[1].task));
}

#[test]
fn a_waiting_task_can_be_taken_out_by_its_handle() {
    let mut machine = Machine::new(1);
    for _ in 0..3 {
        machine.spawn(Policy::default(), Behaviour::Spin);
    }
    machine.run(1000);
    let queue = machine.queue(0);
    let (node, id) = queue
        .take_where(|id, _| *id == 2, 1000)
        .expect("task 2 waits");
    assert_eq!((id, queue.len()), (2, 1));
    queue.enqueue(node, id, Wake::Migrated, 1000);
    assert_eq!(queue.len(), 2);
}

#[test]
fn batch_and_idle_tasks_do_not_preempt_at_wake_up() {
    for (policy, preempts) in [
        (Policy::Normal { nice: 0 }, true),
        (Policy::Batch { nice: 0 }, false),
        (Policy::Idle { nice: 0 }, false),
    ] {
        let mut machine = Machine::new(1);
        machine.spawn(Policy::default(), Behaviour::Spin);
        machine.run(2 * MS);
        // With a slice as short as that its deadline comes first.
        let mut node = sched::Node::new(policy);
        node.set_slice_ns(MS / 5);
        assert_eq!(
            machine.queue(0).enqueue(node, 99, Wake::Event, 2 * MS),
            preempts,
            "{policy:?}"
        );
    }
}

#[test]
fn an_idle_policy_task_gets_three_of_a_thousand_and_makes_way_at_once() {
    let mut machine = Machine::new(1);
    let idle = machine.spawn(Policy::Idle { nice: 0 }, Behaviour::Spin);
    machine.run(SECOND);
    let busy = machine.spawn(Policy::default(), Behaviour::Spin);
    assert_eq!(machine.longest_wait(busy), 0);
    machine.run(100 * SECOND);
    let ideal = 100 * SECOND * 3 / 1027;
    assert!((machine.ran(idle) - SECOND).abs_diff(ideal) <= ideal / 50 + SLICE_NS);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever tasks do, the CPU is never idle while one could run, and no time is lost or made.
    #[test]
    fn the_cpu_is_kept_busy(seed in any::<u64>(), spinners in 1..4usize, sleepers in 0..6usize) {
        let mut machine = Machine::new(1);
        for _ in 0..spinners {
            machine.spawn(Policy::default(), Behaviour::Spin);
        }
        for i in 0..sleepers {
            let rng = Rng::new(seed.wrapping_add(i as u64));
            machine.spawn(
                Policy::Normal { nice: (i as i8) - 3 },
                Behaviour::Bursts { run_ns: 3 * MS, wait_ns: 5 * MS, rng },
            );
        }
        machine.run(300 * MS);
        let sum: u64 = (0..machine.len()).map(|id| machine.ran(id)).sum();
        prop_assert_eq!(sum, 300 * MS);
    }

    /// A renice in between moves nobody's past: from then on shares are by the new weights.
    #[test]
    fn a_change_of_nice_counts_from_then_on(before in -5..5i8, after in -5..5i8) {
        let mut machine = Machine::new(1);
        let a = machine.spawn(Policy::default(), Behaviour::Spin);
        let b = machine.spawn(Policy::Normal { nice: before }, Behaviour::Spin);
        machine.run(SECOND);
        let ran = machine.ran(b);
        let now = machine.now();
        let set = |node: &mut sched::Node<usize>| node.set_policy(Policy::Normal { nice: after });
        if machine.running(0) == Some(b) {
            machine.queue(0).change_current(set, now);
        } else {
            machine.queue(0).change(|id, _| *id == b, set, now);
        }
        machine.run(4 * SECOND);
        let ideal = 4 * SECOND * weight(after) / (weight(after) + 1024);
        let got = machine.ran(b) - ran;
        prop_assert!(got.abs_diff(ideal) <= ideal / 100 + 3 * SLICE_NS, "{} for {}", got, ideal);
        prop_assert_eq!(machine.ran(a) + machine.ran(b), 5 * SECOND);
    }
}
