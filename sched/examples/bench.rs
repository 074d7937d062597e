//! What a switch, a wake-up and a sleep cost with 10 to 100,000 runnable tasks:
//! `cargo run --release -p sched --example bench`.

use std::time::Instant;

use sched::{Node, Outcome, Policy, RunQueue, Wake};

const ROUNDS: u64 = 200_000;

/// A full queue of `tasks` tasks, whose slices end in turn.
fn filled(tasks: u64, policy: impl Fn(u64) -> Policy) -> RunQueue<u64> {
    let mut queue = RunQueue::new();
    for id in 0..tasks {
        queue.enqueue(Node::new(policy(id)), id, Wake::New, 0);
    }
    queue
}

/// Nanoseconds for each of [`ROUNDS`] calls of `f`, which is given the virtual time.
fn time(mut f: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    for round in 1..=ROUNDS {
        f(round * 3_000_000);
    }
    start.elapsed().as_nanos() as f64 / ROUNDS as f64
}

fn main() {
    println!(
        "{:>10} {:>12} {:>14} {:>12}",
        "tasks", "switch ns", "sleep+wake ns", "fifo ns"
    );
    for tasks in [10, 100, 1000, 10_000, 100_000] {
        let fair = |id: u64| Policy::Normal {
            nice: (id % 20) as i8 - 10,
        };
        let mut queue = filled(tasks, fair);
        let switch = time(|now| {
            let id = queue.pick(now).expect("tasks wait");
            let node = queue.end_turn(Outcome::Preempted, now + 3_000_000);
            queue.requeue(node, id, Outcome::Preempted, now + 3_000_000);
        });
        let sleep = time(|now| {
            let id = queue.pick(now).expect("tasks wait");
            let node = queue.end_turn(Outcome::Sleeps, now + 100_000);
            queue.enqueue(node, id, Wake::Event, now + 200_000);
        });
        let mut queue = filled(tasks, |id| Policy::Fifo {
            priority: (id % 99) as u8 + 1,
        });
        let unlimited = sched::rt::bandwidth::UNLIMITED;
        queue.realtime_mut().set_bandwidth(unlimited, 1_000_000_000);
        let fifo = time(|now| {
            let id = queue.pick(now).expect("tasks wait");
            let node = queue.end_turn(Outcome::Yielded, now);
            queue.requeue(node, id, Outcome::Yielded, now);
        });
        println!("{tasks:>10} {switch:>12.1} {sleep:>14.1} {fifo:>12.1}");
    }
}
