//! Leap seconds: asked for during a day, made at its end.

use super::timex::sta;
use super::{Ntp, State};

pub(super) const DAY: i64 = 86_400;

/// What the clock's owner has to do at the end of a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leap {
    /// Nothing.
    None,
    /// Set the time of day back by one second.
    Insert,
    /// Set it forward by one.
    Delete,
}

impl Ntp {
    /// Goes on to what second `now` is, as far as a leap is concerned.
    pub(super) fn leap(&mut self, now: i64) -> Leap {
        let wants = |bit: i32| self.status & bit != 0;
        match self.state {
            State::Ok if wants(sta::INS) => {
                self.state = State::Insert;
                self.next_leap = now + DAY - now.rem_euclid(DAY);
            }
            State::Ok if wants(sta::DEL) => {
                self.state = State::Delete;
                self.next_leap = now + DAY - (now + 1).rem_euclid(DAY);
            }
            State::Insert if !wants(sta::INS) => self.forget_leap(State::Ok),
            State::Delete if !wants(sta::DEL) => self.forget_leap(State::Ok),
            State::Insert if now >= self.next_leap => {
                self.state = State::InProgress;
                self.tai += 1;
                return Leap::Insert;
            }
            State::Delete if now >= self.next_leap => {
                self.forget_leap(State::Waiting);
                self.tai -= 1;
                return Leap::Delete;
            }
            State::InProgress => self.forget_leap(State::Waiting),
            State::Waiting if !wants(sta::INS | sta::DEL) => self.state = State::Ok,
            _ => {}
        }
        Leap::None
    }

    fn forget_leap(&mut self, next: State) {
        self.state = next;
        self.next_leap = i64::MAX;
    }
}
