//! A thread's scheduling attributes as programs set and read them, and who may change which.
//!
//! Source: sched(7), sched_setscheduler(2), sched_setattr(2); the order of the checks is that of Linux's
//! `__sched_setscheduler`.

use core::sync::atomic::{AtomicU64, Ordering};

use executor::sync::SpinLockIrq;
use fs::Errno;
use sched::dl::Params;

/// The greatest real-time priority.
pub const MAX_PRIORITY: u32 = 99;
/// Nice levels.
pub const NICE_MIN: i32 = -20;
/// As [`NICE_MIN`].
pub const NICE_MAX: i32 = 19;

/// A policy by its number in sched(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of sched(7)")]
pub enum Kind {
    Other = 0,
    Fifo = 1,
    RoundRobin = 2,
    Batch = 3,
    Idle = 5,
    Deadline = 6,
}

impl Kind {
    /// The policy with this number.
    pub fn from_number(number: i32) -> Option<Kind> {
        Some(match number {
            0 => Kind::Other,
            1 => Kind::Fifo,
            2 => Kind::RoundRobin,
            3 => Kind::Batch,
            5 => Kind::Idle,
            6 => Kind::Deadline,
            _ => return None,
        })
    }

    /// Whether its threads have a priority.
    pub fn is_realtime(self) -> bool {
        matches!(self, Kind::Fifo | Kind::RoundRobin)
    }

    /// Whether its threads are told apart by their nice level.
    fn is_fair(self) -> bool {
        matches!(self, Kind::Other | Kind::Batch)
    }
}

/// What a thread's scheduling is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The policy.
    pub kind: Kind,
    /// The nice level, kept while the policy does not heed it.
    pub nice: i8,
    /// The real-time priority; 0 for the other policies.
    pub priority: u8,
    /// Children get none of the privileged attributes (`SCHED_RESET_ON_FORK`).
    pub reset_on_fork: bool,
    /// What a deadline thread asks for; of no meaning for others.
    pub deadline: Params,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            kind: Kind::Other,
            nice: 0,
            priority: 0,
            reset_on_fork: false,
            deadline: Params::default(),
        }
    }
}

impl Attributes {
    /// What a deadline thread asks for; `None` for others.
    pub fn deadline(&self) -> Option<&Params> {
        (self.kind == Kind::Deadline).then_some(&self.deadline)
    }

    /// As the scheduler takes it.
    pub fn policy(self) -> sched::Policy {
        let (nice, priority) = (self.nice, self.priority);
        match self.kind {
            Kind::Other => sched::Policy::Normal { nice },
            Kind::Fifo => sched::Policy::Fifo { priority },
            Kind::RoundRobin => sched::Policy::RoundRobin { priority },
            Kind::Batch => sched::Policy::Batch { nice },
            Kind::Idle => sched::Policy::Idle { nice },
            Kind::Deadline => sched::Policy::Deadline(self.deadline),
        }
    }

    /// Those of a child.
    pub fn forked(mut self) -> Self {
        if self.reset_on_fork {
            self.reset_on_fork = false;
            if self.kind.is_realtime() || self.kind == Kind::Deadline {
                (self.kind, self.priority, self.nice) = (Kind::Other, 0, 0);
            }
            self.nice = self.nice.max(0);
        }
        self
    }

    /// The priority that `stat` in proc(5) shows: 20 and the nice level, or below 0 for real-time and deadline policies.
    pub fn shown_priority(self) -> i32 {
        match self.kind {
            Kind::Deadline => -101,
            kind if kind.is_realtime() => -1 - i32::from(self.priority),
            _ => 20 + i32::from(self.nice),
        }
    }

    fn to_bits(self) -> u64 {
        u64::from(self.nice as u8)
            | u64::from(self.priority) << 8
            | (self.kind as u64) << 16
            | u64::from(self.reset_on_fork) << 24
    }

