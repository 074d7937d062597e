//! Where a fair task goes that becomes runnable.

use super::domain::{Domains, Level};
use super::{CpuSet, CpuView};

/// A task that wakes.
#[derive(Clone, Copy, Debug)]
pub struct Waking {
    /// The CPU where it ran last.
    pub last: usize,
    /// The CPU of the task that wakes it.
    pub waker: usize,
    /// Where it may run.
    pub allowed: CpuSet,
    /// The waker is about to sleep.
    pub sync: bool,
}

/// The CPU for a task that wakes: near its data if that is to be had without waiting, else near its waker's, and an idle
/// one there if there is one. At most the CPUs of one cache are looked at.
pub fn select(domains: &Domains, cpus: &[CpuView], task: &Waking) -> usize {
    let may = |cpu: usize| task.allowed.contains(cpu) && cpus.get(cpu).is_some_and(|c| c.active);
    let idle = |cpu: usize| may(cpu) && cpus[cpu].is_idle();
    let target = near(domains, cpus, task, &may);
    let Some(target) = target else {
        return fallback(cpus, task);
    };
    if idle(target) {
        return target;
    }
    let cache = domains.cache_of(target);
    if cache.contains(task.last) && idle(task.last) {
        return task.last;
    }
    // A core all of whose threads are idle runs at full speed.
    let whole = |cpu: usize| {
        domains
            .core_of(cpu)
            .iter()
            .all(|c| cpus.get(c).is_none_or(|v| v.runnable == 0))
    };
    let mut any = None;
    // Begin behind the target, so that several wakers do not all find the same one.
    let behind = cache.iter().filter(|c| *c > target);
    let before = cache.iter().filter(|c| *c < target);
    for cpu in behind.chain(before) {
        if idle(cpu) {
            if whole(cpu) {
                return cpu;
            }
            any = any.or(Some(cpu));
        }
    }
    any.unwrap_or(target)
}

/// The CPU for a task whose data is near CPU `near`, among those of `idle` that are in `allowed`: that one itself, or else a
/// close one, and there a core all of whose threads are idle before a thread that has to share its core.
pub fn nearest_idle(
    domains: &Domains,
    idle: &CpuSet,
    allowed: &CpuSet,
    near: usize,
) -> Option<usize> {
    let may = |cpu: &usize| allowed.contains(*cpu);
    let whole = |cpu: &usize| domains.core_of(*cpu).iter().all(|c| idle.contains(c));
    let among = |span: CpuSet| {
        let there = || idle.iter().filter(|cpu| span.contains(*cpu)).filter(may);
        there().find(whole).or_else(|| there().next())
    };
    let wider = domains.levels().iter().filter(|d| d.level > Level::Smt);
    // Last, wherever there is one: an isolated CPU is in no domain.
    core::iter::once(CpuSet::one(near))
        .chain(wider.map(|domain| domain.span(near)))
        .chain([*idle])
        .find_map(among)
}

/// Whether to look around the last CPU or the waker's.
fn near(
    domains: &Domains,
    cpus: &[CpuView],
    task: &Waking,
    may: &impl Fn(usize) -> bool,
) -> Option<usize> {
    let (last, waker) = (task.last, task.waker);
    match (may(last), may(waker)) {
        (true, false) => Some(last),
        (false, true) => Some(waker),
        (false, false) => None,
        (true, true) if last == waker || cpus[last].is_idle() => Some(last),
        (true, true) => {
            // The waker leaves its CPU, with the data that it has just made.
            let free = task.sync && cpus[waker].runnable <= 1;
            let shared = domains.cache_of(waker).contains(last);
            let calmer = cpus[waker].runnable < cpus[last].runnable && shared;
            Some(if free || cpus[waker].is_idle() || calmer {
                waker
            } else {
                last
            })
        }
    }
}

/// Some CPU where it may run.
fn fallback(cpus: &[CpuView], task: &Waking) -> usize {
    least_loaded(cpus, &task.allowed).unwrap_or(task.last)
}

