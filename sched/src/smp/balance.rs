//! Whether a CPU should take tasks from others, from which, and which of theirs.
//!
//! A CPU looks at its domains from the closest to the widest, compares the groups in each by load, and asks the busiest CPU of the
//! busiest group: at once when it goes idle, else now and then. Load is the weight of the fair tasks that run or could, for what
//! other classes leave of the CPU ([`CpuView::capacity`]).
//!
//! The CPU that is asked looks at the two loads again and chooses ([`Surplus`]). With loads L and capacities c it gives
//! a task of weight w only if that makes the sum over CPUs of L^2 / c less. There are only so many ways to spread tasks, so
//! tasks are not exchanged for ever: balancing comes to rest, and at rest no two CPUs of a domain differ by more than the
//! lightest task that could go. For tasks that weigh the same: by one task.
//!
//! What this leaves uneven is evened out over time, see [`progress`](super::progress).

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

/// Where a CPU should ask for tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The CPU to ask.
    pub from: usize,
    /// The level at which the two meet.
    pub level: Level,
}

/// Whom CPU `here` should ask for tasks, if anybody. Looks at each CPU once for each level. A busy CPU asks nobody who has got
/// further than itself: it may have less load for a while because it had more before.
pub fn find(domains: &Domains, cpus: &[CpuView], here: usize, why: Reason) -> Option<Pull> {
    let own = cpus.get(here)?;
    if !own.active {
        return None;
    }
    for (index, domain) in domains.levels().iter().enumerate() {
        let busiest = domains
            .groups(index, here)
            .filter(|group| !group.contains(here))
            .filter_map(|group| GroupLoad::of(&group, cpus))
            .filter(|group| group.giver.is_some())
            .max_by(GroupLoad::compare);
        let Some(busiest) = busiest else { continue };
        let local = domains
            .groups(index, here)
            .find(|group| group.contains(here))
            .and_then(|group| GroupLoad::of(&group, cpus))?;
        if why == Reason::Periodic && !busiest.exceeds(&local) {
            continue;
        }
        if let Some(from) = busiest.giver
            && (why == Reason::Idle || cpus[from].progress <= own.progress)
            && would_help(&cpus[from], own)
        {
            let level = domain.level;
            return Some(Pull { from, level });
        }
    }
    None
}

/// Whether it would help to move one of the tasks of `from` that is as heavy as most. What there is, only `from` knows.
fn would_help(from: &CpuView, to: &CpuView) -> bool {
    let usual = from.load / u64::from(from.runnable.max(1));
    Surplus::between(from, to).is_some_and(|surplus| surplus.misfit(usual).is_some())
}

/// The load of a group of CPUs.
struct GroupLoad {
    load: u64,
    capacity: u64,
    /// The CPU that has the most load among those that have a task to give.
    giver: Option<usize>,
}

impl GroupLoad {
    /// `None` if none of its CPUs takes part.
    fn of(group: &CpuSet, cpus: &[CpuView]) -> Option<Self> {
        let active = || {
            group
                .iter()
                .filter_map(|cpu| Some((cpu, cpus.get(cpu)?)))
                .filter(|(_, view)| view.active)
        };
        let capacity = active().map(|(_, view)| view.capacity).sum();
        let giver = active()
            // One that runs alone is not helped by moving.
            .filter(|(_, view)| view.runnable >= 2)
            .max_by(|(_, a), (_, b)| (a.load * b.capacity).cmp(&(b.load * a.capacity)));
        (capacity > 0).then(|| Self {
            load: active().map(|(_, view)| view.load).sum(),
            capacity,
            giver: giver.map(|(cpu, _)| cpu),
        })
    }

    /// By load for each CPU. The products have 44 bits of load and 16 of capacity.
    fn compare(a: &Self, b: &Self) -> core::cmp::Ordering {
        (a.load * b.capacity).cmp(&(b.load * a.capacity))
    }

    /// Whether there is more load for each CPU than in `local`.
    fn exceeds(&self, local: &Self) -> bool {
        Self::compare(self, local).is_gt()
    }
}

/// How much more load one CPU has than another, for what they can do.
///
/// Loads here are times the capacity of both, so that nothing is rounded: 34 bits and 11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surplus {
    /// The load that would have to move for both to be equal.
    ideal: u64,
    /// What the one that has less would have if all their load was spread evenly.
    share: u64,
    /// Of both.
    capacity: u64,
}

impl Surplus {
    /// What `from` has too much, compared with `to`; `None` if it has not.
    pub fn between(from: &CpuView, to: &CpuView) -> Option<Self> {
        let (more, less) = (from.load * to.capacity, to.load * from.capacity);
        (more > less).then(|| Self {
            ideal: more - less,
            share: (from.load + to.load) * to.capacity,
            capacity: from.capacity + to.capacity,
        })
    }

    /// How badly moving a task that weighs `load` would fit: 0 where it makes both equal; `None` if it would not help.
    pub fn misfit(&self, load: u64) -> Option<u64> {
        let load = load * self.capacity;
        (load < 2 * self.ideal).then(|| load.abs_diff(self.ideal))
    }

