//! How far the fair tasks of each CPU have come, so that those that cannot be spread evenly take turns.
//!
//! Three tasks on two CPUs, or weights of 1024, 820 and 655: whatever way they are spread, one CPU has more load, and its
//! tasks get less. What is to be equal is what they have got over time. So each CPU keeps a *virtual time* of the sort
//! that its tasks have: its time over its load. A CPU that is ahead takes a task from one that is behind, which makes it the
//! slower of the two; then it is behind, and gives one back. So the virtual times of CPUs stay within about [`TURN_NS`] of
//! each other.
//!
//! What a task has got lags behind its CPU's virtual time by no more than two slices, and it takes what it is owed along: moving
//! ahead by g it is owed g more ([`owed_ns`]), and is served first until it has that. So what any two tasks have got, for their
//! weights, differs by a bound at all times, and their shares over a longer time are those of their weights.
//!
//! A task that weighs more than its part of all the load is due a CPU of its own and does not take turns.

use super::CpuView;
use super::balance::Surplus;
use crate::pelt::SCALE;

/// A CPU gives a task away when the others are ahead by this much of its time.
pub const TURN_NS: u64 = 24_000_000;

/// The most, in its own time, that a CPU is kept in mind to be behind: what was long ago does not count.
const MEMORY_NS: u64 = 8 * TURN_NS;

/// The virtual time of a CPU's fair tasks, in ns of a load of nice 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress(u64);

impl Progress {
    /// The virtual time: [`CpuView::progress`].
    pub fn virtual_ns(self) -> u64 {
        self.0
    }

    /// `ns` have passed in which the CPU ran fair tasks, which weigh `load` with those that wait. `first` is the CPU that is
    /// ahead of all. A CPU without fair tasks is where that is, having nobody who could be behind.
    pub fn advance(&mut self, ns: u64, load: u64, first: u64) {
        if load == 0 {
            self.0 = self.0.max(first);
            return;
        }
        let oldest = first.saturating_sub(MEMORY_NS * SCALE / load);
        self.0 = (self.0 + ns * SCALE / load).max(oldest);
    }

    /// A task that weighs `weight` and is owed `lag_ns` of virtual time has come: the mean over all, which weigh `load` now, is
    /// the less for it. What each task has got adds up to what the CPU has given.
    pub fn arrives(&mut self, weight: u64, lag_ns: i64, load: u64) {
        self.shift(-share_of(weight, lag_ns, load));
    }

    /// As [`arrives`](Self::arrives), of one that has gone; those that are left weigh `load`.
    pub fn leaves(&mut self, weight: u64, lag_ns: i64, load: u64) {
        self.shift(share_of(weight, lag_ns, load));
    }

    fn shift(&mut self, by_ns: i64) {
        self.0 = self.0.saturating_add_signed(by_ns);
    }
}

/// What each of `load` is owed if together they are owed what a task of `weight` is.
fn share_of(weight: u64, lag_ns: i64, load: u64) -> i64 {
    // Weights have 18 bits, and lags below 38 where they are times a weight.
    lag_ns.saturating_mul(weight as i64) / load.max(1) as i64
}

/// How far `from` is behind `to`, in ns of its own time.
fn behind_ns(from: &CpuView, to: &CpuView) -> u64 {
    // Below [`MEMORY_NS`] times [`SCALE`], but for what happened since.
    to.progress
        .saturating_sub(from.progress)
        .saturating_mul(from.load)
        / SCALE
}

/// Whom CPU `here` should ask for a task to take turns: the one that is most behind among those that have some to give.
pub fn find(cpus: &[CpuView], here: usize) -> Option<usize> {
    let own = cpus.get(here).filter(|own| own.active)?;
    let may_give = |cpu: usize, view: &CpuView| cpu != here && view.active && is_due(view, own);
    cpus.iter()
        .enumerate()
        .filter(|(cpu, view)| may_give(*cpu, view))
        .max_by_key(|(_, view)| behind_ns(view, own))
        .map(|(cpu, _)| cpu)
}

/// Whether `from` should give a task to `to`, for taking turns: it is behind, and has more load, so that it falls behind further.
pub fn is_due(from: &CpuView, to: &CpuView) -> bool {
    from.runnable >= 2 && behind_ns(from, to) >= TURN_NS && Surplus::between(from, to).is_some()
}

/// What a task is owed more, in virtual ns, that goes from `from` to `to`; negative where it owes.
pub fn owed_ns(from: &CpuView, to: &CpuView) -> i64 {
    let most = (MEMORY_NS * SCALE / from.load.max(1)) as i64;
    (to.progress.wrapping_sub(from.progress) as i64).clamp(-most, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(runnable: u32, load: u64, progress: u64) -> CpuView {
        CpuView {
            active: true,
            runnable,
            load,
            progress,
            ..CpuView::default()
        }
    }

    #[test]
    fn the_cpu_that_is_most_behind_gives() {
        let ahead = view(1, 1024, 10 * TURN_NS);
        let cpus = [
            ahead,
            view(2, 2048, 9 * TURN_NS),
            view(2, 2048, 8 * TURN_NS),
            view(1, 1024, 0),
        ];
        assert_eq!(find(&cpus, 0), Some(2));
        assert_eq!(find(&cpus, 1), None);
        assert_eq!(find(&cpus, 2), None);
        // Not yet.
        let near = view(2, 2048, 10 * TURN_NS - TURN_NS / 2 + 1);
        assert_eq!(find(&[ahead, near], 0), None);
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let mut progress = Progress::default();
        progress.advance(1000, 2048, 1_000_000_000_000);
        assert_eq!(
            progress.virtual_ns(),
            1_000_000_000_000 - MEMORY_NS * SCALE / 2048
        );
        progress.advance(1000, 0, 1_000_000_000_001);
        assert_eq!(progress.virtual_ns(), 1_000_000_000_001);
        progress.advance(2000, 512, 0);
        assert_eq!(progress.virtual_ns(), 1_000_000_004_001);
    }

    #[test]
    fn what_a_task_is_owed_goes_with_it() {
        let (from, to) = (view(2, 2048, 1000), view(1, 1024, 5000));
        assert_eq!(owed_ns(&from, &to), 4000);
        assert_eq!(owed_ns(&to, &from), -4000);
    }
}
