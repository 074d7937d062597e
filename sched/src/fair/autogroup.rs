//! Automatic groups: each session is a group of its own, so that a build in one terminal takes no more than a shell in
//! another.

use super::group::{GroupId, MAX_SHARES, MIN_SHARES};
use crate::policy::Policy;
use crate::weight;

/// The shares that nice level `nice` of a group stands for (`/proc/PID/autogroup`).
pub fn shares_of_nice(nice: i8) -> u64 {
    weight::of_nice(nice).clamp(MIN_SHARES, MAX_SHARES)
}

/// The group in which a task counts: that of its session, if automatic groups are on, it is a fair one, and it was put into
/// no group by hand.
pub fn group_of(enabled: bool, policy: Policy, own: GroupId, session: Option<GroupId>) -> GroupId {
    match session {
        Some(session) if enabled && policy.is_fair() && own.is_root() => session,
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fair_tasks_of_the_root_group_go_to_their_session() {
        let (fair, fifo) = (Policy::default(), Policy::Fifo { priority: 1 });
        let (own, session) = (GroupId::new(3), GroupId::new(7));
        assert_eq!(group_of(true, fair, GroupId::ROOT, Some(session)), session);
        assert_eq!(group_of(true, fair, own, Some(session)), own);
        assert_eq!(
            group_of(true, fifo, GroupId::ROOT, Some(session)),
            GroupId::ROOT
        );
        assert_eq!(
            group_of(false, fair, GroupId::ROOT, Some(session)),
            GroupId::ROOT
        );
        assert_eq!(group_of(true, fair, GroupId::ROOT, None), GroupId::ROOT);
    }

    #[test]
    fn a_step_of_a_groups_nice_is_a_step_of_a_tasks() {
        assert_eq!(shares_of_nice(0), 1024);
        assert_eq!(shares_of_nice(5), 335);
        assert_eq!(shares_of_nice(19), 15);
    }
}
