//! For how long a CPU kept others waiting: polls, and sections with interrupts or preemption off.
//!
//! Nothing is measured until [`CpuShared::begin_latency`](super::CpuShared::begin_latency). Polls are looked at where they
//! end, which the executor does anyway. Sections begin and end in single instructions that look at nothing; a machine that
//! wants them measured has those instructions call [`Latency::note`] instead ([`crate::cpu::sites`]).
//!
//! Contexts: a CPU notes what happens on it with interrupts masked; any CPU may read, or begin anew.

use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(any(target_os = "none", test))]
use crate::cpu;

/// Statistics are not part of the models.
type Count = AtomicU64;

/// What happens on a CPU that may begin or end a section.
#[cfg(any(target_os = "none", test))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The word of rule 7 changes.
    Word {
        /// From this.
        before: u32,
        /// To this.
        after: u32,
    },
    /// Interrupts are masked from now on, or may be let in from now on, as it goes with the event.
    Interrupts,
    /// A user program is entered.
    EnterUser,
}

/// The longest section of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// How long it was in ns; 0 if none was seen.
    pub ns: u64,
    /// The address behind the instruction that began it.
    pub from: u64,
    /// The address behind the instruction that ended it.
    pub to: u64,
}

/// What [`CpuShared::latency`](super::CpuShared::latency) gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollLatency {
    /// Polls that were suspended.
    pub suspensions: u64,
    /// Polls that were to be suspended, but there was no stack.
    pub refusals: u64,
    /// The longest time in ns for which a task was polled without making way or entering a user program.
    pub longest_ns: u64,
    /// The address of the function that polled it, which names the future's type; 0 if there was none.
    pub longest_poll: u64,
    /// The longest section with interrupts masked, handlers of interrupts included.
    pub irqs_off: Stretch,
    /// The longest section with preemption off, softirqs included.
    pub preempt_off: Stretch,
}

/// Sections of one kind on one CPU.
#[derive(Debug, Default)]
struct Section {
    /// When the current one began in ns; 0 for none.
    since: Count,
    #[cfg(any(target_os = "none", test))]
    from: Count,
    longest_ns: Count,
    longest_from: Count,
    longest_to: Count,
}

fn get(count: &Count) -> u64 {
    count.load(Ordering::Relaxed)
}

fn set(count: &Count, value: u64) {
    count.store(value, Ordering::Relaxed);
}

#[cfg(any(target_os = "none", test))]
impl Section {
    fn begin(&self, now: u64, at: u64) {
        set(&self.since, now);
        set(&self.from, at);
    }

    fn end(&self, now: u64, at: u64) {
        let since = self.since.swap(0, Ordering::Relaxed);
        let ns = now.saturating_sub(since);
        if since != 0 && ns > get(&self.longest_ns) {
            set(&self.longest_ns, ns);
            set(&self.longest_from, get(&self.from));
            set(&self.longest_to, at);
        }
    }

    fn is_open(&self) -> bool {
        get(&self.since) != 0
    }
}

impl Section {
    fn longest(&self) -> Stretch {
        Stretch {
            ns: get(&self.longest_ns),
            from: get(&self.longest_from),
            to: get(&self.longest_to),
        }
    }

    fn reset(&self) {
        for count in [
            &self.since,
            &self.longest_ns,
            &self.longest_from,
            &self.longest_to,
        ] {
            set(count, 0);
        }
    }
}

/// A poll that is longer than any: none is.
const NOT_MEASURED: u64 = u64::MAX;

/// What is known of one CPU.
#[derive(Debug)]
pub(super) struct Latency {
    pub(super) suspensions: Count,
    pub(super) refusals: Count,
    /// [`NOT_MEASURED`], so that the look at a poll's end is the same whether polls are measured or not.
    pub(super) longest_ns: Count,
    longest_poll: Count,
    /// When a user program was entered in ns; 0 if the kernel was entered since.
    in_user: Count,
    /// When the kernel was last entered from a user program.
    entered: Count,
    irqs: Section,
    preempt: Section,
}

impl Default for Latency {
    fn default() -> Self {
        let count = || Count::new(0);
        Self {
            suspensions: count(),
            refusals: count(),
            longest_ns: Count::new(NOT_MEASURED),
            longest_poll: count(),
            in_user: count(),
            entered: count(),
            irqs: Section::default(),
            preempt: Section::default(),
        }
    }
}

impl Latency {
    pub(super) fn read(&self) -> PollLatency {
        let longest_ns = get(&self.longest_ns);
        PollLatency {
            suspensions: get(&self.suspensions),
            refusals: get(&self.refusals),
            longest_ns: if longest_ns == NOT_MEASURED {
                0
            } else {
                longest_ns
            },
            longest_poll: get(&self.longest_poll),
            irqs_off: self.irqs.longest(),
            preempt_off: self.preempt.longest(),
        }
    }

    /// Forgets what was seen, and measures from `now` on; or nothing more, if there is none.
    pub(super) fn begin(&self, now: Option<u64>) {
        for count in [
            &self.suspensions,
            &self.refusals,
            &self.longest_poll,
            &self.in_user,
        ] {
            set(count, 0);
        }
        self.irqs.reset();
        self.preempt.reset();
        set(&self.entered, now.unwrap_or(0));
        set(&self.longest_ns, now.map_or(NOT_MEASURED, |_| 0));
    }

    /// A poll by the function at `poll` goes on since `since`, and ends or enters a user program.
    pub(super) fn poll_ends(&self, since: u64, now: u64, poll: impl Fn() -> usize) {
        // Before that it was in a user program, or nothing was measured.
        let since = since.max(get(&self.entered));
        let ns = now.saturating_sub(since);
        if ns > get(&self.longest_ns) {
            set(&self.longest_ns, ns);
            set(&self.longest_poll, poll() as u64);
        }
    }

