//! Allocation of process and thread numbers.
//!
//! One bit per number. Numbers are given out in rising order; after the greatest the search starts again at
//! [`RESERVED`], so that early numbers stay with what started the system.

use alloc::vec;
use alloc::vec::Vec;

/// A process or thread number as programs see it.
pub type Pid = i32;

/// Numbers end below this, unless `/proc/sys/kernel/pid_max` says otherwise.
pub const PID_MAX_DEFAULT: Pid = 32768;
/// The most that `pid_max` can be set to.
pub const PID_MAX_LIMIT: Pid = 4 << 20;
/// The least that `pid_max` can be set to.
pub const PID_MAX_MIN: Pid = RESERVED + 1;
/// After the first round, numbers below this are not given out.
const RESERVED: Pid = 300;

/// Which numbers are in use.
#[derive(Debug)]
pub struct PidAllocator {
    words: Vec<u64>,
    max: Pid,
    last: Pid,
    used: usize,
}

impl Default for PidAllocator {
    fn default() -> Self {
        Self::new(PID_MAX_DEFAULT)
    }
}

impl PidAllocator {
    /// An allocator of `1..max`.
    pub fn new(max: Pid) -> Self {
        PidAllocator {
            words: vec![0; (max as usize).div_ceil(64)],
            max,
            last: 0,
            used: 0,
        }
    }

    /// The first number not to be given out.
    pub fn max(&self) -> Pid {
        self.max
    }

    /// How many numbers are in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The number given out last.
    pub fn last(&self) -> Pid {
        self.last
    }

    /// Sets the limit. Numbers in use beyond it stay in use.
    ///
    /// # Errors
    /// False if `max` is out of range or memory is short.
    pub fn set_max(&mut self, max: Pid) -> bool {
        if !(PID_MAX_MIN..=PID_MAX_LIMIT).contains(&max) {
            return false;
        }
        let words = (max as usize).div_ceil(64);
        if words > self.words.len() {
            if self.words.try_reserve(words - self.words.len()).is_err() {
                return false;
            }
            self.words.resize(words, 0);
        }
        self.max = max;
        true
    }

    /// Takes the next free number after the last one; `None` if all are in use.
    pub fn allocate(&mut self) -> Option<Pid> {
        let pid = self
            .find(self.last + 1, self.max)
            .or_else(|| self.find(RESERVED, self.max.min(self.last + 1)))?;
        self.words[pid as usize / 64] |= 1 << (pid % 64);
        self.last = pid;
        self.used += 1;
        Some(pid)
    }

    /// Gives a number back.
    ///
    /// # Panics
    /// If it is not in use.
    pub fn free(&mut self, pid: Pid) {
        let word = &mut self.words[pid as usize / 64];
        assert!(*word & 1 << (pid % 64) != 0, "pid {pid} freed twice");
        *word &= !(1 << (pid % 64));
        self.used -= 1;
    }

    fn find(&self, from: Pid, to: Pid) -> Option<Pid> {
        let mut pid = from;
        while pid < to {
            let free = !self.words[pid as usize / 64] >> (pid % 64);
            if free != 0 {
                pid += free.trailing_zeros() as Pid;
                return (pid < to).then_some(pid);
            }
            pid = (pid / 64 + 1) * 64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_freed_ones_wait_for_the_next_round() {
        let mut pids = PidAllocator::default();
        assert_eq!(
            (pids.allocate(), pids.allocate(), pids.allocate()),
            (Some(1), Some(2), Some(3))
        );
        pids.free(2);
        assert_eq!(pids.allocate(), Some(4));
        assert_eq!(pids.used(), 3);
    }

    #[test]
    fn wraps_to_300_and_skips_what_is_in_use() {
        let mut pids = PidAllocator::default();
        for n in 1..PID_MAX_DEFAULT {
            assert_eq!(pids.allocate(), Some(n));
        }
        assert_eq!(pids.allocate(), None);
        pids.free(5);
        assert_eq!(pids.allocate(), None, "low numbers are reserved");
        pids.free(300);
        pids.free(5000);
        assert_eq!(pids.allocate(), Some(300));
        assert_eq!(pids.allocate(), Some(5000));
        assert_eq!(pids.allocate(), None);
    }

    #[test]
    fn the_limit_moves_within_its_range() {
        let mut pids = PidAllocator::default();
        assert!(!pids.set_max(RESERVED));
        assert!(!pids.set_max(PID_MAX_LIMIT + 1));
        assert!(pids.set_max(PID_MAX_MIN));
        for _ in 1..PID_MAX_MIN {
            assert!(pids.allocate().is_some());
        }
        assert_eq!(pids.allocate(), None);
        assert!(pids.set_max(PID_MAX_LIMIT));
        assert_eq!(pids.allocate(), Some(PID_MAX_MIN));
        assert!(pids.set_max(PID_MAX_MIN), "shrinks below what is in use");
        pids.free(PID_MAX_MIN);
    }
}
