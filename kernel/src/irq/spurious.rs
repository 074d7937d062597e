//! Interrupts that nobody answers: a line that does little else is shut off before it eats a CPU.
//!
//! As Linux's `note_interrupt`: of every 100,000 interrupts, more than 99,900 unanswered ones mean a stuck line. A few
//! stray ones among long silences do not add up.

use super::action::Answer;

/// After this many interrupts the unanswered ones are judged.
const WINDOW: u32 = 100_000;
/// More unanswered ones than this in a window, and the line is stuck.
const STUCK: u32 = 99_900;
/// Unanswered interrupts further apart than this are counted from one again.
const APART_NS: u64 = 100_000_000;

/// The counts of one line.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Interrupts in this window.
    pub count: u32,
    /// Unanswered ones in this window.
    pub unhandled: u32,
    /// When the last unanswered one came, in ns since boot.
    pub last_unhandled_ns: u64,
    /// How often tasks had answered when last looked at.
    answered_seen: u32,
    /// An interrupt only woke tasks, and is judged by the next one.
    deferred: bool,
}

impl Counts {
    /// Notes an interrupt that was answered with `answer`; the line's tasks have answered `answered` times in all. True if
    /// the line is to be shut off.
    pub fn note(&mut self, answer: Answer, answered: u32, now_ns: impl FnOnce() -> u64) -> bool {
        let mut unhandled = answer == Answer::NONE;
        if answer == Answer::WAKE_THREAD {
            // Whether it was answered is known only when its task has run: by the next interrupt, at the soonest.
            if !core::mem::replace(&mut self.deferred, true) {
                self.answered_seen = answered;
                return false;
            }
            unhandled = answered == self.answered_seen;
            self.answered_seen = answered;
        } else if answer.has(Answer::WAKE_THREAD) {
            self.deferred = false;
        }
        if unhandled {
            let now_ns = now_ns();
            let apart = now_ns.saturating_sub(self.last_unhandled_ns) > APART_NS;
            self.unhandled = if apart { 1 } else { self.unhandled + 1 };
            self.last_unhandled_ns = now_ns;
        }
        self.count += 1;
        if self.count < WINDOW {
            return false;
        }
        self.count = 0;
        core::mem::take(&mut self.unhandled) > STUCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(counts: &mut Counts, times: u32, every_ns: u64, answer: impl Fn(u32) -> Answer) -> u32 {
        let stuck = |at: &u32| counts.note(answer(*at), 0, || u64::from(*at) * every_ns);
        (1..=times).filter(stuck).count() as u32
    }

    #[test]
    fn a_line_that_nobody_answers_is_stuck_after_a_window() {
        let mut counts = Counts::default();
        assert_eq!(run(&mut counts, WINDOW - 1, 1000, |_| Answer::NONE), 0);
        assert!(counts.note(Answer::NONE, 0, || 1_000_000));
        assert_eq!((counts.count, counts.unhandled), (0, 0));
    }

    #[test]
    fn one_answer_in_a_thousand_is_enough() {
        let answer = |at| {
            if at % 1000 == 0 {
                Answer::HANDLED
            } else {
                Answer::NONE
            }
        };
        assert_eq!(run(&mut Counts::default(), 10 * WINDOW, 1000, answer), 0);
        let answer = |at| {
            if at % 1001 == 0 {
                Answer::HANDLED
            } else {
                Answer::NONE
            }
        };
        assert!(run(&mut Counts::default(), 10 * WINDOW, 1000, answer) > 0);
    }

    #[test]
    fn stray_ones_far_apart_do_not_add_up() {
        let mut counts = Counts::default();
        assert_eq!(
            run(&mut counts, 3 * WINDOW, APART_NS + 1, |_| Answer::NONE),
            0
        );
        assert!(counts.unhandled <= 1);
    }

    #[test]
    fn tasks_that_answer_late_count_and_those_that_do_not_do_not() {
        let mut counts = Counts::default();
        let stuck =
            (0..3 * WINDOW).any(|at| counts.note(Answer::WAKE_THREAD, at, || u64::from(at)));
        assert!(!stuck);
        let stuck = (0..3 * WINDOW).any(|at| counts.note(Answer::WAKE_THREAD, 7, || u64::from(at)));
        assert!(stuck);
    }
}