    /// Notes what happens at `now` in the instruction in front of `at`. `irqs_on` is whether interrupts are let in from then
    /// on.
    ///
    /// # Context
    /// This CPU, interrupts masked.
    #[cfg(any(target_os = "none", test))]
    pub(super) fn note(&self, event: Event, irqs_on: bool, at: u64, now: u64) {
        if get(&self.in_user) != 0 {
            set(&self.in_user, 0);
            set(&self.entered, now);
        }
        match event {
            Event::Word { before, after } => {
                // Interrupts come only where they are let in, whatever was seen of that.
                if cpu::begins_hardirq(before, after) && self.irqs.is_open() {
                    self.irqs.end(now, at);
                }
                match (cpu::holds_preemption(before), cpu::holds_preemption(after)) {
                    (false, true) => self.preempt.begin(now, at),
                    (true, false) => self.preempt.end(now, at),
                    _ => {}
                }
            }
            Event::Interrupts => {}
            Event::EnterUser => set(&self.in_user, now),
        }
        match (irqs_on, self.irqs.is_open()) {
            (false, false) => self.irqs.begin(now, at),
            (true, true) => self.irqs.end(now, at),
            _ => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::cpu::{HARDIRQ, PREEMPT, SOFTIRQ};

    fn word(before: u32, after: u32) -> Event {
        Event::Word { before, after }
    }

    fn measured() -> Latency {
        let latency = Latency::default();
        latency.begin(Some(1));
        latency
    }

    #[test]
    fn nested_guards_are_one_section_from_the_first_to_the_last() {
        let latency = measured();
        latency.note(word(0, PREEMPT), true, 0x10, 100);
        latency.note(word(PREEMPT, 2 * PREEMPT), true, 0x20, 110);
        latency.note(word(2 * PREEMPT, PREEMPT), true, 0x30, 150);
        latency.note(word(PREEMPT, 2 * SOFTIRQ + PREEMPT), true, 0x40, 160);
        latency.note(word(2 * SOFTIRQ + PREEMPT, 2 * SOFTIRQ), true, 0x50, 170);
        latency.note(word(2 * SOFTIRQ, 0), true, 0x60, 180);
        let (ns, from, to) = (80, 0x10, 0x60);
        assert_eq!(latency.read().preempt_off, Stretch { ns, from, to });
        assert_eq!(latency.read().irqs_off, Stretch::default());
        // A shorter one does not count.
        latency.note(word(0, PREEMPT), true, 0x70, 200);
        latency.note(word(PREEMPT, 0), true, 0x80, 279);
        assert_eq!(latency.read().preempt_off, Stretch { ns, from, to });
    }

    #[test]
    fn interrupts_are_off_from_where_it_was_seen_to_where_they_come_on() {
        let latency = measured();
        latency.note(Event::Interrupts, false, 0x10, 100);
        latency.note(word(0, PREEMPT), false, 0x20, 120);
        latency.note(word(PREEMPT, 0), true, 0x30, 150);
        let (ns, from, to) = (50, 0x10, 0x30);
        assert_eq!(latency.read().irqs_off, Stretch { ns, from, to });
        assert_eq!(latency.read().preempt_off.ns, 30);
    }

    #[test]
    fn an_interrupt_is_a_section_and_ends_one_whose_end_was_not_seen() {
        let latency = measured();
        latency.note(Event::Interrupts, false, 0x10, 100);
        latency.note(word(0, HARDIRQ), false, 0x20, 130);
        latency.note(word(HARDIRQ, HARDIRQ + PREEMPT), false, 0x30, 140);
        latency.note(word(HARDIRQ + PREEMPT, HARDIRQ), false, 0x40, 150);
        latency.note(word(HARDIRQ, 0), false, 0x50, 170);
        latency.note(Event::Interrupts, true, 0x60, 180);
        let (ns, from, to) = (50, 0x20, 0x60);
        assert_eq!(latency.read().irqs_off, Stretch { ns, from, to });
        assert_eq!(latency.read().preempt_off.ns, 10);
    }

    #[test]
    fn user_programs_are_no_part_of_a_poll() {
        let latency = measured();
        // A poll that began at 100 enters a program at 130, is interrupted at 1000, and ends at 1020.
        latency.note(Event::EnterUser, true, 0x10, 130);
        latency.poll_ends(100, 130, || 7);
        latency.note(word(0, HARDIRQ), false, 0x20, 1000);
        latency.note(Event::Interrupts, true, 0x30, 1010);
        latency.poll_ends(100, 1020, || 8);
        let read = latency.read();
        assert_eq!((read.longest_ns, read.longest_poll), (30, 7));
        assert_eq!(read.irqs_off.ns, 10);
    }

    #[test]
    fn nothing_is_measured_before_it_begins_nor_after_it_ends() {
        let latency = Latency::default();
        latency.poll_ends(0, 1_000, || 7);
        assert_eq!(latency.read(), PollLatency::default());
        // What was open before is not counted from then on.
        latency.note(word(0, PREEMPT), true, 0x10, 50);
        latency.begin(Some(1_000));
        latency.note(word(PREEMPT, 0), true, 0x20, 2_000);
        latency.poll_ends(0, 1_100, || 7);
        assert_eq!(latency.read().preempt_off.ns, 0);
        assert_eq!(latency.read().longest_ns, 100);
        latency.begin(None);
        latency.poll_ends(1_200, 5_000, || 7);
        assert_eq!(latency.read(), PollLatency::default());
    }
}
