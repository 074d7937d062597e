//! Bounds on time, for a machine with one processor whose clock counts instructions: there nothing is late but for the kernel.

use std::time::Duration;

use super::cases;
use crate::load::{Attr, Running, Shared, cpu_time, give_way, monotonic, soon, work};
use crate::sys::{Ended, child, wait};

cases![deadlines_are_kept_beside_spinners];

fn deadlines_are_kept_beside_spinners() {
    /// Microseconds that a job takes, may take, and has.
    const JOB: u64 = 800;
    const BUDGET: u64 = 1000;
    const PERIOD: u64 = 4000;
    const JOBS: u64 = 40;
    const TASKS: usize = 3;
    let spinners: Vec<_> = (0..5).map(|_| Running::spinning(|| ())).collect();
    let worst = Shared::new();
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            child(|| {
                Attr::deadline(BUDGET, PERIOD)
                    .set(0)
                    .expect("there is room");
                give_way();
                for _ in 0..JOBS {
                    let released = monotonic();
                    work(Duration::from_micros(JOB));
                    let took = (monotonic() - released).as_micros() as u64;
                    worst.set(n, worst.get(n).max(took));
                    // Its next job begins with the next period.
                    give_way();
                }
                0
            })
        })
        .collect();
    for pid in tasks {
        assert_eq!(wait(pid), Ended::Exit(0));
    }
    for n in 0..TASKS {
        assert!(
            (JOB..=PERIOD).contains(&worst.get(n)),
            "{} us",
            worst.get(n)
        );
    }
    // The spinners had the rest.
    let ran = |spinner: &Running| cpu_time(spinner.0) > Duration::from_millis(1);
    soon(|| spinners.iter().all(ran));
}
