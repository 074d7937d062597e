//! What the CPUs share of a task group: its number, its shares, its bandwidth.
//!
//! A group competes as one task would. It has an entity on each CPU where it has tasks; the entities' weights are parts of
//! the group's shares, by how much of the group's load each CPU has, so that the group gets its shares of the machine
//! however its tasks are spread.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::bandwidth::Pool;

/// The number of a task group, dense from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupId(u32);

impl GroupId {
    /// The group of all tasks that are in no other.
    pub const ROOT: Self = Self(0);

    /// Group `number`. Numbers are indices: keep them small.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Whether it is the root group.
    #[inline(always)]
    pub const fn is_root(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.0)
    }
}

/// The shares of a group that nobody has set: those of one task of nice 0, `cpu.weight` 100.
pub const DEFAULT_SHARES: u64 = 1024;
/// The least shares.
pub const MIN_SHARES: u64 = 2;
/// The greatest shares.
pub const MAX_SHARES: u64 = 1 << 18;

/// The shares that a `cpu.weight` of 1 to 10000 stands for, 100 being 1024.
pub fn shares_of_cgroup_weight(weight: u64) -> u64 {
    (weight.min(10_000) * DEFAULT_SHARES)
        .div_ceil(100)
        .clamp(MIN_SHARES, MAX_SHARES)
}

/// What all CPUs share of a group. Each CPU holds a reference; settings take effect at the next look.
///
/// # Context
/// Any, for all methods.
#[derive(Debug)]
pub struct Group {
    id: GroupId,
    parent: GroupId,
    shares: AtomicU64,
    /// The sum over CPUs of the load that each last reported.
    load: AtomicU64,
    pool: Pool,
    retired: AtomicBool,
}

impl Group {
    /// A group with default shares and without limit. It counts in `parent`, which every CPU knows before it learns of this.
    pub fn new(id: GroupId, parent: GroupId) -> Self {
        assert!(!id.is_root() && id != parent, "the root is everybody's");
        Self {
            id,
            parent,
            shares: AtomicU64::new(DEFAULT_SHARES),
            load: AtomicU64::new(0),
            pool: Pool::unlimited(),
            retired: AtomicBool::new(false),
        }
    }

    /// No task will come to the group any more: CPUs may forget it ([`Fair::sweep`](super::Fair::sweep)).
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Its number.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The group that it counts in.
    pub fn parent(&self) -> GroupId {
        self.parent
    }

    /// Its shares: it weighs what a task of this weight would.
    pub fn shares(&self) -> u64 {
        self.shares.load(Ordering::Relaxed)
    }

    /// Sets its shares, within [`MIN_SHARES`] and [`MAX_SHARES`].
    pub fn set_shares(&self, shares: u64) {
        self.shares
            .store(shares.clamp(MIN_SHARES, MAX_SHARES), Ordering::Relaxed);
    }

    /// Its bandwidth.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A CPU's load of the group was `before` and is `after`.
    pub(super) fn report(&self, before: u64, after: u64) {
        self.load
            .fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// The weight of the entity of a CPU that has `load` and last reported `reported`: its part of the shares. Divides.
    ///
    /// The total is taken with the CPU's present load in it, so that the only CPU with tasks has all the shares at once.
    pub(super) fn weight_of(&self, load: u64, reported: u64) -> u64 {
        let shares = self.shares();
        let others = self.load.load(Ordering::Relaxed).saturating_sub(reported);
        let total = others + load;
        if others == 0 || total == 0 {
            return shares;
        }
        // Shares are below 2^19, loads below 2^34.
        (shares * load / total).clamp(MIN_SHARES, shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_cpu_has_all_the_shares_and_two_have_them_by_load() {
        let group = Group::new(GroupId::new(1), GroupId::ROOT);
        assert_eq!(group.weight_of(5000, 0), 1024);
        group.report(0, 3072);
        assert_eq!(group.weight_of(3072, 3072), 1024);
        assert_eq!(group.weight_of(1024, 0), 256);
        group.report(0, 1024);
        assert_eq!(group.weight_of(3072, 3072), 768);
        group.report(3072, 0);
        assert_eq!(group.weight_of(1024, 1024), 1024);
    }

    #[test]
    fn cgroup_weights_stand_for_shares() {
        assert_eq!(shares_of_cgroup_weight(100), 1024);
        assert_eq!(shares_of_cgroup_weight(1), 11);
        assert_eq!(shares_of_cgroup_weight(10_000), 102_400);
    }
}
