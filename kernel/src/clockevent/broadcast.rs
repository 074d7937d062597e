//! One device for many CPUs.

use core::fmt;

use crate::irq::CpuSet;

/// As many CPUs as can be served.
const CPUS: usize = 64;
/// No deadline.
const NEVER: u64 = u64::MAX;

/// When each CPU that has no running device of its own wants to be interrupted, for the one device that serves them all.
pub struct Broadcast {
    deadlines: [u64; CPUS],
    /// What the device is set for; early interrupts do no harm, late ones do.
    next: u64,
    /// How often the device interrupted.
    events: u64,
}

impl Default for Broadcast {
    fn default() -> Self {
        Self::new()
    }
}

impl Broadcast {
    /// Nobody wants anything.
    pub const fn new() -> Self {
        Self {
            deadlines: [NEVER; CPUS],
            next: NEVER,
            events: 0,
        }
    }

    /// Notes that CPU `cpu` wants to be interrupted at `deadline` (ns), in place of what it wanted; `u64::MAX` for never.
    /// Gives what the device is to be set for, if that is sooner than before.
    pub fn ask(&mut self, cpu: u32, deadline: u64) -> Option<u64> {
        *self.deadlines.get_mut(cpu as usize)? = deadline;
        if deadline >= self.next {
            return None;
        }
        self.next = deadline;
        Some(deadline)
    }

    /// The device has interrupted at `now` (ns): the CPUs whose time has come, who want nothing any more, and what the
    /// device is to be set for.
    pub fn expire(&mut self, now: u64) -> (CpuSet, Option<u64>) {
        self.events += 1;
        let mut due = 0;
        self.next = NEVER;
        for (cpu, deadline) in self.deadlines.iter_mut().enumerate() {
            if *deadline <= now {
                *deadline = NEVER;
                due |= 1 << cpu;
            }
            self.next = self.next.min(*deadline);
        }
        (due, (self.next != NEVER).then_some(self.next))
    }

    /// What the device is set for, in ns; `u64::MAX` for nothing.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How often the device has interrupted.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The CPUs that want to be interrupted.
    pub fn waiting(&self) -> CpuSet {
        let waiting = self.deadlines.iter().enumerate();
        let waiting = waiting.filter(|(_, deadline)| **deadline != NEVER);
        waiting.fold(0, |set, (cpu, _)| set | 1 << cpu)
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
