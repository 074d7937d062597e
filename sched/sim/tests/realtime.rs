//! Real-time tasks: the exact order, the exact slice, the exact throttle.

use sched::rt::bandwidth::UNLIMITED;
use sched::{Boost, GroupId, Node, Outcome, Policy, RunQueue, Wake};
use sched_sim::{Behaviour, MS, Machine, Rng, SECOND};

fn fifo(priority: u8) -> Policy {
    Policy::Fifo { priority }
}

/// What runs when each task in turn sleeps.
fn drain(queue: &mut RunQueue<u32>) -> Vec<u32> {
    let mut order = Vec::new();
    while let Some(id) = queue.pick(0) {
        order.push(id);
        queue.end_turn(Outcome::Sleeps, 0);
    }
    order
}

fn queue_of(policies: &[Policy]) -> RunQueue<u32> {
    let mut queue = RunQueue::new();
    for (id, policy) in (0..).zip(policies) {
        queue.enqueue(Node::new(*policy), id, Wake::New, 0);
    }
    queue
}

#[test]
fn places_are_those_of_sched_7() {
    // By priority, then by arrival.
    assert_eq!(
        drain(&mut queue_of(&[fifo(1), fifo(9), fifo(9), fifo(99)])),
        [3, 1, 2, 0]
    );
    // Preempted: to the head. Yielded: to the tail.
    for (outcome, expected) in [
        (Outcome::Preempted, [0, 1, 2]),
        (Outcome::Yielded, [1, 2, 0]),
    ] {
        let mut queue = queue_of(&[fifo(5); 3]);
        assert_eq!(queue.pick(0), Some(0));
        let node = queue.end_turn(outcome, 10);
        queue.requeue(node, 0, outcome, 10);
        assert_eq!(drain(&mut queue), expected, "{outcome:?}");
    }
    // A waiting task that is raised comes last among its new equals, one that is lowered first.
    let mut queue = queue_of(&[fifo(5), fifo(7), fifo(7), fifo(9)]);
    assert_eq!(
        queue.change(|id, _| *id == 0, |n| n.set_policy(fifo(7)), 0),
        Some(false)
    );
    assert_eq!(
        queue.change(|id, _| *id == 3, |n| n.set_policy(fifo(7)), 0),
        Some(false)
    );
    assert_eq!(drain(&mut queue), [3, 1, 2, 0]);
    // So with the running one, once it is preempted.
    for (own, expected) in [(5, [1, 0]), (9, [0, 1])] {
        let mut queue = queue_of(&[fifo(own)]);
        queue.pick(0);
        queue.enqueue(
            Node::new(fifo(if own == 5 { 5 } else { 7 })),
            1,
            Wake::New,
            0,
        );
        queue.take_where(|id, _| *id == 1, 0).expect("it waits");
        queue.change_current(|n| n.set_policy(fifo(7)), 0);
        queue.enqueue(Node::new(fifo(7)), 1, Wake::New, 0);
        let node = queue.end_turn(Outcome::Preempted, 10);
        queue.requeue(node, 0, Outcome::Preempted, 10);
        assert_eq!(drain(&mut queue), expected, "from {own}");
    }
}

#[test]
fn the_running_task_is_always_of_the_highest_priority() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut machine = Machine::new(1);
        machine
            .queue(0)
            .realtime_mut()
            .set_bandwidth(UNLIMITED, SECOND);
        let mut priorities = Vec::new();
        for i in 0..rng.within(3, 12) {
            let priority = rng.within(1, 20) as u8;
            priorities.push(priority);
            let policy = match rng.below(2) {
                0 => fifo(priority),
                _ => Policy::RoundRobin { priority },
            };
            let behaviour = Behaviour::Bursts {
                run_ns: rng.within(1000, 5 * MS),
                wait_ns: rng.within(1000, 20 * MS),
                rng: Rng::new(seed * 100 + i),
            };
            machine.spawn(policy, behaviour);
        }
        for _ in 0..300 {
            machine.run(rng.within(1, 300_000));
            let waits = machine.queue(0).realtime().top_priority();
            let runs = machine.running(0).map_or(0, |id| priorities[id]);
            assert!(runs >= waits, "seed {seed}: {runs} runs, {waits} waits");
        }
    }
}

