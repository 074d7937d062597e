//! The `cpu` controller: a group's settings, and its part in the scheduler.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use executor::sync::{SpinLock, SpinLockIrq};
use executor::time::Instant;
use fs::{Errno, Result};
use sched::fair::bandwidth::{Stat, UNLIMITED};
use sched::fair::group::{DEFAULT_SHARES, shares_of_cgroup_weight};
use sched::{Group, GroupId, weight};

use super::Cgroup;

/// More groups than this have no part in the scheduler: each CPU keeps a list of them by number.
const MOST: u32 = 1 << 14;
const NS_PER_US: u64 = 1000;
/// The shortest quota and period.
const SHORTEST_NS: u64 = 1_000_000;
/// The longest period.
const LONGEST_NS: u64 = 1_000_000_000;
const DEFAULT_WEIGHT: u64 = 100;

/// So many numbers rest before one is given again, lest a task that ends holds it still.
const RESTING: usize = 64;
/// Numbers that were given back, the first first, and the least that never was given. A CPU's loop may give one back.
static NUMBERS: SpinLockIrq<(VecDeque<u32>, u32)> = SpinLockIrq::new((VecDeque::new(), 1));

/// A group's part in the scheduler. Its number is given back, and the CPUs may forget it, when it is dropped.
pub struct Cpu {
    group: Arc<Group>,
    number: u32,
    /// The part that it counts in.
    above: Option<Arc<Cpu>>,
    set: SpinLock<Settings>,
}

struct Settings {
    weight: u64,
    idle: bool,
}

impl Cpu {
    /// A part of its own in that of `parent`, or of the root.
    ///
    /// # Errors
    /// `EAGAIN` if there are too many; `ENOMEM`.
    pub fn new(parent: Option<Arc<Cpu>>) -> Result<Self> {
        let number = {
            let (free, next) = &mut *NUMBERS.lock();
            if free.len() > RESTING || *next == MOST {
                free.pop_front().ok_or(Errno::EAGAIN)?
            } else {
                // So that giving one back never allocates: a CPU's loop may.
                let missing = *next as usize - free.len();
                free.try_reserve(missing).map_err(|_| Errno::ENOMEM)?;
                *next += 1;
                *next - 1
            }
        };
        let above = parent.as_ref().map_or(GroupId::ROOT, |p| p.group.id());
        Ok(Self {
            group: Arc::new(Group::new(GroupId::new(number), above)),
            number,
            above: parent,
            set: SpinLock::new(Settings {
                weight: DEFAULT_WEIGHT,
                idle: false,
            }),
        })
    }

    /// What the CPUs share of it.
    pub fn shared(&self) -> &Arc<Group> {
        &self.group
    }

    /// Its number.
    pub fn id(&self) -> GroupId {
        self.group.id()
    }

    /// The one that it counts in, if that is not the root.
    pub fn above(&self) -> Option<&Arc<Cpu>> {
        self.above.as_ref()
    }

    /// `cpu.weight`; 0 for an idle group.
    pub(super) fn weight(&self) -> u64 {
        let set = self.set.lock();
        if set.idle { 0 } else { set.weight }
    }

    /// # Errors
    /// `ERANGE` outside 1 to 10000; `EINVAL` for an idle group.
    pub(super) fn set_weight(&self, weight: u64) -> Result<()> {
        if !(1..=10_000).contains(&weight) {
            return Err(Errno::ERANGE);
        }
        self.put_weight(weight, shares_of_cgroup_weight(weight))
    }

    fn put_weight(&self, weight: u64, shares: u64) -> Result<()> {
        let mut set = self.set.lock();
        if set.idle {
            return Err(Errno::EINVAL);
        }
        set.weight = weight;
        self.group.set_shares(shares);
        Ok(())
    }

    /// `cpu.weight.nice`: the level whose weight is nearest.
    pub(super) fn nice(&self) -> i8 {
        let shares = self.group.shares();
        (-20..20)
            .min_by_key(|nice| weight::of_nice(*nice).abs_diff(shares))
            .unwrap_or(0)
    }

