//! Resource limits.
//!
//! Source: getrlimit(2).

use fs::Errno;

/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;

/// What is limited; the numbers are those of `RLIMIT_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
#[expect(missing_docs, reason = "the names are getrlimit's")]
pub enum Resource {
    Cpu,
    FileSize,
    Data,
    Stack,
    Core,
    Rss,
    Processes,
    Files,
    Memlock,
    AddressSpace,
    Locks,
    SigPending,
    MsgQueue,
    Nice,
    RtPriority,
    RtTime,
}

/// Number of resources.
pub const RLIM_NLIMITS: usize = 16;

/// `struct rlimit64`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rlimit {
    /// What is enforced.
    pub cur: u64,
    /// What `cur` may be raised to.
    pub max: u64,
}

impl Rlimit {
    const fn new(cur: u64, max: u64) -> Rlimit {
        Rlimit { cur, max }
    }
}

/// The limits of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rlimits([Rlimit; RLIM_NLIMITS]);

impl Rlimits {
    /// What process 1 starts with; `max_threads` is the most that memory allows.
    pub fn initial(max_threads: u64) -> Rlimits {
        let mut limits = [Rlimit::new(RLIM_INFINITY, RLIM_INFINITY); RLIM_NLIMITS];
        let half = max_threads / 2;
        limits[Resource::Stack as usize].cur = 8 << 20;
        limits[Resource::Core as usize].cur = 0;
        limits[Resource::Processes as usize] = Rlimit::new(half, half);
        limits[Resource::Files as usize] = Rlimit::new(1024, 4096);
        limits[Resource::Memlock as usize] = Rlimit::new(8 << 20, 8 << 20);
        limits[Resource::SigPending as usize] = Rlimit::new(half, half);
        limits[Resource::MsgQueue as usize] = Rlimit::new(819_200, 819_200);
        limits[Resource::Nice as usize] = Rlimit::new(0, 0);
        limits[Resource::RtPriority as usize] = Rlimit::new(0, 0);
        Rlimits(limits)
    }

    /// The limit of `resource`.
    pub fn get(&self, resource: Resource) -> Rlimit {
        self.0[resource as usize]
    }

    /// Replaces the limit of `resource` in the kernel's own name, unchecked.
    pub fn put(&mut self, resource: Resource, limit: Rlimit) {
        self.0[resource as usize] = limit;
    }

    /// The limit with number `resource`.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn by_number(&self, resource: u64) -> Result<Rlimit, Errno> {
        self.0
            .get(usize::try_from(resource).unwrap_or(usize::MAX))
            .copied()
            .ok_or(Errno::EINVAL)
    }

    /// Sets the limit with number `resource`. `privileged` is `CAP_SYS_RESOURCE`; `nr_open` bounds `RLIMIT_NOFILE`.
    ///
    /// # Errors
    /// `EINVAL` if there is none, or the soft limit is above the hard one; `EPERM` to raise the hard limit
    /// unprivileged, or `RLIMIT_NOFILE` beyond what the kernel allows.
    pub fn set(
        &mut self,
        resource: u64,
        new: Rlimit,
        privileged: bool,
        nr_open: u64,
    ) -> Result<(), Errno> {
        let old = self.by_number(resource)?;
        if new.cur > new.max {
            return Err(Errno::EINVAL);
        }
        if resource == Resource::Files as u64 && new.max > nr_open {
            return Err(Errno::EPERM);
        }
        if new.max > old.max && !privileged {
            return Err(Errno::EPERM);
        }
        self.0[resource as usize] = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NR_OPEN: u64 = 1 << 20;

    #[test]
    fn only_the_privileged_raise_the_hard_limit() {
        let mut limits = Rlimits::initial(1000);
        let files = Resource::Files as u64;
        assert_eq!(
            limits.set(files, Rlimit::new(4096, 4096), false, NR_OPEN),
            Ok(())
        );
        assert_eq!(
            limits.set(files, Rlimit::new(1, 5000), false, NR_OPEN),
            Err(Errno::EPERM)
        );
        assert_eq!(
            limits.set(files, Rlimit::new(1, 5000), true, NR_OPEN),
            Ok(())
        );
        assert_eq!(
            limits.set(files, Rlimit::new(1, NR_OPEN + 1), true, NR_OPEN),
            Err(Errno::EPERM)
        );
        assert_eq!(
            limits.set(files, Rlimit::new(2, 1), true, NR_OPEN),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            limits.set(16, Rlimit::new(1, 1), true, NR_OPEN),
            Err(Errno::EINVAL)
        );
        assert_eq!(limits.get(Resource::Files), Rlimit::new(1, 5000));
    }
}
