//! Where tasks run on several CPUs: decisions, as functions of what each CPU shows of itself.
//!
//! Nothing here touches a run queue. A CPU's run queue is its own; what others may know of it is a [`CpuView`], a copy that
//! may be old by the time it is read. So a decision is a wish: the CPU that has the task carries it out, or not.
//!
//! | to read | is in |
//! |---|---|
//! | which CPUs share what | [`domain`] |
//! | where a task goes that wakes or is new | [`wake`] |
//! | whether and what an idle or busy CPU pulls | [`balance`] |
//! | what tasks get that cannot be spread evenly | [`progress`] |
//! | the CPU for a real-time or deadline task | [`push`] |

pub mod balance;
pub mod domain;
pub mod progress;
pub mod push;
pub mod wake;

use crate::pelt::SCALE;

/// Most CPUs that there may be.
pub const MAX_CPUS: usize = 256;

const WORDS: usize = MAX_CPUS / 64;

/// A set of CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSet([u64; WORDS]);

impl CpuSet {
    /// No CPU.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// CPUs 0 to `count` - 1.
    pub fn first_n(count: usize) -> Self {
        (0..count.min(MAX_CPUS)).collect()
    }

    /// CPUs 0 to 63 by a bit each.
    pub const fn from_bits(bits: u64) -> Self {
        let mut words = [0; WORDS];
        words[0] = bits;
        Self(words)
    }

    /// One CPU.
    pub fn one(cpu: usize) -> Self {
        [cpu].into_iter().collect()
    }

    /// Whether `cpu` is in it.
    #[inline]
    pub fn contains(&self, cpu: usize) -> bool {
        cpu < MAX_CPUS && self.0[cpu / 64] >> (cpu % 64) & 1 != 0
    }

    /// Adds `cpu`; CPUs that cannot be are left out.
    pub fn insert(&mut self, cpu: usize) {
        if cpu < MAX_CPUS {
            self.0[cpu / 64] |= 1 << (cpu % 64);
        }
    }

    /// Takes `cpu` out.
    pub fn remove(&mut self, cpu: usize) {
        if cpu < MAX_CPUS {
            self.0[cpu / 64] &= !(1 << (cpu % 64));
        }
    }

    /// Those in both.
    pub fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// Those in this one only.
    pub fn without(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let mut words = self.0;
        core::iter::from_fn(move || {
            let word = words.iter().position(|w| *w != 0)?;
            let bit = words[word].trailing_zeros() as usize;
            words[word] &= words[word] - 1;
            Some(word * 64 + bit)
        })
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        let mut set = Self::EMPTY;
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

/// What a CPU shows of itself.
#[derive(Clone, Copy, Debug)]
pub struct CpuView {
    /// It takes part: online, and not isolated.
    pub active: bool,
    /// Tasks that run or could, of all classes.
    pub runnable: u32,
    /// The weights of its fair tasks that run or could: [`RunQueue::fair_load`](crate::RunQueue::fair_load).
    pub load: u64,
    /// How much of the CPU other classes leave to the fair one, of [`SCALE`]; not 0.
    pub capacity: u64,
    /// How far its fair tasks have come: [`Progress::virtual_ns`](progress::Progress::virtual_ns).
    pub progress: u64,
    /// The most urgent thing that runs.
    pub running: Urgency,
    /// The most urgent thing that waits and may go elsewhere.
    pub waiting: Urgency,
}

impl Default for CpuView {
    fn default() -> Self {
        Self::ABSENT
    }
}

impl CpuView {
    /// A CPU that takes no part.
    pub const ABSENT: Self = Self {
        active: false,
        runnable: 0,
        load: 0,
        capacity: SCALE,
        progress: 0,
        running: Urgency::Fair,
        waiting: Urgency::Fair,
    };

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.active && self.runnable == 0
    }
}

/// How urgent what a CPU runs is, between CPUs: deadline before real-time before the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// Fair, or nothing.
    #[default]
    Fair,
    /// Real-time, of this priority.
    Realtime(u8),
    /// Deadline, by this time in ns.
    Deadline(u64),
}

impl Urgency {
    /// Whether this comes before `other`.
    pub fn is_before(self, other: Self) -> bool {
        match (self, other) {
            (Self::Deadline(a), Self::Deadline(b)) => (a.wrapping_sub(b) as i64) < 0,
            (Self::Realtime(a), Self::Realtime(b)) => a > b,
            (a, b) => a.class() > b.class(),
        }
    }

    fn class(self) -> u8 {
        match self {
            Self::Fair => 0,
            Self::Realtime(_) => 1,
            Self::Deadline(_) => 2,
        }
    }

    /// As one word, for others to read.
    pub fn to_bits(self) -> u64 {
        match self {
            Self::Fair => 0,
            Self::Realtime(priority) => priority.into(),
            Self::Deadline(at) => DEADLINE | at,
        }
    }

    /// What [`to_bits`](Self::to_bits) made.
    pub fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::Fair,
            at if at & DEADLINE != 0 => Self::Deadline(at & !DEADLINE),
            priority => Self::Realtime(priority as u8),
        }
    }

    /// That of a node.
    pub fn of<T>(node: &crate::Node<T>) -> Self {
        match node.policy() {
            crate::Policy::Deadline(_) => Self::Deadline(node.deadline().deadline()),
            policy if policy.is_realtime() => Self::Realtime(policy.priority()),
            _ => Self::Fair,
        }
    }
}

/// Marks a deadline in [`Urgency::to_bits`]: times in ns stay below this for three hundred years.
const DEADLINE: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_urgency_is_a_word() {
        for urgency in [
            Urgency::Fair,
            Urgency::Realtime(99),
            Urgency::Deadline(0),
            Urgency::Deadline(1 << 62),
        ] {
            assert_eq!(Urgency::from_bits(urgency.to_bits()), urgency);
        }
    }

    #[test]
    fn a_set_gives_its_cpus_in_order() {
        let set: CpuSet = [200, 3, 64, 63].into_iter().collect();
        assert!(set.iter().eq([3, 63, 64, 200]));
        assert_eq!(set.len(), 4);
        assert!(set.contains(64) && !set.contains(65) && !set.contains(1000));
        assert!(set.without(&CpuSet::one(63)).iter().eq([3, 64, 200]));
        assert!(set.and(&CpuSet::first_n(64)).iter().eq([3, 63]));
    }

    #[test]
    fn deadlines_come_before_priorities_and_those_before_the_rest() {
        use Urgency::*;
        assert!(Deadline(5).is_before(Deadline(6)));
        assert!(Deadline(u64::MAX).is_before(Deadline(5)));
        assert!(Deadline(1000).is_before(Realtime(99)));
        assert!(Realtime(2).is_before(Realtime(1)) && !Realtime(1).is_before(Realtime(1)));
        assert!(Realtime(1).is_before(Fair) && !Fair.is_before(Fair));
    }
}