#[test]
fn round_robin_peers_take_turns_of_just_a_slice_and_keep_what_is_left_over_a_preemption() {
    let mut machine = Machine::new(1);
    machine
        .queue(0)
        .realtime_mut()
        .set_bandwidth(UNLIMITED, SECOND);
    let peer = |m: &mut Machine| m.spawn(Policy::RoundRobin { priority: 5 }, Behaviour::Spin);
    let (a, b) = (peer(&mut machine), peer(&mut machine));
    // From 60 to 90 ms and every 200 ms again something more urgent runs.
    machine.run(60 * MS);
    machine.spawn(
        fifo(50),
        Behaviour::Periodic {
            run_ns: 30 * MS,
            period_ns: 200 * MS,
        },
    );
    machine.run(70 * MS);
    assert_eq!((machine.ran(a), machine.ran(b)), (100 * MS, 0));
    machine.run(100 * MS);
    assert_eq!((machine.ran(a), machine.ran(b)), (100 * MS, 100 * MS));
}

#[test]
fn a_runaway_leaves_just_fifty_milliseconds_of_each_second() {
    let mut machine = Machine::new(1);
    let runaway = machine.spawn(fifo(99), Behaviour::Spin);
    let fair = machine.spawn(Policy::default(), Behaviour::Spin);
    for second in 1..=10 {
        machine.run(SECOND);
        assert_eq!(machine.ran(runaway), second * 950 * MS);
        assert_eq!(machine.ran(fair), second * 50 * MS);
    }
}

#[test]
fn a_boosted_task_is_not_throttled() {
    let mut queue = RunQueue::<u32>::new();
    queue.enqueue(Node::new(fifo(10)), 0, Wake::New, 0);
    queue.enqueue(Node::new(Policy::default()), 1, Wake::New, 0);
    assert_eq!(queue.pick(0), Some(0));
    assert!(queue.tick(950 * MS));
    let node = queue.end_turn(Outcome::Preempted, 950 * MS);
    queue.requeue(node, 0, Outcome::Preempted, 950 * MS);
    assert_eq!(queue.pick(950 * MS), Some(1));
    // The fair task holds what an urgent one waits for: it runs on, throttle or not.
    let boost = Boost::of(&Node::<u32>::new(fifo(50)));
    queue.change_current(|node| node.set_boost(boost), 951 * MS);
    assert!(!queue.tick(990 * MS));
    queue.change_current(|node| node.set_boost(None), 990 * MS);
    assert!(queue.tick(SECOND), "a new period");
}

#[test]
fn a_group_has_its_own_share_and_what_it_leaves_is_not_for_other_groups() {
    let mut machine = Machine::new(1);
    let (small, large) = (GroupId::new(1), GroupId::new(2));
    let rt = machine.queue(0).realtime_mut();
    rt.set_group(small, 100 * MS, SECOND);
    rt.set_group(large, 300 * MS, SECOND);
    let all = sched::smp::CpuSet::first_n(1);
    let a = machine.spawn_with(fifo(60), Behaviour::Spin, all, |n| n.set_group(small));
    let b = machine.spawn_with(fifo(50), Behaviour::Spin, all, |n| n.set_group(large));
    let fair = machine.spawn(Policy::default(), Behaviour::Spin);
    machine.run(10 * SECOND);
    assert_eq!(machine.ran(a), SECOND);
    assert_eq!(machine.ran(b), 3 * SECOND);
    assert_eq!(machine.ran(fair), 6 * SECOND);
}

#[test]
fn the_most_urgent_tasks_run_wherever_they_are() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let cpus = rng.within(2, 4) as usize;
        let mut machine = Machine::new(cpus);
        for cpu in 0..cpus {
            machine
                .queue(cpu)
                .realtime_mut()
                .set_bandwidth(UNLIMITED, SECOND);
        }
        let mut tasks = Vec::new();
        for i in 0..8 {
            let priority = 10 + i * 5;
            let id = machine.spawn(fifo(priority), Behaviour::Spin);
            tasks.push((priority, id));
            machine.run(rng.within(1, MS));
        }
        tasks.sort_unstable_by(|a, b| b.cmp(a));
        let running: Vec<usize> = (0..cpus).filter_map(|cpu| machine.running(cpu)).collect();
        for (_, id) in &tasks[..cpus] {
            assert!(
                running.contains(id),
                "seed {seed}: {running:?} run of {tasks:?}"
            );
        }
    }
}
