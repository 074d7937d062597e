//! Bandwidth that admitted tasks leave unused, for those that ask for it (GRUB).
//!
//! Run time of a reclaiming task is charged at less than the time that passes, by how much of the CPU is idle:
//! `dq = max(u, Umax - Uinact - Uextra) / Umax * dt`, where `u` is the task's own share, `Uinact` that of admitted tasks
//! that are not active, and `Uextra` what nobody was admitted for (Abeni, Lipari, Parri and Sun, "Multicore CPU reclaiming:
//! parallel or sequential?", 2016; Linux, `sched-deadline.rst`, section 2.3).
//!
//! A task that waits stays active until its *0-lag time*, deadline - left * period / runtime: until then it has had no
//! less than its share, and using its bandwidth for others could make them late once it is back.

use super::params::{BW_SHIFT, BW_UNIT};

/// How many tasks' 0-lag times are told apart. Where there are more, the last ones become inactive together, at the latest
/// of their times, which reclaims less and harms nobody.
const SLOTS: usize = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    at: u64,
    bandwidth: u64,
}

/// The bandwidths on one CPU, of [`BW_UNIT`].
#[derive(Debug)]
pub(super) struct Reclaim {
    /// Of all deadline tasks of this CPU.
    total: u64,
    /// Of those that are active.
    active: u64,
    /// Active ones that wait, by their 0-lag times.
    slots: [Slot; SLOTS],
    used: usize,
    /// The most that deadline tasks may have of the CPU.
    max: u64,
    /// `BW_UNIT / max`, of [`BW_UNIT`].
    inverse_max: u64,
    /// What the CPUs have admitted too little, for each of them.
    extra: u64,
}

impl Default for Reclaim {
    fn default() -> Self {
        let max = BW_UNIT * 95 / 100;
        Self {
            total: 0,
            active: 0,
            slots: [Slot::default(); SLOTS],
            used: 0,
            max,
            inverse_max: (BW_UNIT << BW_SHIFT) / max,
            extra: max,
        }
    }
}

impl Reclaim {
    /// A task comes to this CPU, active.
    pub fn add(&mut self, bandwidth: u64) {
        self.total += bandwidth;
        self.active += bandwidth;
    }

    /// A task leaves this CPU; `active` if it was.
    pub fn remove(&mut self, bandwidth: u64, active: bool) {
        self.total = self.total.saturating_sub(bandwidth);
        if active {
            self.active = self.active.saturating_sub(bandwidth);
        }
    }

    /// All tasks leave this CPU.
    pub fn clear(&mut self) {
        (self.total, self.active, self.used) = (0, 0, 0);
    }

    /// A task waits: it stays active until `zero_lag`.
    pub fn sleep(&mut self, bandwidth: u64, zero_lag: u64, now: u64) {
        self.expire(now);
        if zero_lag <= now {
            self.active = self.active.saturating_sub(bandwidth);
            return;
        }
        if self.used == SLOTS {
            let last = &mut self.slots[SLOTS - 1];
            last.bandwidth += bandwidth;
            last.at = last.at.max(zero_lag);
            return;
        }
        let place = self.slots[..self.used].partition_point(|s| s.at <= zero_lag);
        self.slots.copy_within(place..self.used, place + 1);
        self.slots[place] = Slot {
            at: zero_lag,
            bandwidth,
        };
        self.used += 1;
    }

    /// A task wakes that was to become inactive at `zero_lag`. Whether it still was active.
    pub fn wake(&mut self, bandwidth: u64, zero_lag: u64, now: u64) -> bool {
        self.expire(now);
        let slots = &mut self.slots[..self.used];
        let mine = slots
            .iter_mut()
            .find(|s| s.at >= zero_lag && s.bandwidth >= bandwidth);
        match mine {
            Some(slot) if zero_lag > now => {
                slot.bandwidth -= bandwidth;
                true
            }
            _ => {
                self.active += bandwidth;
                false
            }
        }
    }

    /// Lets those become inactive whose time has come.
    fn expire(&mut self, now: u64) {
        let due = self.slots[..self.used].partition_point(|s| s.at <= now);
        if due == 0 {
            return;
        }
        let gone: u64 = self.slots[..due].iter().map(|s| s.bandwidth).sum();
        self.active = self.active.saturating_sub(gone);
        self.slots.copy_within(due..self.used, 0);
        self.used -= due;
    }

    /// What the run time of a reclaiming task with share `bandwidth` is charged, of [`BW_UNIT`].
    pub fn rate(&mut self, bandwidth: u64, now: u64) -> u64 {
        self.expire(now);
        let inactive = self.total.saturating_sub(self.active);
        let needed = self.max.saturating_sub(inactive + self.extra);
        (needed.max(bandwidth).min(self.max) * self.inverse_max) >> BW_SHIFT
    }

    /// Sets what the CPUs have not admitted, for each of them.
    pub fn set_limits(&mut self, max: u64, extra: u64) {
        self.max = max.clamp(1, BW_UNIT);
        self.inverse_max = (BW_UNIT << BW_SHIFT) / self.max;
        self.extra = extra.min(self.max);
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn active(&self) -> u64 {
        self.active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_task_is_active_until_its_zero_lag_time() {
        let mut r = Reclaim::default();
        r.add(300);
        r.add(200);
        r.sleep(300, 1000, 500);
        r.rate(200, 999);
        assert_eq!(r.active(), 500);
        r.rate(200, 1000);
        assert_eq!((r.active(), r.total()), (200, 500));
        assert!(!r.wake(300, 1000, 1500));
        r.sleep(300, 3000, 2000);
        assert!(r.wake(300, 3000, 2500));
        r.rate(200, 5000);
        assert_eq!(r.active(), 500);
    }

    #[test]
    fn more_waiting_tasks_than_slots_stay_active_longer_never_shorter() {
        let mut r = Reclaim::default();
        for i in 0..100 {
            r.add(10);
            r.sleep(10, 1000 + i, 0);
        }
        r.rate(10, 1031);
        assert!(r.active() >= 10 * 68);
        r.rate(10, 1099);
        assert_eq!(r.active(), 0);
    }

    #[test]
    fn the_rate_is_the_share_at_least_and_all_at_most() {
        let mut r = Reclaim::default();
        // Half a CPU's worth admitted, all of it active, nothing extra: no reclaiming beyond Umax.
        r.set_limits(BW_UNIT, BW_UNIT / 2);
        r.add(BW_UNIT / 4);
        r.add(BW_UNIT / 4);
        assert_eq!(r.rate(BW_UNIT / 4, 0), BW_UNIT / 2);
        // The other one gone inactive: only its own share is charged.
        r.sleep(BW_UNIT / 4, 0, 0);
        assert_eq!(r.rate(BW_UNIT / 4, 0), BW_UNIT / 4);
    }
}
