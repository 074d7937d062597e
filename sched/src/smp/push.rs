//! The CPU for a real-time or deadline task: of m CPUs the m most urgent tasks are to run.
//!
//! A CPU with such a task waiting *pushes* it to one that runs something less urgent; a CPU that turns to something less
//! urgent *pulls* what waits elsewhere and is more so. With both, global fixed-priority and global EDF scheduling hold
//! whenever no decision is under way.

use super::domain::Domains;
use super::{CpuSet, CpuView, Urgency};

/// Where a task of this urgency should go that cannot run on `here` at once: to the CPU that runs what is least urgent, if
/// that is less so than the task. Among equals to the last one where it ran, then the nearest.
pub fn target(
    domains: &Domains,
    cpus: &[CpuView],
    allowed: &CpuSet,
    urgency: Urgency,
    last: usize,
) -> Option<usize> {
    let distance = |cpu: usize| {
        if cpu == last {
            return 0;
        }
        let near = |d: &super::domain::Domain| d.span(last).contains(cpu);
        1 + domains
            .levels()
            .iter()
            .position(near)
            .unwrap_or(domains.levels().len())
    };
    let mut best: Option<usize> = None;
    for (cpu, view) in cpus.iter().enumerate() {
        if !view.active || !allowed.contains(cpu) || !urgency.is_before(view.running) {
            continue;
        }
        let better = best.is_none_or(|b| {
            let than = &cpus[b];
            than.running.is_before(view.running)
                || (than.running == view.running
                    && (view.runnable.min(1), distance(cpu)) < (than.runnable.min(1), distance(b)))
        });
        if better {
            best = Some(cpu);
        }
    }
    best
}

/// Where CPU `here` should pull from, which would run something of urgency `next`: where the most urgent task waits, if
/// that is more urgent than `next` and than what its own CPU runs does not make way for it.
pub fn source(cpus: &[CpuView], here: usize, next: Urgency) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (cpu, view) in cpus.iter().enumerate() {
        // A task more urgent than what its CPU runs is about to run there.
        let waits = view.active && cpu != here && view.waiting.is_before(next);
        if !waits || view.waiting.is_before(view.running) {
            continue;
        }
        if best.is_none_or(|b| view.waiting.is_before(cpus[b].waiting)) {
            best = Some(cpu);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::Urgency::*;
    use super::*;
    use crate::smp::domain::tests::two_by_two_by_two;

    fn running(urgencies: [Urgency; 8]) -> [CpuView; 8] {
        urgencies.map(|running| CpuView {
            active: true,
            runnable: 1,
            running,
            ..CpuView::default()
        })
    }

    #[test]
    fn the_least_urgent_cpu_makes_way() {
        let domains = two_by_two_by_two();
        let all = CpuSet::first_n(8);
        let mut urgencies = [Realtime(50); 8];
        urgencies[6] = Realtime(10);
        urgencies[3] = Realtime(20);
        let cpus = running(urgencies);
        let to = |urgency| target(&domains, &cpus, &all, urgency, 0);
        assert_eq!(to(Realtime(60)), Some(6));
        assert_eq!(to(Realtime(10)), None);
        assert_eq!(to(Deadline(5)), Some(6));
    }

    #[test]
    fn among_equals_the_nearest_is_taken_and_an_idle_one_before_a_busy_one() {
        let domains = two_by_two_by_two();
        let all = CpuSet::first_n(8);
        let mut cpus = running([Fair; 8]);
        let to = |cpus: &[CpuView]| target(&domains, cpus, &all, Realtime(1), 5);
        assert_eq!(to(&cpus), Some(5));
        cpus[5].running = Realtime(9);
        assert_eq!(to(&cpus), Some(4));
        cpus[1].runnable = 0;
        assert_eq!(to(&cpus), Some(1));
    }

    #[test]
    fn a_cpu_pulls_the_most_urgent_that_waits_in_vain() {
        let mut cpus = running([Realtime(50); 8]);
        cpus[2].waiting = Realtime(30);
        cpus[5].waiting = Realtime(40);
        // About to run at home.
        cpus[6].waiting = Realtime(60);
        assert_eq!(source(&cpus, 0, Fair), Some(5));
        assert_eq!(source(&cpus, 0, Realtime(40)), None);
    }
}
