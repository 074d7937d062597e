//! The names of the system: what uname(2), `/proc/version` and `/proc/sys/kernel` say.

use alloc::vec::Vec;

use executor::sync::SpinLock;
use fs::{Errno, Result};

/// Programs decide by it what to expect.
pub const SYSNAME: &str = "Linux";
/// The version of Linux whose interface this is, and whose kernel it is not.
pub const RELEASE: &str = "6.1.0-wake";
/// Build and options.
pub const VERSION: &str = concat!("#1 SMP PREEMPT Wake ", env!("CARGO_PKG_VERSION"));
/// The machine.
pub const MACHINE: &str = "x86_64";

/// Longest host or domain name (`__NEW_UTS_LEN`).
pub const NAME_MAX: usize = 64;

/// A name that may be set.
pub struct Name(SpinLock<Vec<u8>>);

/// The host's name.
pub static HOSTNAME: Name = Name(SpinLock::new(Vec::new()));
/// The domain's name (that of NIS).
pub static DOMAINNAME: Name = Name(SpinLock::new(Vec::new()));

impl Name {
    /// The name; `(none)` until it is set.
    pub fn get(&self) -> Vec<u8> {
        let name = self.0.lock();
        if name.is_empty() {
            b"(none)".to_vec()
        } else {
            name.clone()
        }
    }

    /// Sets the name. The caller has checked `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    /// `EINVAL` if it is too long; `ENOMEM`.
    pub fn set(&self, name: &[u8]) -> Result<()> {
        if name.len() > NAME_MAX {
            return Err(Errno::EINVAL);
        }
        let mut new = Vec::new();
        new.try_reserve_exact(name.len())
            .map_err(|_| Errno::ENOMEM)?;
        new.extend_from_slice(name);
        let old = core::mem::replace(&mut *self.0.lock(), new);
        drop(old);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_length_limit_and_a_default() {
        let name = Name(SpinLock::new(Vec::new()));
        assert_eq!(name.get(), b"(none)");
        assert_eq!(name.set(&[b'x'; 65]), Err(Errno::EINVAL));
        assert_eq!(name.set(b"box"), Ok(()));
        assert_eq!(name.get(), b"box");
    }
}
