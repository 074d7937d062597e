//! Scheduling domains: for each CPU, ever wider sets of CPUs that it shares something with.

use alloc::vec::Vec;

use super::CpuSet;

/// Where a CPU sits, as the machine's tables tell. Numbers are unique in the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its core; threads of one core share it.
    pub core: u32,
    /// The last cache that is shared.
    pub cache: u32,
    /// The socket.
    pub package: u32,
    /// The NUMA node.
    pub node: u32,
}

/// What the CPUs of a domain share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A core.
    Smt,
    /// The last cache.
    Cache,
    /// A socket.
    Package,
    /// A memory node.
    Node,
    /// Only the machine.
    Machine,
}

/// The domains of one level.
#[derive(Clone, Debug)]
pub struct Domain {
    /// What its CPUs share.
    pub level: Level,
    /// For each CPU, those it shares that with, itself among them.
    spans: Vec<CpuSet>,
}

impl Domain {
    /// The CPUs that share this level with `cpu`; only itself if it is not known.
    pub fn span(&self, cpu: usize) -> CpuSet {
        self.spans
            .get(cpu)
            .copied()
            .unwrap_or_else(|| CpuSet::one(cpu))
    }
}

/// The levels of a machine, from the closest.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    levels: Vec<Domain>,
}

impl Domains {
    /// The domains of CPUs at `places`, by number. Levels that tell no more than the one below are left out. CPUs of
    /// `isolated` (`isolcpus=`) are in no domain but their own.
    ///
    /// # Context
    /// Allocates: when CPUs come or go.
    pub fn new(places: &[Place], isolated: &CpuSet) -> Self {
        let same = |level: Level, a: &Place, b: &Place| match level {
            Level::Smt => a.core == b.core,
            Level::Cache => a.cache == b.cache,
            Level::Package => a.package == b.package,
            Level::Node => a.node == b.node,
            Level::Machine => true,
        };
        let mut levels: Vec<Domain> = Vec::new();
        for level in [
            Level::Smt,
            Level::Cache,
            Level::Package,
            Level::Node,
            Level::Machine,
        ] {
            let span = |cpu: usize| -> CpuSet {
                let mates = (0..places.len()).filter(|&other| {
                    other == cpu
                        || (same(level, &places[cpu], &places[other])
                            && !isolated.contains(cpu)
                            && !isolated.contains(other))
                });
                mates.collect()
            };
            let spans: Vec<CpuSet> = (0..places.len()).map(span).collect();
            let tells_more = match levels.last() {
                Some(below) => spans != below.spans,
                None => spans.iter().any(|s| s.len() > 1),
            };
            if tells_more {
                levels.push(Domain { level, spans });
            }
        }
        Self { levels }
    }

    /// The levels, from the closest.
    pub fn levels(&self) -> &[Domain] {
        &self.levels
    }

    /// The CPUs that share a cache with `cpu`.
    pub fn cache_of(&self, cpu: usize) -> CpuSet {
        self.widest(Level::Cache, cpu)
    }

    /// The threads of the core of `cpu`.
    pub fn core_of(&self, cpu: usize) -> CpuSet {
        self.widest(Level::Smt, cpu)
    }

    fn widest(&self, most: Level, cpu: usize) -> CpuSet {
        self.levels
            .iter()
            .rev()
            .find(|domain| domain.level <= most)
            .map_or_else(|| CpuSet::one(cpu), |domain| domain.span(cpu))
    }

    /// The groups that are balanced within level `index` around `cpu`: the spans of the level below.
    pub fn groups(&self, index: usize, cpu: usize) -> impl Iterator<Item = CpuSet> {
        let mut left = self.levels[index].span(cpu);
        let below = index.checked_sub(1).map(|i| &self.levels[i]);
        core::iter::from_fn(move || {
            let first = left.iter().next()?;
            let group = below.map_or_else(|| CpuSet::one(first), |domain| domain.span(first));
            left = left.without(&group);
            Some(group)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two sockets of two cores of two threads.
    pub fn two_by_two_by_two() -> Domains {
        let place = |cpu: u32| Place {
            core: cpu / 2,
            cache: cpu / 4,
            package: cpu / 4,
            node: cpu / 4,
        };
        let places: Vec<Place> = (0..8).map(place).collect();
        Domains::new(&places, &CpuSet::EMPTY)
    }

    #[test]
    fn levels_that_tell_nothing_are_left_out() {
        let domains = two_by_two_by_two();
        let levels: Vec<Level> = domains.levels().iter().map(|d| d.level).collect();
        assert_eq!(levels, [Level::Smt, Level::Cache, Level::Machine]);
        assert!(domains.core_of(5).iter().eq([4, 5]));
        assert!(domains.cache_of(5).iter().eq([4, 5, 6, 7]));
        assert_eq!(domains.groups(2, 0).count(), 2);
        assert_eq!(domains.groups(1, 6).count(), 2);
    }

    #[test]
    fn one_cpu_has_no_domain_and_an_isolated_one_neither() {
        let one = Domains::new(&[Place::default()], &CpuSet::EMPTY);
        assert!(one.levels().is_empty());
        assert!(one.cache_of(0).iter().eq([0]));
        let places = [0, 1, 2].map(|core| Place {
            core,
            ..Place::default()
        });
        let domains = Domains::new(&places, &CpuSet::one(1));
        assert!(domains.cache_of(1).iter().eq([1]));
        assert!(domains.cache_of(0).iter().eq([0, 2]));
    }
}
