//! Processes.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicI16, AtomicI32, AtomicU32, AtomicU64, Ordering};

use executor::sync::{SpinLock, SpinLockIrq, WaitQueue};
use executor::time::Instant;

use super::autogroup::Autogroup;
use super::core::{Dump, Filter};
use super::family::Family;
use super::guarded::Guarded;
use super::pid::Pid;
use super::rlimit::{Resource, Rlimits};
use super::table::TaskTable;
use super::thread::COMM_LEN;
use crate::mm::AddressSpace;
use crate::process::Thread;
use crate::signal::state::{SigHand, SignalState};

/// Processor time and events of threads that have ended, in numbers that are added up.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of getrusage(2)")]
pub struct UsageSum {
    pub user_ns: u64,
    pub system_ns: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    /// Greatest resident set, in KiB; the greatest, not the sum.
    pub max_rss_kib: u64,
}

/// The clock tick of times(2) and `/proc`: `USER_HZ` is 100.
pub const TICK_NS: u64 = 10_000_000;

impl UsageSum {
    /// Adds what one thread has used so far.
    pub fn add(&mut self, thread: &Thread) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let time = thread.cpu_time();
        self.user_ns += time.user_ns;
        self.system_ns += time.system_ns;
        self.minor_faults += of(&thread.usage.minor_faults);
        self.major_faults += of(&thread.usage.major_faults);
        self.voluntary_switches += of(&thread.usage.voluntary_switches);
        self.involuntary_switches += of(&thread.usage.involuntary_switches);
    }

    /// Adds another sum.
    pub fn add_sum(&mut self, other: &UsageSum) {
        self.user_ns += other.user_ns;
        self.system_ns += other.system_ns;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
        self.max_rss_kib = self.max_rss_kib.max(other.max_rss_kib);
    }
}

/// What ended threads and reaped children have used.
#[derive(Clone, Copy, Default, Debug)]
pub struct Accounts {
    /// Threads of this process that have ended.
    pub threads: UsageSum,
    /// Children that were waited for, and theirs.
    pub children: UsageSum,
}

/// An executable that is run: nobody may write to it meanwhile.
pub struct ExeFile(Arc<fs::File>);

impl ExeFile {
    /// Keeps writers away from `file`.
    ///
    /// # Errors
    /// `ETXTBSY` if there are some.
    pub fn new(file: Arc<fs::File>) -> fs::Result<ExeFile> {
        file.inode().deny_write_access()?;
        Ok(ExeFile(file))
    }

    /// The file.
    pub fn file(&self) -> &Arc<fs::File> {
        &self.0
    }
}

impl Drop for ExeFile {
    fn drop(&mut self) {
        self.0.inode().allow_write_access();
    }
}

impl fmt::Debug for ExeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExeFile({:?})", self.0.path())
    }
}

/// The program that a process runs, for `/proc`.
#[derive(Clone, Default, Debug)]
pub struct Image {
    /// The executable.
    pub exe: Option<Arc<ExeFile>>,
    /// The auxiliary vector.
    pub auxv: Arc<[u64]>,
    /// `PR_SET_DUMPABLE`.
    pub dumpable: u32,
    /// Which memory a core file has.
    pub dump_filter: Filter,
}

/// A process: threads that share memory and signals, and die together.
pub struct Process {
    /// Its number: that of its first thread.
    pub pid: Pid,
    /// When it was made.
    pub start: Instant,
    ppid: AtomicI32,
    /// Parents, children, group: guarded by the task list.
    pub(super) family: Guarded<Family>,
    /// The signal lock.
    pub signals: SpinLock<SignalState>,
    mm: SpinLock<Option<Arc<AddressSpace>>>,
    /// Resource limits.
    pub rlimits: SpinLock<Rlimits>,
    /// Woken when a child changes its state.
    pub child_wait: WaitQueue,
    /// Woken when this process ends, for pidfds.
    pub exit_wait: Arc<WaitQueue>,
    /// Woken when a signal is generated, for signalfd.
    pub signal_wait: Arc<WaitQueue>,
    /// Woken when a thread leaves; execve(2) waits for it.
    pub thread_left: WaitQueue,
    /// Time used by what has ended.
    pub accounts: SpinLock<Accounts>,
    /// The program.
    pub image: SpinLock<Image>,
    /// The core file in the making.
    pub dump: SpinLock<Option<Arc<Dump>>>,
    /// Timers that send signals.
    pub timers: super::timers::Timers,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: AtomicBool,
    /// Whether an ancestor may be a subreaper.
    pub has_subreaper: AtomicBool,
    /// Threads that have not begun to let go of the address space.
    pub(super) live: AtomicU32,
    /// The real user id of the last thread, once there is none.
    pub(super) last_uid: AtomicU32,
    /// The command name of the last thread, once there is none.
    pub last_comm: SpinLock<[u8; COMM_LEN]>,
    /// What userland adds to its score when memory runs out, in thousandths (`/proc/PID/oom_score_adj`).
    pub oom_score_adj: AtomicI16,
    /// That of its session, where the loops of the CPUs may look.
    autogroup: SpinLockIrq<Option<Arc<Autogroup>>>,
    /// Number of execve(2) calls done, for setpgid(2)'s `EACCES`.
    pub execs: AtomicU32,
    /// It has no user memory.
    pub kernel: bool,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.pid)
    }
}

