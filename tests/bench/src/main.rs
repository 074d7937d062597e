//! How fast the executor is on the host, beside tokio's current-thread runtime and embassy's executor, in one run.
//!
//! ```text
//! cargo run --release -p bench --features peers [-- FILTER]
//! ```
//!
//! Each line is a number of nanoseconds for one operation: the least of several rounds, in which the three take turns, so that
//! a busy host disturbs all of them alike. `ratio` is ours by the better peer's.

mod embassy;
mod ours;
mod tokio;
mod work;

use std::time::Duration;

/// What each peer can be asked for: to do something `n` times, and to say how long that took.
pub struct Peer {
    /// Spawns a task that ends at once, and lets it.
    pub spawn: Option<fn(usize) -> Duration>,
    /// A task wakes itself and is polled again.
    pub wake: Option<fn(usize) -> Duration>,
    /// A task yields to another that yields back.
    pub yield_now: Option<fn(usize) -> Duration>,
    /// A thread wakes a task, which answers.
    pub cross: Option<fn(usize) -> Duration>,
    /// Two tasks send a number to and fro by channels that hold one.
    pub channel: Option<fn(usize) -> Duration>,
    /// Arms a timer and takes it back, with [`ARMED`] others armed.
    pub timer: Option<fn(usize) -> Duration>,
    /// Takes a free mutex and gives it back.
    pub mutex: Option<fn(usize) -> Duration>,
    /// Four tasks take a mutex in turn, and each holds it while the others run.
    pub contended: Option<fn(usize) -> Duration>,
}

/// Timers that are armed while others come and go.
pub const ARMED: usize = 100_000;

const ROUNDS: usize = 12;

/// A line: its name, operations in a round, and whose it is.
type Line = (
    &'static str,
    usize,
    fn(&Peer) -> Option<fn(usize) -> Duration>,
);

const LINES: [Line; 8] = [
    ("spawn", 20_000, |p| p.spawn),
    ("wake and poll", 200_000, |p| p.wake),
    ("yield", 200_000, |p| p.yield_now),
    ("wake from another thread", 2_000, |p| p.cross),
    ("channel, to and fro", 50_000, |p| p.channel),
    ("timer, 100,000 armed", 20_000, |p| p.timer),
    ("mutex, free", 500_000, |p| p.mutex),
    ("mutex, contended", 50_000, |p| p.contended),
];

/// The least time of one operation, in nanoseconds, for each of the peers.
fn measure((_, n, of): Line, peers: &[Peer]) -> Vec<Option<f64>> {
    let runs: Vec<_> = peers.iter().map(of).collect();
    let mut best = vec![None::<f64>; peers.len()];
    for _ in 0..ROUNDS {
        for (run, best) in runs.iter().zip(&mut best) {
            let Some(run) = *run else { continue };
            // A thread of its own: no round finds what another left behind.
            let time = std::thread::spawn(move || run(n)).join();
            let each = time.expect("a round ends").as_nanos() as f64 / n as f64;
            *best = Some(best.map_or(each, |b| b.min(each)));
        }
    }
    best
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let peers = [ours::PEER, tokio::PEER, embassy::PEER];
    println!(
        "{:<26}{:>10}{:>10}{:>10}{:>8}",
        "ns", "executor", "tokio", "embassy", "ratio"
    );
    for line in LINES.into_iter().filter(|line| line.0.contains(&filter)) {
        let times = measure(line, &peers);
        let shown = |t: Option<f64>| t.map_or("-".into(), |t| format!("{t:.1}"));
        let better = times[1..].iter().flatten().copied().reduce(f64::min);
        let ratio = times[0].zip(better).map(|(ours, theirs)| ours / theirs);
        println!(
            "{:<26}{:>10}{:>10}{:>10}{:>8}",
            line.0,
            shown(times[0]),
            shown(times[1]),
            shown(times[2]),
            ratio.map_or("-".into(), |r| format!("{r:.2}"))
        );
    }
}