    /// What [`to_bits`](Self::to_bits) holds: all but the parameters of a deadline thread.
    fn from_bits(bits: u64) -> Self {
        Self {
            deadline: Params::default(),
            nice: bits as u8 as i8,
            priority: (bits >> 8) as u8,
            kind: Kind::from_number((bits >> 16) as u8 as i32).expect("written by `to_bits`"),
            reset_on_fork: bits >> 24 & 1 != 0,
        }
    }
}

/// [`Attributes`] that others may look at while they change.
///
/// # Context
/// Any, for all methods; reading locks for deadline threads only.
#[derive(Debug)]
pub struct SharedAttributes {
    /// All but the parameters of a deadline thread. Written under the lock.
    bits: AtomicU64,
    deadline: SpinLockIrq<Params>,
}

impl Default for SharedAttributes {
    fn default() -> Self {
        Self {
            bits: AtomicU64::new(Attributes::default().to_bits()),
            deadline: SpinLockIrq::new(Params::default()),
        }
    }
}

impl SharedAttributes {
    /// What they are.
    pub fn get(&self) -> Attributes {
        let seen = self.load();
        if seen.kind != Kind::Deadline {
            return seen;
        }
        let deadline = self.deadline.lock();
        Attributes {
            deadline: *deadline,
            ..self.load()
        }
    }

    fn load(&self) -> Attributes {
        Attributes::from_bits(self.bits.load(Ordering::Acquire))
    }

    /// Sets them.
    pub fn set(&self, attributes: Attributes) {
        self.store(&mut self.deadline.lock(), attributes);
    }

    /// Replaces them by what `change` makes of them, which is called once, with interrupts masked.
    ///
    /// # Errors
    /// Those of `change`; then they stay.
    pub fn try_change<E>(
        &self,
        change: impl FnOnce(Attributes) -> Result<Attributes, E>,
    ) -> Result<(), E> {
        let mut deadline = self.deadline.lock();
        let new = change(Attributes {
            deadline: *deadline,
            ..self.load()
        })?;
        self.store(&mut deadline, new);
        Ok(())
    }

    fn store(&self, deadline: &mut Params, attributes: Attributes) {
        *deadline = attributes.deadline;
        self.bits.store(attributes.to_bits(), Ordering::Release);
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The policy's number, as given; `None` to keep it.
    pub policy: Option<i32>,
    /// Nice level, already within bounds; `None` to keep it.
    pub nice: Option<i8>,
    /// Priority, as given; `None` to keep it, and with it the policy, though that one is checked (`SCHED_FLAG_KEEP_PARAMS`).
    pub priority: Option<u32>,
    /// What a deadline thread is to have, if it was given and is valid.
    pub deadline: Option<Params>,
    /// Whether children are to get the usual attributes; goes with a policy only.
    pub reset_on_fork: bool,
}

/// What the caller may do to the thread in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// `CAP_SYS_NICE`.
    pub privileged: bool,
    /// The thread is of the caller's user.
    pub own: bool,
    /// The thread's `RLIMIT_RTPRIO`.
    pub priority_limit: u64,
    /// The thread's `RLIMIT_NICE`.
    pub nice_limit: u64,
}

impl Rights {
    /// Whether `RLIMIT_NICE` reaches down to `nice`.
    pub fn reach_nice(&self, nice: i8) -> bool {
        (20 - i64::from(nice)) as u64 <= self.nice_limit
    }

    fn permit(&self, from: Attributes, to: Attributes) -> bool {
        if self.privileged {
            return true;
        }
        let better = to.kind.is_fair() && to.nice < from.nice && !self.reach_nice(to.nice);
        let realtime = to.kind.is_realtime()
            && ((to.kind != from.kind && self.priority_limit == 0)
                || (to.priority > from.priority && u64::from(to.priority) > self.priority_limit));
        // Leaving the idle policy is as good as a better nice level.
        let leaves_idle =
            from.kind == Kind::Idle && to.kind != Kind::Idle && !self.reach_nice(from.nice);
        let unresets = from.reset_on_fork && !to.reset_on_fork;
        let deadline = to.kind == Kind::Deadline;
        self.own && !better && !realtime && !deadline && !leaves_idle && !unresets
    }
}