impl Process {
    /// A process that is in no table yet.
    pub fn new(
        pid: Pid,
        table: &TaskTable,
        family: Family,
        sighand: Arc<SigHand>,
        mm: Option<Arc<AddressSpace>>,
        rlimits: Rlimits,
    ) -> Process {
        let ppid = family.parent.as_ref().map_or(0, |parent| parent.pid);
        Process {
            pid,
            start: Instant::now(),
            ppid: AtomicI32::new(ppid),
            family: table.token().guard(family),
            signals: SpinLock::new(SignalState::new(sighand)),
            kernel: mm.is_none(),
            mm: SpinLock::new(mm),
            rlimits: SpinLock::new(rlimits),
            child_wait: WaitQueue::new(),
            exit_wait: Arc::new(WaitQueue::new()),
            signal_wait: Arc::new(WaitQueue::new()),
            thread_left: WaitQueue::new(),
            accounts: SpinLock::new(Accounts::default()),
            image: SpinLock::new(Image::default()),
            dump: SpinLock::new(None),
            timers: super::timers::Timers::default(),
            subreaper: AtomicBool::new(false),
            has_subreaper: AtomicBool::new(false),
            live: AtomicU32::new(0),
            last_uid: AtomicU32::new(0),
            last_comm: SpinLock::new([0; COMM_LEN]),
            oom_score_adj: AtomicI16::new(0),
            autogroup: SpinLockIrq::new(None),
            execs: AtomicU32::new(0),
        }
    }

    /// The number of its parent.
    #[inline]
    pub fn ppid(&self) -> Pid {
        self.ppid.load(Ordering::Relaxed)
    }

    pub(super) fn set_ppid(&self, pid: Pid) {
        self.ppid.store(pid, Ordering::Relaxed);
    }

    /// Its address space, unless it has ended or is of the kernel.
    #[inline]
    pub fn mm(&self) -> Option<Arc<AddressSpace>> {
        self.mm.lock().clone()
    }

    /// Calls `f` with its address space, unless it has ended or is of the kernel. `f` runs under a spin lock.
    #[inline(always)]
    pub fn with_space<R>(&self, f: impl FnOnce(Option<&Arc<AddressSpace>>) -> R) -> R {
        f(self.mm.lock().as_ref())
    }

    /// Replaces the address space and hands back the old one. Only by its only thread.
    #[must_use]
    pub fn replace_mm(&self, mm: Option<Arc<AddressSpace>>) -> Option<Arc<AddressSpace>> {
        core::mem::replace(&mut *self.mm.lock(), mm)
    }

    /// The group of its session in the scheduler; `None` for the group of all.
    ///
    /// # Context
    /// Any.
    pub fn autogroup(&self) -> Option<Arc<Autogroup>> {
        self.autogroup.lock().clone()
    }

    /// Takes over the group of a session that it joins.
    pub(super) fn join_autogroup(&self, group: Option<Arc<Autogroup>>) {
        let old = core::mem::replace(&mut *self.autogroup.lock(), group);
        drop(old);
    }

    /// The soft limit of `resource`.
    #[inline]
    pub fn limit(&self, resource: Resource) -> u64 {
        self.rlimits.lock().get(resource).cur
    }

    /// Its real user id: that of its oldest thread, or of its last one.
    pub fn uid(&self) -> u32 {
        match self.leader() {
            Some(leader) => leader.with_shared(|shared| shared.cred.uid),
            None => self.last_uid.load(Ordering::Relaxed),
        }
    }

    /// What its threads have used, ended ones too.
    ///
    /// # Context
    /// Task; takes the signal lock.
    pub fn usage(&self) -> UsageSum {
        let mut sum = self.accounts.lock().threads;
        for thread in &self.signals.lock().threads {
            sum.add(thread);
        }
        sum
    }

    /// Its processor time in user mode and in the kernel, in clock ticks of 10 ms.
    pub fn ticks(&self) -> (u64, u64) {
        let usage = self.usage();
        (usage.user_ns / TICK_NS, usage.system_ns / TICK_NS)
    }

    /// Its threads that have not ended.
    ///
    /// # Context
    /// Task; takes the signal lock. Allocates.
    pub fn threads(&self) -> alloc::vec::Vec<Arc<Thread>> {
        self.signals.lock().threads.clone()
    }

    /// Its oldest thread; `None` once all have ended.
    pub fn leader(&self) -> Option<Arc<Thread>> {
        self.signals.lock().threads.first().cloned()
    }
}
