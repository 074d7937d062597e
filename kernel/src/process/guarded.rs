//! Data that belongs to one object but is guarded by a lock that lives elsewhere.
//!
//! The family links of a process are guarded by the one task list, the signal state of a thread by its process. A
//! [`Token`] lives inside such a lock; a [`Guarded`] is bound to one token and hands out its value to who can
//! show it, which only the holder of the lock can.
#![allow(
    unsafe_code,
    reason = "a cell whose borrows the token's borrow stands for"
)]

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// Stands for a lock: whoever borrows it holds the lock. No two are alike, and it cannot be copied.
#[derive(Debug)]
pub struct Token(u64);

impl Token {
    /// A token for a new lock.
    pub fn new() -> Token {
        static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
        Token(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The token of a lock in static storage, told from others by `N`, below 2³².
    ///
    /// # Safety
    /// Each number is used by one place in the program, which makes one token of it.
    pub const unsafe fn fixed(number: u32) -> Token {
        Token(number as u64)
    }

    /// Wraps a value that this token is to guard.
    pub fn guard<T>(&self, value: T) -> Guarded<T> {
        Guarded {
            token: self.0,
            value: UnsafeCell::new(value),
        }
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

/// A value guarded by the lock that holds its token.
pub struct Guarded<T> {
    token: u64,
    value: UnsafeCell<T>,
}

// SAFETY: a reference to the value is only given out for as long as the one token that matches is borrowed as
// well: shared for shared, exclusively for exclusive. So it is a lock as far as other threads can tell.
unsafe impl<T: Send + Sync> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// The value, while the lock is held.
    ///
    /// # Panics
    /// If `token` is another lock's.
    #[inline]
    pub fn get<'a>(&'a self, token: &'a Token) -> &'a T {
        assert!(token.0 == self.token, "the wrong lock is held");
        // SAFETY: exclusive references come from `get_mut` alone, which borrows this same token exclusively.
        unsafe { &*self.value.get() }
    }

    /// The value, to be changed, while the lock is held.
    ///
    /// # Panics
    /// If `token` is another lock's.
    #[inline]
    pub fn get_mut<'a>(&'a self, token: &'a mut Token) -> &'a mut T {
        assert!(token.0 == self.token, "the wrong lock is held");
        // SAFETY: the token is unique and borrowed exclusively for as long as the result lives.
        unsafe { &mut *self.value.get() }
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_token_opens() {
        let mut token = Token::new();
        let cell = token.guard(1);
        *cell.get_mut(&mut token) += 1;
        assert_eq!(*cell.get(&token), 2);
    }

    #[test]
    #[should_panic(expected = "wrong lock")]
    fn another_token_does_not() {
        let cell = Token::new().guard(1);
        cell.get(&Token::new());
    }
}