/// What becomes of `from` as `wanted`.
///
/// # Errors
/// `EINVAL` for an unknown policy, or a priority or parameters that do not go with it; `EPERM`.
pub fn change(from: Attributes, wanted: &Wanted, rights: &Rights) -> Result<Attributes, Errno> {
    let mut to = from;
    if let Some(policy) = wanted.policy {
        to.kind = Kind::from_number(policy).ok_or(Errno::EINVAL)?;
        to.reset_on_fork = wanted.reset_on_fork;
    }
    let priority = wanted.priority.unwrap_or(u32::from(from.priority));
    if priority > MAX_PRIORITY || to.kind.is_realtime() != (priority != 0) {
        return Err(Errno::EINVAL);
    }
    to.priority = priority as u8;
    if to.kind == Kind::Deadline {
        let kept = from.deadline().filter(|_| wanted.priority.is_none());
        to.deadline = kept.copied().or(wanted.deadline).ok_or(Errno::EINVAL)?;
    }
    if to.kind.is_fair() {
        to.nice = wanted.nice.unwrap_or(from.nice);
    }
    if !rights.permit(from, to) {
        return Err(Errno::EPERM);
    }
    Ok(match wanted.priority {
        Some(_) => to,
        None => Attributes {
            reset_on_fork: to.reset_on_fork,
            ..from
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Rights = Rights {
        privileged: false,
        own: true,
        priority_limit: 0,
        nice_limit: 0,
    };
    const ROOT: Rights = Rights {
        privileged: true,
        own: false,
        ..NOBODY
    };

    fn policy(number: i32, priority: u32) -> Wanted {
        Wanted {
            policy: Some(number),
            nice: None,
            priority: Some(priority),
            deadline: None,
            reset_on_fork: false,
        }
    }

    fn of(kind: Kind, priority: u8) -> Attributes {
        Attributes {
            kind,
            priority,
            ..Attributes::default()
        }
    }

    #[test]
    fn a_priority_goes_with_a_realtime_policy_and_no_other() {
        let from = Attributes::default();
        for (number, priority, good) in [
            (0, 0, true),
            (0, 1, false),
            (1, 0, false),
            (1, 1, true),
            (1, 99, true),
            (1, 100, false),
            (2, u32::MAX, false),
            (3, 0, true),
            (3, 1, false),
            (4, 0, false),
            (5, 0, true),
            (6, 0, false),
            (7, 0, false),
            (-7, 0, false),
        ] {
            let result = change(from, &policy(number, priority), &ROOT);
            assert_eq!(result.is_ok(), good, "{number} {priority}");
            assert!(good || result == Err(Errno::EINVAL));
        }
    }

    #[test]
    fn the_limit_on_priorities_lets_users_go_as_far() {
        let limited = Rights {
            priority_limit: 10,
            ..NOBODY
        };
        let from = Attributes::default();
        assert_eq!(change(from, &policy(1, 1), &NOBODY), Err(Errno::EPERM));
        assert_eq!(
            change(from, &policy(1, 10), &limited),
            Ok(of(Kind::Fifo, 10))
        );
        assert_eq!(change(from, &policy(1, 11), &limited), Err(Errno::EPERM));
        // Who has more already may keep or lower it, within its policy even without a limit.
        let high = of(Kind::Fifo, 50);
        assert!(change(high, &policy(1, 49), &NOBODY).is_ok());
        assert!(change(high, &policy(2, 50), &limited).is_ok());
        assert_eq!(change(high, &policy(2, 50), &NOBODY), Err(Errno::EPERM));
        assert_eq!(change(high, &policy(1, 51), &limited), Err(Errno::EPERM));
    }

    #[test]
    fn others_threads_are_for_the_privileged() {
        let foreign = Rights {
            own: false,
            ..NOBODY
        };
        let from = Attributes::default();
        assert_eq!(change(from, &policy(0, 0), &foreign), Err(Errno::EPERM));
        assert!(change(from, &policy(2, 7), &ROOT).is_ok());
    }

    #[test]
    fn nobody_leaves_the_idle_policy_or_a_nice_level_without_the_right_to() {
        let nice = |nice| Wanted {
            nice: Some(nice),
            ..policy(3, 0)
        };
        let idle = of(Kind::Idle, 0);
        assert_eq!(change(idle, &policy(0, 0), &NOBODY), Err(Errno::EPERM));
        let limited = Rights {
            nice_limit: 20,
            ..NOBODY
        };
        assert!(change(idle, &policy(0, 0), &limited).is_ok());
        let from = Attributes::default();
        assert_eq!(change(from, &nice(-1), &limited), Err(Errno::EPERM));
        assert_eq!(change(from, &nice(5), &NOBODY).map(|a| a.nice), Ok(5));
        assert_eq!(change(from, &nice(-5), &ROOT).map(|a| a.nice), Ok(-5));
    }

    #[test]
    fn children_of_a_reset_thread_are_usual() {
        let reset = |kind, priority, nice| Attributes {
            nice,
            reset_on_fork: true,
            ..of(kind, priority)
        };
        assert_eq!(reset(Kind::Fifo, 9, -3).forked(), Attributes::default());
        assert_eq!(reset(Kind::Other, 0, -3).forked(), Attributes::default());
        assert_eq!(reset(Kind::Batch, 0, 4).forked().nice, 4);
        assert_eq!(of(Kind::Fifo, 9).forked(), of(Kind::Fifo, 9));
        let mut wanted = policy(0, 0);
        assert_eq!(
            change(reset(Kind::Other, 0, 0), &wanted, &NOBODY),
            Err(Errno::EPERM)
        );
        wanted.reset_on_fork = true;
        assert!(change(reset(Kind::Other, 0, 0), &wanted, &NOBODY).is_ok());
    }

    #[test]
    fn deadline_threads_are_for_the_privileged_and_keep_their_parameters() {
        let params = |runtime| {
            let flags = sched::dl::Flags::default();
            Params::new(runtime, 10_000_000, 0, flags).expect("valid")
        };
        let wanted = |runtime| Wanted {
            deadline: Some(params(runtime)),
            ..policy(6, 0)
        };
        let from = Attributes::default();
        assert_eq!(change(from, &wanted(2000), &NOBODY), Err(Errno::EPERM));
        let to = change(from, &wanted(2000), &ROOT).expect("it may");
        assert_eq!(to.deadline(), Some(&params(2000)));
        assert_eq!(to.shown_priority(), -101);
        // Another policy does not count them, and keeping parameters keeps the policy.
        assert_eq!(
            change(to, &policy(0, 0), &NOBODY).map(|a| a.deadline().is_some()),
            Ok(false)
        );
        let keeps = Wanted {
            priority: None,
            deadline: None,
            ..wanted(4000)
        };
        assert_eq!(change(to, &keeps, &ROOT), Ok(to));
        let reset = Attributes {
            reset_on_fork: true,
            ..to
        };
        assert_eq!(reset.forked().kind, Kind::Other);
        let cell = SharedAttributes::default();
        cell.set(to);
        assert_eq!(cell.get(), to);
    }

    #[test]
    fn bits_hold_everything() {
        let cell = SharedAttributes::default();
        assert_eq!(cell.get(), Attributes::default());
        let all = Attributes {
            nice: -20,
            reset_on_fork: true,
            ..of(Kind::RoundRobin, 99)
        };
        cell.set(all);
        assert_eq!(cell.get(), all);
        assert_eq!(cell.try_change(|_| Err(1)), Err(1));
        assert_eq!(cell.get(), all);
        assert_eq!(all.shown_priority(), -100);
    }
}