/// The CPU for a task that is new or has just called execve(2): it has no data anywhere, so the least loaded of the machine.
pub fn select_new(cpus: &[CpuView], allowed: &CpuSet, here: usize) -> usize {
    match least_loaded(cpus, allowed) {
        // Equally good where it is.
        Some(best) if allowed.contains(here) && cpus.get(here).is_some_and(|c| c.active) => {
            if key(&cpus[here]) <= key(&cpus[best]) {
                here
            } else {
                best
            }
        }
        Some(best) => best,
        None => here,
    }
}

fn key(cpu: &CpuView) -> (u32, u64) {
    (cpu.runnable, cpu.load)
}

fn least_loaded(cpus: &[CpuView], allowed: &CpuSet) -> Option<usize> {
    let may = |cpu: &usize| allowed.contains(*cpu) && cpus[*cpu].active;
    (0..cpus.len())
        .filter(may)
        .min_by_key(|&cpu| key(&cpus[cpu]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::domain::tests::two_by_two_by_two;

    fn cpus(runnable: [u32; 8]) -> [CpuView; 8] {
        runnable.map(|runnable| CpuView {
            active: true,
            runnable,
            load: u64::from(runnable) * 1024,
            ..CpuView::default()
        })
    }

    fn waking(last: usize, waker: usize) -> Waking {
        Waking {
            last,
            waker,
            allowed: CpuSet::first_n(8),
            sync: false,
        }
    }

    #[test]
    fn an_idle_cpu_near_the_data_is_taken() {
        let domains = two_by_two_by_two();
        let pick = |busy, task: &Waking| select(&domains, &cpus(busy), task);
        // Its own, if idle.
        assert_eq!(pick([1, 0, 0, 0, 1, 0, 0, 0], &waking(1, 4)), 1);
        // Else an idle core of the same cache, before an idle thread of a busy core.
        assert_eq!(pick([1, 0, 0, 0, 1, 1, 1, 1], &waking(0, 4)), 2);
        assert_eq!(pick([1, 0, 1, 0, 1, 1, 1, 1], &waking(0, 4)), 1);
        // Else it waits where it was.
        assert_eq!(pick([1, 1, 1, 1, 0, 1, 1, 1], &waking(0, 5)), 0);
    }

    #[test]
    fn an_idle_core_of_the_same_cache_comes_first() {
        let domains = two_by_two_by_two();
        let all = CpuSet::first_n(8);
        let near = |idle: &[usize], allowed: CpuSet| {
            let idle = idle.iter().copied().collect();
            nearest_idle(&domains, &idle, &allowed, 4)
        };
        assert_eq!(near(&[0, 4, 6, 7], all), Some(4));
        assert_eq!(near(&[0, 1, 5, 6, 7], all), Some(6));
        // A thread of a busy core, but near.
        assert_eq!(near(&[0, 1, 5], all), Some(5));
        assert_eq!(near(&[1, 2, 3], all), Some(2));
        assert_eq!(near(&[1, 2, 3], CpuSet::one(1)), Some(1));
        assert_eq!(near(&[1, 2, 3], CpuSet::one(4)), None);
        assert_eq!(near(&[], all), None);
    }

    #[test]
    fn a_waker_that_is_about_to_sleep_leaves_its_place() {
        let domains = two_by_two_by_two();
        let task = Waking {
            sync: true,
            ..waking(0, 4)
        };
        assert_eq!(select(&domains, &cpus([1, 1, 1, 1, 1, 1, 1, 1]), &task), 4);
    }

    #[test]
    fn affinity_and_offline_cpus_are_heeded() {
        let domains = two_by_two_by_two();
        let task = Waking {
            allowed: [5, 7].into_iter().collect(),
            ..waking(0, 1)
        };
        let mut views = cpus([0, 0, 0, 0, 0, 2, 0, 1]);
        assert_eq!(select(&domains, &views, &task), 7);
        views[7].active = false;
        assert_eq!(select(&domains, &views, &task), 5);
    }

    #[test]
    fn a_new_task_goes_to_the_least_loaded() {
        let all = CpuSet::first_n(8);
        assert_eq!(select_new(&cpus([2, 1, 1, 1, 1, 0, 1, 1]), &all, 0), 5);
        assert_eq!(select_new(&cpus([1; 8]), &all, 3), 3);
    }
}
