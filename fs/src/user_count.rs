//! Counts per user, for the limits that a user shares among its processes.

use alloc::collections::BTreeMap;

use crate::sync::SpinLock;

/// How many of a thing each user has.
#[derive(Debug)]
pub struct UserCounts(SpinLock<BTreeMap<u32, usize>>);

impl UserCounts {
    /// Makes an empty table.
    pub const fn new() -> UserCounts {
        UserCounts(SpinLock::new(BTreeMap::new()))
    }

    /// Counts one more for `uid`, which has it until the result is dropped; `None` if it has `limit` already.
    pub fn charge(&'static self, uid: u32, limit: usize) -> Option<Charge> {
        let mut users = self.0.lock();
        let count = users.entry(uid).or_insert(0);
        if *count >= limit {
            if *count == 0 {
                users.remove(&uid);
            }
            return None;
        }
        *count += 1;
        Some(Charge { users: self, uid })
    }

    /// Returns how many `uid` has.
    pub fn of(&self, uid: u32) -> usize {
        self.0.lock().get(&uid).copied().unwrap_or(0)
    }
}

impl Default for UserCounts {
    fn default() -> Self {
        UserCounts::new()
    }
}

/// One thing counted for a user.
#[derive(Debug)]
#[must_use = "the count goes down again when this is dropped"]
pub struct Charge {
    users: &'static UserCounts,
    uid: u32,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut users = self.users.0.lock();
        if let Some(count) = users.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_per_user_and_given_back() {
        static COUNTS: UserCounts = UserCounts::new();
        let a = COUNTS.charge(1, 2).unwrap();
        let b = COUNTS.charge(1, 2).unwrap();
        assert!(COUNTS.charge(1, 2).is_none());
        assert!(COUNTS.charge(2, 0).is_none());
        let c = COUNTS.charge(2, 2);
        assert!(c.is_some());
        drop(a);
        assert_eq!(COUNTS.of(1), 1);
        drop((b, c));
        assert_eq!((COUNTS.of(1), COUNTS.of(2)), (0, 0));
    }
}
