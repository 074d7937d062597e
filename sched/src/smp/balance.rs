//! Whether a CPU should pull tasks from others, and from which.
//!
//! A CPU looks at its domains from the closest to the widest, compares the groups in each, and takes tasks from the busiest
//! CPU of the busiest group: at once when it goes idle, else now and then. Pulling moves at most half of a difference, so
//! that two CPUs never exchange tasks for ever: with n runnable tasks on m CPUs, each pull between CPUs that differ by 2 or
//! more makes the sum of the squares of their lengths smaller, by 2 at least. That sum is an integer, so it comes to rest,
//! and at rest no two CPUs of a domain differ by more than one task.

use super::domain::{Domains, Level};
use super::{CpuSet, CpuView};

/// Why a CPU looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has nothing to do.
    Idle,
    /// It is time to.
    Periodic,
}

/// What a CPU should pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// From there.
    pub from: usize,
    /// So many tasks at most.
    pub tasks: u32,
    /// In this level.
    pub level: Level,
}

/// What CPU `here` should pull, if anything.
pub fn find(domains: &Domains, cpus: &[CpuView], here: usize, why: Reason) -> Option<Pull> {
    let own = cpus.get(here)?;
    if !own.active {
        return None;
    }
    for (index, domain) in domains.levels().iter().enumerate() {
        let busiest = domains
            .groups(index, here)
            .filter(|group| !group.contains(here))
            .filter_map(|group| Load::of(&group, cpus))
            .max_by(Load::compare);
        let Some(busiest) = busiest else { continue };
        let local = domains
            .groups(index, here)
            .find(|group| group.contains(here))
            .and_then(|group| Load::of(&group, cpus))?;
        if why == Reason::Periodic && !busiest.exceeds(&local) {
            continue;
        }
        let from = &cpus[busiest.cpu];
        // One that runs alone is not helped by moving.
        let difference = from.runnable.saturating_sub(own.runnable);
        if difference >= 2 {
            return Some(Pull {
                from: busiest.cpu,
                tasks: difference / 2,
                level: domain.level,
            });
        }
    }
    None
}

/// The tasks of a group.
struct Load {
    tasks: u64,
    cpus: u64,
    /// The CPU that has the most.
    cpu: usize,
    most: u32,
}

impl Load {
    fn of(group: &CpuSet, cpus: &[CpuView]) -> Option<Self> {
        let active = || {
            group
                .iter()
                .filter_map(|cpu| Some((cpu, cpus.get(cpu)?)))
                .filter(|(_, view)| view.active)
        };
        let (cpu, busiest) = active().max_by_key(|(_, view)| view.runnable)?;
        Some(Self {
            tasks: active().map(|(_, view)| u64::from(view.runnable)).sum(),
            cpus: active().count() as u64,
            cpu,
            most: busiest.runnable,
        })
    }

    /// By tasks for each CPU, then by the longest queue.
    fn compare(a: &Self, b: &Self) -> core::cmp::Ordering {
        (a.tasks * b.cpus)
            .cmp(&(b.tasks * a.cpus))
            .then(a.most.cmp(&b.most))
    }

    /// Whether there are more tasks for each CPU than in `local`.
    fn exceeds(&self, local: &Self) -> bool {
        self.tasks * local.cpus > local.tasks * self.cpus
    }
}

/// Whether the running task of CPU `from` should be pushed to the idle CPU `to`: it shares its core with another busy thread,
/// while all of `to`'s core is idle. The CPU's migration thread does that, since a running task is in no queue.
pub fn should_push_running(domains: &Domains, cpus: &[CpuView], from: usize, to: usize) -> bool {
    let busy = |cpu: usize| cpus.get(cpu).is_some_and(|view| view.runnable > 0);
    let threads = |cpu: usize| domains.core_of(cpu).iter().filter(|c| busy(*c)).count();
    cpus.get(to).is_some_and(CpuView::is_idle)
        && cpus.get(from).is_some_and(|view| view.runnable == 1)
        && threads(from) > 1
        && threads(to) == 0
}

