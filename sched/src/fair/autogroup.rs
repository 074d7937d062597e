//! Automatic groups: each session is a group of its own, so that a build in one terminal takes no more than a shell in
//! another. Which task counts in which group is the caller's to say ([`Node::set_group`](crate::Node::set_group)).

use super::group::{MAX_SHARES, MIN_SHARES};
use crate::weight;

/// The shares that nice level `nice` of a group stands for (`/proc/PID/autogroup`).
pub fn shares_of_nice(nice: i8) -> u64 {
    weight::of_nice(nice).clamp(MIN_SHARES, MAX_SHARES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_a_groups_nice_is_a_step_of_a_tasks() {
        assert_eq!(shares_of_nice(0), 1024);
        assert_eq!(shares_of_nice(5), 335);
        assert_eq!(shares_of_nice(19), 15);
    }
}