    /// As [`misfit`](Self::misfit), of a task that goes to take turns ([`progress`](super::progress)): it may turn the
    /// difference round. `None` if it is due a CPU of its own.
    pub fn misfit_of_turn(&self, load: u64) -> Option<u64> {
        let load = load * self.capacity;
        (load <= self.share).then(|| load.abs_diff(self.ideal))
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

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::smp::domain::tests::two_by_two_by_two;
    use crate::weight::of_nice;

    fn cpus(runnable: [u32; 8]) -> [CpuView; 8] {
        runnable.map(|runnable| view(runnable, u64::from(runnable) * 1024))
    }

    fn view(runnable: u32, load: u64) -> CpuView {
        CpuView {
            active: true,
            runnable,
            load,
            ..CpuView::default()
        }
    }

    #[test]
    fn an_idle_cpu_asks_the_nearest_that_has_too_much() {
        let domains = two_by_two_by_two();
        let ask = |runnable| find(&domains, &cpus(runnable), 0, Reason::Idle);
        let near = Pull {
            from: 3,
            level: Level::Cache,
        };
        assert_eq!(ask([0, 1, 1, 3, 9, 1, 1, 1]), Some(near));
        assert_eq!(ask([0, 1, 1, 1, 9, 1, 1, 1]).map(|p| p.from), Some(4));
        assert_eq!(ask([0, 1, 1, 1, 1, 1, 1, 1]), None);
    }

    /// Moves tasks as [`find`] and [`Surplus`] say until nothing is left to do.
    fn settle(queues: &mut [Vec<u64>; 8]) {
        let domains = two_by_two_by_two();
        let mut rounds = 0;
        loop {
            let views = core::array::from_fn::<_, 8, _>(|c| {
                view(queues[c].len() as u32, queues[c].iter().sum())
            });
            let pull = |here| find(&domains, &views, here, Reason::Idle).map(|p| (here, p.from));
            let fits = |(here, from): (usize, usize)| {
                let surplus = Surplus::between(&views[from], &views[here])?;
                let fit = |&i: &usize| surplus.misfit(queues[from][i]).map(|misfit| (misfit, i));
                // The first one runs.
                let (_, i) = (1..queues[from].len()).filter_map(|i| fit(&i)).min()?;
                Some((here, from, i))
            };
            let Some((here, from, i)) = (0..8).filter_map(pull).find_map(fits) else {
                return;
            };
            let moved = queues[from].remove(i);
            queues[here].push(moved);
            rounds += 1;
            assert!(rounds < 1000, "{queues:?}");
        }
    }

    #[test]
    fn pulling_comes_to_rest_with_no_two_cpus_more_than_one_task_apart() {
        let mut seed = 1u64;
        for _ in 0..200 {
            let mut queues = [(); 8].map(|()| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                alloc::vec![1024; (seed >> 40) as usize % 20]
            });
            settle(&mut queues);
            let lens = queues.each_ref().map(Vec::len);
            let (least, most) = (lens.iter().min(), lens.iter().max());
            let apart = most.unwrap_or(&0) - least.unwrap_or(&0);
            assert!(apart <= 1, "{lens:?}");
        }
    }

    #[test]
    fn tasks_of_any_weights_come_to_rest_and_no_cpu_is_left_idle() {
        let mut seed = 7u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let mut queues: [Vec<u64>; 8] = core::array::from_fn(|_| {
                let weight = |_| of_nice(random(40) as i8 - 20);
                (0..5).map(weight).collect()
            });
            settle(&mut queues);
            assert!(queues.iter().all(|queue| !queue.is_empty()), "{queues:?}");
        }
    }

    #[test]
    fn the_task_that_fits_best_goes() {
        let surplus = Surplus::between(&view(4, 4000), &view(1, 1000)).expect("there is more");
        assert_eq!(surplus.misfit(1500), Some(0));
        assert!(surplus.misfit(1400) < surplus.misfit(1000));
        // It would only turn the difference round.
        assert_eq!(surplus.misfit(3000), None);
        assert_eq!(Surplus::between(&view(1, 1000), &view(1, 1000)), None);
    }

    #[test]
    fn a_task_that_is_due_a_cpu_of_its_own_stays_there() {
        let surplus = Surplus::between(&view(2, 5000), &view(2, 2000)).expect("there is more");
        assert!(surplus.misfit_of_turn(3500).is_some());
        assert_eq!(surplus.misfit_of_turn(3501), None);
    }

    #[test]
    fn a_cpu_of_which_others_leave_little_has_little() {
        let half = CpuView {
            capacity: 512,
            ..view(2, 2048)
        };
        let surplus = Surplus::between(&half, &view(2, 2048)).expect("it has half as much to give");
        // 1366 for 512 and 2730 for 1024: what is nearest is one task.
        assert!(surplus.misfit(1024).is_some());
        let after = CpuView { load: 1024, ..half };
        assert_eq!(
            Surplus::between(&after, &view(3, 3072)).and_then(|s| s.misfit(1024)),
            None
        );
    }

    #[test]
    fn a_busy_cpu_leaves_small_differences_alone() {
        let domains = two_by_two_by_two();
        let views = cpus([2, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!(find(&domains, &views, 0, Reason::Periodic), None);
        let mut views = cpus([2, 2, 2, 2, 4, 2, 2, 2]);
        assert!(find(&domains, &views, 0, Reason::Periodic).is_some());
        // That one has got further.
        views[4].progress = 1;
        assert_eq!(find(&domains, &views, 0, Reason::Periodic), None);
        let surplus = Surplus::between(&view(3, 3072), &view(2, 2048)).expect("there is more");
        assert_eq!(surplus.misfit(1024), None);
    }

    #[test]
    fn a_task_leaves_a_shared_core_for_an_idle_one() {
        let domains = two_by_two_by_two();
        let views = cpus([1, 1, 0, 0, 1, 0, 0, 0]);
        assert!(should_push_running(&domains, &views, 0, 2));
        assert!(!should_push_running(&domains, &views, 4, 2));
        assert!(!should_push_running(&domains, &views, 0, 5));
    }
}
