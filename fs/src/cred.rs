//! Who asks: the identity that permission checks look at.

use alloc::sync::Arc;

use crate::inode::{Inode, S_IFDIR, S_IFMT};
use crate::{Errno, Result};

/// Capability numbers of `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are those of capabilities(7)")]
pub enum Cap {
    Chown = 0,
    DacOverride = 1,
    DacReadSearch = 2,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    Setgid = 6,
    Setuid = 7,
    Setpcap = 8,
    LinuxImmutable = 9,
    NetBindService = 10,
    NetBroadcast = 11,
    NetAdmin = 12,
    NetRaw = 13,
    IpcLock = 14,
    IpcOwner = 15,
    SysModule = 16,
    SysRawio = 17,
    SysChroot = 18,
    SysPtrace = 19,
    SysPacct = 20,
    SysAdmin = 21,
    SysBoot = 22,
    SysNice = 23,
    SysResource = 24,
    SysTime = 25,
    SysTtyConfig = 26,
    Mknod = 27,
    Lease = 28,
    AuditWrite = 29,
    AuditControl = 30,
    Setfcap = 31,
    MacOverride = 32,
    MacAdmin = 33,
    Syslog = 34,
    WakeAlarm = 35,
    BlockSuspend = 36,
    AuditRead = 37,
    Perfmon = 38,
    Bpf = 39,
    CheckpointRestore = 40,
}

/// All capabilities that exist.
pub const CAP_ALL: u64 = (1 << 41) - 1;

/// The credentials of a thread, in `capabilities(7)` and `credentials(7)` terms.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of credentials(7)")]
pub struct Credentials {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    /// What file permission checks use; follows `euid` unless `setfsuid` moved it.
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    /// What file permission checks use; follows `egid` unless `setfsgid` moved it.
    pub fsgid: u32,
    /// Supplementary groups, sorted.
    pub groups: Arc<[u32]>,
    pub cap_inheritable: u64,
    pub cap_permitted: u64,
    pub cap_effective: u64,
    pub cap_bounding: u64,
    pub cap_ambient: u64,
    /// `SECBIT_*`.
    pub securebits: u32,
}

impl Credentials {
    /// Returns the credentials of process 1: uid 0, all capabilities.
    pub fn root() -> Credentials {
        Credentials {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Arc::from([]),
            cap_inheritable: 0,
            cap_permitted: CAP_ALL,
            cap_effective: CAP_ALL,
            cap_bounding: CAP_ALL,
            cap_ambient: 0,
            securebits: 0,
        }
    }

    /// Returns the credentials of an ordinary user without capabilities.
    pub fn user(uid: u32, gid: u32) -> Credentials {
        Credentials {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            cap_permitted: 0,
            cap_effective: 0,
            ..Credentials::root()
        }
    }

    /// Tells whether the effective set has `cap`.
    #[inline]
    pub fn capable(&self, cap: Cap) -> bool {
        self.cap_effective & (1 << cap as u8) != 0
    }

    /// Tells whether `gid` is the file system group or a supplementary one.
    #[inline]
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }

    /// Tells whether this user owns the inode or may act as if it did (`CAP_FOWNER`).
    pub fn owner_or_capable(&self, inode: &Inode) -> bool {
        self.fsuid == inode.uid() || self.capable(Cap::Fowner)
    }

    /// Checks `mask` (of [`MAY_READ`], [`MAY_WRITE`], [`MAY_EXEC`]) against the inode's mode bits and the capabilities.
    ///
    /// # Errors
    /// `EACCES`.
    #[inline]
    pub fn permission(&self, inode: &Inode, mask: u32) -> Result<()> {
        let mode = inode.mode();
        let granted = if self.fsuid == inode.uid() {
            mode >> 6
        } else if mode & 0o070 == (mode & 0o007) << 3 || !self.in_group(inode.gid()) {
            // Where group and others have the same bits it does not matter which of the two we are.
            mode
        } else {
            mode >> 3
        };
        if mask & !granted & 7 == 0 {
            Ok(())
        } else {
            self.permission_by_capability(mode, mask)
        }
    }

    #[cold]
    fn permission_by_capability(&self, mode: u32, mask: u32) -> Result<()> {
        if mode & S_IFMT == S_IFDIR {
            if mask & MAY_WRITE == 0 && self.capable(Cap::DacReadSearch) {
                return Ok(());
            }
            if self.capable(Cap::DacOverride) {
                return Ok(());
            }
            return Err(Errno::EACCES);
        }
        if mask == MAY_READ && self.capable(Cap::DacReadSearch) {
            return Ok(());
        }
        // Execution by override needs at least one execute bit.
        if (mask & MAY_EXEC == 0 || mode & 0o111 != 0) && self.capable(Cap::DacOverride) {
            return Ok(());
        }
        Err(Errno::EACCES)
    }
}

/// Execute or search.
pub const MAY_EXEC: u32 = 1;
/// Write.
pub const MAY_WRITE: u32 = 2;
/// Read.
pub const MAY_READ: u32 = 4;