    /// # Errors
    /// `ERANGE` outside -20 to 19; `EINVAL` for an idle group.
    pub(super) fn set_nice(&self, nice: i64) -> Result<()> {
        let level = i8::try_from(nice).map_err(|_| Errno::ERANGE)?;
        if !(-20..20).contains(&level) {
            return Err(Errno::ERANGE);
        }
        let shares = weight::of_nice(level);
        // To the nearest.
        let as_weight = (shares * DEFAULT_WEIGHT + DEFAULT_SHARES / 2) / DEFAULT_SHARES;
        self.put_weight(as_weight, shares)
    }

    /// `cpu.idle`.
    pub(super) fn is_idle(&self) -> bool {
        self.set.lock().idle
    }

    /// Has the group weigh what one task of the idle policy does, or as much as usual again.
    pub(super) fn set_idle(&self, idle: bool) {
        let mut set = self.set.lock();
        if set.idle == idle {
            return;
        }
        *set = Settings {
            weight: DEFAULT_WEIGHT,
            idle,
        };
        self.group
            .set_shares(if idle { weight::IDLE } else { DEFAULT_SHARES });
    }

    /// `cpu.max` in µs: the quota, if there is one, and the period.
    pub(super) fn max_us(&self) -> (Option<u64>, u64) {
        let pool = self.group.pool();
        let quota = Some(pool.quota_ns()).filter(|quota| *quota != UNLIMITED);
        (quota.map(|ns| ns / NS_PER_US), pool.period_ns() / NS_PER_US)
    }

    /// `cpu.max.burst` in µs.
    pub(super) fn burst_us(&self) -> u64 {
        self.group.pool().burst_ns() / NS_PER_US
    }

    /// # Errors
    /// `EINVAL` unless the period is 1 ms to 1 s, the quota at least 1 ms, and the burst at most the quota.
    pub(super) fn set_max(&self, quota_us: Option<u64>, period_us: u64) -> Result<()> {
        let period = period_us.saturating_mul(NS_PER_US);
        let quota = quota_us.map_or(UNLIMITED, |us| us.saturating_mul(NS_PER_US));
        self.limit(quota, period, self.group.pool().burst_ns())
    }

    /// # Errors
    /// As [`set_max`](Self::set_max).
    pub(super) fn set_burst(&self, burst_us: u64) -> Result<()> {
        let pool = self.group.pool();
        let burst = burst_us.saturating_mul(NS_PER_US);
        self.limit(pool.quota_ns(), pool.period_ns(), burst)
    }

    fn limit(&self, quota: u64, period: u64, burst: u64) -> Result<()> {
        let period_fits = (SHORTEST_NS..=LONGEST_NS).contains(&period);
        if !period_fits || quota < SHORTEST_NS || (quota != UNLIMITED && burst > quota) {
            return Err(Errno::EINVAL);
        }
        let now = Instant::now().as_ns();
        self.group.pool().set(quota, period, burst, now);
        Ok(())
    }

    /// What the limit did so far.
    pub(super) fn stat(&self) -> Stat {
        self.group.pool().stat()
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        self.group.retire();
        NUMBERS.lock().0.push_back(self.number);
    }
}

impl Cgroup {
    /// Gives the group a part in the scheduler, in that of its parent. Context: the tree is being changed.
    ///
    /// # Errors
    /// `EAGAIN` if there are too many.
    pub(super) fn enable_cpu(&self) -> Result<()> {
        let above = self.parent.as_ref().and_then(|p| p.cpu.lock().clone());
        let made = Arc::new(Cpu::new(above)?);
        let old = self.cpu.lock().replace(made);
        debug_assert!(old.is_none(), "it is enabled once");
        Ok(())
    }

    /// Takes the group's part in the scheduler away. Context: as [`enable_cpu`](Self::enable_cpu); look again at its threads.
    pub(super) fn disable_cpu(&self) {
        let old = self.cpu.lock().take();
        drop(old);
    }
}

/// Reads a number.
///
/// # Errors
/// `EINVAL`.
pub(super) fn number<T: core::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Errno::EINVAL)
}

/// Reads what is written to `cpu.max`: the quota, `None` for `max`, and the period, if one is given. As on Linux, what is no number
/// there gives none.
///
/// # Errors
/// `EINVAL`.
pub(super) fn parse_max(text: &str) -> Result<(Option<u64>, Option<u64>)> {
    let mut words = text.split_whitespace();
    let quota = match words.next().ok_or(Errno::EINVAL)? {
        "max" => None,
        quota => Some(number(quota)?),
    };
    Ok((quota, words.next().and_then(|period| period.parse().ok())))
}
