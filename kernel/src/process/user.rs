//! What is counted per user: processes and queued signals.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
    /// Bytes of message queues, against `RLIMIT_MSGQUEUE`.
    pub queue_bytes: AtomicU64,
    /// Bytes of System V semaphores and messages.
    pub ipc_bytes: AtomicU64,
}

/// Bytes that a user is charged for, until this is dropped.
#[derive(Debug)]
pub struct Charge {
    user: Arc<User>,
    account: Account,
    bytes: u64,
}

/// Which of a user's sums is meant.
type Account = fn(&User) -> &AtomicU64;

impl Charge {
    /// Charges `user` if the sum stays within `limit`.
    ///
    /// # Context
    /// Any.
    pub fn new(user: Arc<User>, account: Account, bytes: u64, limit: u64) -> Option<Charge> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        account(&user)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .ok()?;
        Some(Charge {
            user,
            account,
            bytes,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        (self.account)(&self.user).fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

static USERS: SpinLock<BTreeMap<u32, Weak<User>>> = SpinLock::new(BTreeMap::new());

impl User {
    /// An account outside the table.
    pub fn new(uid: u32) -> User {
        User {
            uid,
            processes: AtomicU32::new(0),
            sigpending: AtomicU32::new(0),
            queue_bytes: AtomicU64::new(0),
            ipc_bytes: AtomicU64::new(0),
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
    fn a_charge_is_within_the_limit_and_given_back() {
        let user = Arc::new(User::new(70_002));
        let charge = |bytes| Charge::new(user.clone(), |user| &user.ipc_bytes, bytes, 10);
        let first = charge(7);
        assert!(first.is_some() && charge(4).is_none() && charge(u64::MAX).is_none());
        drop(first);
        assert!(charge(10).is_some());
    }

    #[test]
    fn one_account_per_uid_while_it_is_used() {
        let a = User::of(70_001);
        assert!(Arc::ptr_eq(&a, &User::of(70_001)));
        drop(a);
        assert!(!USERS.lock().contains_key(&70_001));
    }
}