/// When to look next.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    least_ns: u64,
    now_ns: u64,
}

/// A busy CPU looks so much more rarely.
const BUSY_FACTOR: u64 = 16;

impl Interval {
    /// Of a domain of `cpus` CPUs: as many ms at least, twice that at most.
    pub fn new(cpus: usize) -> Self {
        let least_ns = cpus.max(1) as u64 * 1_000_000;
        Self {
            least_ns,
            now_ns: least_ns,
        }
    }

    /// Notes whether something was moved: where nothing is to be done, it is looked for more rarely.
    pub fn note(&mut self, moved: bool) {
        self.now_ns = match moved {
            true => self.least_ns,
            false => (self.now_ns * 2).min(2 * self.least_ns),
        };
    }

    /// Time until the next look, in ns.
    pub fn ns(&self, idle: bool) -> u64 {
        if idle {
            self.now_ns
        } else {
            self.now_ns * BUSY_FACTOR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::domain::tests::two_by_two_by_two;

    fn cpus(runnable: [u32; 8]) -> [CpuView; 8] {
        runnable.map(|runnable| CpuView {
            active: true,
            runnable,
            ..CpuView::default()
        })
    }

    #[test]
    fn an_idle_cpu_pulls_from_the_nearest_that_has_too_much() {
        let domains = two_by_two_by_two();
        let pull = find(&domains, &cpus([0, 1, 1, 3, 9, 1, 1, 1]), 0, Reason::Idle);
        let near = Pull {
            from: 3,
            tasks: 1,
            level: Level::Cache,
        };
        assert_eq!(pull, Some(near));
        let pull = find(&domains, &cpus([0, 1, 1, 1, 9, 1, 1, 1]), 0, Reason::Idle);
        assert_eq!(pull.map(|p| (p.from, p.tasks)), Some((4, 4)));
        assert_eq!(
            find(&domains, &cpus([0, 1, 1, 1, 1, 1, 1, 1]), 0, Reason::Idle),
            None
        );
    }

    #[test]
    fn pulling_comes_to_rest_with_no_two_cpus_more_than_one_task_apart() {
        let domains = two_by_two_by_two();
        let mut seed = 1u64;
        for _ in 0..200 {
            let mut lens = [0; 8].map(|_: u32| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                (seed >> 40) as u32 % 20
            });
            let mut rounds = 0;
            while let Some((here, pull)) =
                (0..8).find_map(|c| find(&domains, &cpus(lens), c, Reason::Idle).map(|p| (c, p)))
            {
                lens[pull.from] -= pull.tasks;
                lens[here] += pull.tasks;
                rounds += 1;
                assert!(rounds < 1000, "{lens:?}");
            }
            let (least, most) = (lens.iter().min(), lens.iter().max());
            let apart = most.unwrap_or(&0) - least.unwrap_or(&0);
            assert!(apart <= 1, "{lens:?}");
        }
    }

    #[test]
    fn a_busy_cpu_leaves_small_differences_alone() {
        let domains = two_by_two_by_two();
        let views = cpus([2, 2, 2, 2, 3, 2, 2, 2]);
        assert_eq!(find(&domains, &views, 0, Reason::Periodic), None);
    }

    #[test]
    fn a_task_leaves_a_shared_core_for_an_idle_one() {
        let domains = two_by_two_by_two();
        let views = cpus([1, 1, 0, 0, 1, 0, 0, 0]);
        assert!(should_push_running(&domains, &views, 0, 2));
        assert!(!should_push_running(&domains, &views, 4, 2));
        assert!(!should_push_running(&domains, &views, 0, 5));
    }

    #[test]
    fn the_interval_grows_while_nothing_is_moved() {
        let mut interval = Interval::new(4);
        assert_eq!(interval.ns(true), 4_000_000);
        interval.note(false);
        interval.note(false);
        assert_eq!(interval.ns(true), 8_000_000);
        assert_eq!(interval.ns(false), 128_000_000);
        interval.note(true);
        assert_eq!(interval.ns(true), 4_000_000);
    }
}
