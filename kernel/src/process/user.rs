//! What is counted per user: processes and queued signals.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::AtomicU32;

use executor::sync::SpinLock;

/// The account of one real user id.
#[derive(Debug)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// Threads, against `RLIMIT_NPROC`.
    pub processes: AtomicU32,
    /// Queued signals, against `RLIMIT_SIGPENDING`.
    pub sigpending: AtomicU32,
}

static USERS: SpinLock<BTreeMap<u32, Weak<User>>> = SpinLock::new(BTreeMap::new());

impl User {
    /// An account outside the table.
    pub fn new(uid: u32) -> User {
        User {
            uid,
            processes: AtomicU32::new(0),
            sigpending: AtomicU32::new(0),
        }
    }

    /// The account of `uid`, made if there is none.
    ///
    /// # Context
    /// Task; takes the table of users.
    pub fn of(uid: u32) -> Arc<User> {
        let mut users = USERS.lock();
        if let Some(user) = users.get(&uid).and_then(Weak::upgrade) {
            return user;
        }
        let user = Arc::new(User::new(uid));
        users.insert(uid, Arc::downgrade(&user));
        user
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut users = USERS.lock();
        // Another account may have taken the place since the last reference went.
        if users
            .get(&self.uid)
            .is_some_and(|user| user.strong_count() == 0)
        {
            users.remove(&self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_per_uid_while_it_is_used() {
        let a = User::of(70_001);
        assert!(Arc::ptr_eq(&a, &User::of(70_001)));
        drop(a);
        assert!(!USERS.lock().contains_key(&70_001));
    }
}
