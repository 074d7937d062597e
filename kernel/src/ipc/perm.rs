//! Who may do what with an object.

use fs::{Cap, Credentials, Errno, Result};

/// Words of `struct ipc64_perm`, with which every object's structure begins.
pub const WORDS: usize = 6;
/// The rights among the mode's bits.
const RIGHTS: u32 = 0o777;

/// Right to read, as all three classes have it.
pub const READ: u32 = 0o444;
/// Right to change, as all three classes have it.
pub const WRITE: u32 = 0o222;
/// Right to execute, as all three classes have it.
pub const EXEC: u32 = 0o111;

/// Owner, creator and rights of an object.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of struct ipc_perm")]
pub struct Perm {
    pub key: i32,
    pub id: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
}

impl Perm {
    /// Those of an object that `cred` makes, with the rights of `mode`. It gets its number with its place in the table.
    pub fn new(cred: &Credentials, key: i32, mode: u32) -> Perm {
        Perm {
            key,
            id: -1,
            uid: cred.euid,
            gid: cred.egid,
            cuid: cred.euid,
            cgid: cred.egid,
            mode: mode & RIGHTS,
        }
    }

    /// Whether `cred` has the rights that `wanted` has in any class.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn check(&self, cred: &Credentials, wanted: u32) -> Result<()> {
        let wanted = wanted >> 6 | wanted >> 3 | wanted;
        let granted = if cred.euid == self.cuid || cred.euid == self.uid {
            self.mode >> 6
        } else if cred.in_group(self.cgid) || cred.in_group(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 0o7 != 0 && !cred.capable(Cap::IpcOwner) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// Whether `cred` may remove the object and give it away.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn check_owner(&self, cred: &Credentials) -> Result<()> {
        if cred.euid == self.cuid || cred.euid == self.uid || cred.capable(Cap::SysAdmin) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// Takes over owner and rights from `struct ipc64_perm` (`IPC_SET`).
    ///
    /// # Errors
    /// `EINVAL` for an owner that is nobody.
    pub fn set(&mut self, words: &[u64]) -> Result<()> {
        let (uid, gid) = ((words[0] >> 32) as u32, words[1] as u32);
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        (self.uid, self.gid) = (uid, gid);
        self.mode = self.mode & !RIGHTS | (words[2] >> 32) as u32 & RIGHTS;
        Ok(())
    }

    /// As `struct ipc64_perm`.
    pub fn words(&self) -> [u64; WORDS] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [
            pair(self.key as u32, self.uid),
            pair(self.gid, self.cuid),
            pair(self.cgid, self.mode),
            u64::from(super::table::sequence(self.id)),
            0,
            0,
        ]
    }
}

/// A structure of `N` words that begins with `perm`, followed by `rest`.
pub fn with_perm<const N: usize>(perm: &Perm, rest: &[u64]) -> [u64; N] {
    let mut words = [0; N];
    words[..WORDS].copy_from_slice(&perm.words());
    words[WORDS..WORDS + rest.len()].copy_from_slice(rest);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perm(mode: u32) -> Perm {
        let mut perm = Perm::new(&Credentials::user(5, 50), 1, mode);
        perm.uid = 6;
        perm
    }

    #[test]
    fn owner_creator_group_and_others_have_their_bits() {
        let perm = perm(0o640);
        for uid in [5, 6] {
            assert_eq!(perm.check(&Credentials::user(uid, 1), READ | WRITE), Ok(()));
        }
        let group = Credentials::user(7, 50);
        assert_eq!(perm.check(&group, READ), Ok(()));
        assert_eq!(perm.check(&group, WRITE), Err(Errno::EACCES));
        let other = Credentials::user(7, 1);
        assert_eq!(perm.check(&other, READ), Err(Errno::EACCES));
        assert_eq!(perm.check(&Credentials::root(), READ | WRITE), Ok(()));
        assert_eq!(perm.check_owner(&other), Err(Errno::EPERM));
        assert_eq!(perm.check_owner(&Credentials::user(5, 1)), Ok(()));
    }

    #[test]
    fn what_is_set_is_read_back() {
        let mut perm = perm(0o600);
        perm.mode |= 0o1000;
        let mut words = perm.words();
        words[0] = 9 << 32;
        words[1] = 90;
        words[2] = 0o7644 << 32;
        assert_eq!(perm.set(&words), Ok(()));
        assert_eq!((perm.uid, perm.gid, perm.mode), (9, 90, 0o1644));
        assert_eq!((perm.cuid, perm.key), (5, 1));
        words[1] = u64::from(u32::MAX);
        assert_eq!(perm.set(&words), Err(Errno::EINVAL));
    }
}
