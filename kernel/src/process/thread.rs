//! Threads.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::pin::Pin;
use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering,
};
use core::task::{Context, Poll};

use conquer_once::spin::OnceCell;
use executor::TaskRef;
use executor::sync::SpinLock;
use fs::{Credentials, Errno, FdTable, FsContext};

use super::attributes::{Attributes, Kind, SharedAttributes};
use super::cputime::{self, CpuTime};
use super::guarded::Guarded;
use super::pid::Pid;
use super::process::Process;
use super::trace::Trace;
use super::user::User;
use crate::arch::thread::Machine;
use crate::cgroup;
use crate::mm::AddressSpace;
use crate::seccomp;
use crate::signal::state::{SignalState, ThreadSignals};

/// Something to look at before going to user mode: a signal, a stop, the end.
pub const WORK_SIGNAL: u32 = 1;
/// The thread is to end: its process exits, or another thread is in execve(2). Killable waits end.
pub const WORK_KILLED: u32 = 2;
/// The process is stopping; this thread has yet to take part.
pub const WORK_STOP: u32 = 4;
/// `ThreadSignals::saved_mask` is to be put back.
pub const WORK_RESTORE_MASK: u32 = 8;
/// Its tracer wants it to stop.
pub const WORK_TRACE: u32 = 16;
/// Not work, but state: the thread is stopped.
pub const STATE_STOPPED: u32 = 1 << 16;
/// Not work, but state: the thread is ending.
pub const STATE_EXITING: u32 = 1 << 17;
/// Not work, but state: the thread waits and a signal would wake it.
pub const STATE_INTERRUPTIBLE: u32 = 1 << 18;
/// Not work, but state: the thread waits and only a fatal signal would wake it.
pub const STATE_UNINTERRUPTIBLE: u32 = 1 << 19;
/// Not work, but state: it has forked and not called execve since (`PF_FORKNOEXEC`).
pub const STATE_FORKED: u32 = 1 << 20;

/// Not work, but state: another thread traces it.
pub const STATE_TRACED: u32 = 1 << 21;
/// Not work, but state: it is stopped for its tracer.
pub const STATE_TRACE_STOP: u32 = 1 << 22;
/// Not work, but state: its tracer wants to see its system calls.
pub const STATE_TRACE_CALLS: u32 = 1 << 23;
/// Not work, but state: its tracer lets it go on for one instruction.
pub const STATE_STEP: u32 = 1 << 24;
/// Not work, but state: the system call under way has left an event for the tracer.
pub const STATE_TRACE_EVENT: u32 = 1 << 25;
/// Not work, but state: it allows itself only some system calls.
pub const STATE_SECCOMP: u32 = 1 << 26;
/// Bits with which a system call takes the long way ([`crate::syscall::watched`]).
pub const WATCHED: u32 = STATE_TRACE_CALLS | STATE_TRACE_EVENT | STATE_STEP | STATE_SECCOMP;

/// Under the deadline policy it used up its run time, and wants to be told.
pub const WORK_OVERRUN: u32 = 32;
/// Under a real-time policy it reached `RLIMIT_RTTIME`.
pub const WORK_RT_TIME: u32 = 64;
/// It has an area for restartable sequences, and got a turn since that was last looked at.
pub const WORK_RSEQ: u32 = 128;

/// Bits that end interruptible waits.
const INTERRUPTS: u32 = WORK_SIGNAL | WORK_KILLED | WORK_STOP | WORK_TRACE;

const NOT_ENDING: u32 = 256;

/// All bits that are work.
pub const WORK_MASK: u32 = 0xffff;

/// Longest command name, with its final zero.
pub const COMM_LEN: usize = 16;

/// Processor time and events of one thread or of several.
#[derive(Debug, Default)]
pub struct Usage {
    /// Nanoseconds in user mode as the tick saw it; [`Thread::cpu_time`] is exact.
    pub user_ns: AtomicU64,
    /// As `user_ns`, in the kernel.
    pub system_ns: AtomicU64,
    /// Page faults that needed no device.
    pub minor_faults: AtomicU64,
    /// Page faults that did.
    pub major_faults: AtomicU64,
    /// Turns that ended because it waited.
    pub voluntary_switches: AtomicU64,
    /// Turns that ended though it would have gone on: preempted, or given up by sched_yield(2).
    pub involuntary_switches: AtomicU64,
}

/// What others may look at while the thread runs, and what only the thread itself replaces.
pub struct Shared {
    /// Command name, zero-padded.
    pub comm: [u8; COMM_LEN],
    /// Credentials.
    pub cred: Arc<Credentials>,
    /// The account of the real user id.
    pub user: Arc<User>,
    /// Open files; `None` once the thread ends.
    pub files: Option<Arc<FdTable>>,
    /// Root, working directory, umask; `None` once the thread ends.
    pub fs: Option<Arc<SpinLock<FsContext>>>,
}

/// A user thread.
pub struct Thread {
    tid: AtomicI32,
    process: Arc<Process>,
    /// `WORK_*` and `STATE_*`.
    bits: AtomicU32,
    task: OnceCell<TaskRef>,
    shared: SpinLock<Shared>,
    /// Number, error code and address of the last exception, as signal frames show them.
    pub last_trap: [AtomicU64; 3],
    /// How it ends, if it does so by itself: 256 until then.
    exit_code: AtomicU32,
    /// Signal state, guarded by the process's signal lock.
    pub signals: Guarded<ThreadSignals>,
    /// Vector registers and segment bases.
    pub machine: Machine,
    /// Its place in a futex's queue.
    pub futex: crate::futex::Node,
    /// What it waits for and inherits among locks with priority inheritance.
    pub pi: crate::futex::pi::State,
    /// Processor time and events.
    pub usage: Usage,
    attributes: SharedAttributes,
    /// Its control group.
    pub membership: cgroup::Place,
    /// The group that it was last found to count in on the CPUs, null for the root: to be compared with, never followed.
    /// Written by the loop of its CPU.
    pub counted_in: AtomicPtr<sched::Group>,
    /// Microseconds that it ran under a real-time policy without waiting, when last looked at; for `RLIMIT_RTTIME`.
    pub unbroken_run_us: AtomicU64,
    shown_time: cputime::Shown,
    /// Where a zero goes when the thread ends (`CLONE_CHILD_CLEARTID`), or 0.
    pub clear_child_tid: AtomicU64,
    /// Head of the list of robust futexes, or 0.
    pub robust_list: AtomicU64,
    /// The signal for the parent's end (`PR_SET_PDEATHSIG`), or 0.
    pub parent_death_signal: AtomicU8,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: AtomicU8,
    /// How often it went from one CPU to another.
    pub migrations: AtomicU64,
    /// The CPUs that it may run on, a bit for each (`sched_setaffinity(2)`).
    pub affinity: AtomicU64,
    /// What it has done to semaphores that is taken back at its end.
    pub undo: crate::ipc::sem::undo::Place,
    /// Its area for restartable sequences.
    pub rseq: super::rseq::Area,
    /// `ioprio_set(2)`: class in bits 13 to 15, level below. Kept and inherited; there is no disk to order yet.
    pub io_priority: AtomicU32,
    /// personality(2).
    pub personality: AtomicU32,
    /// Which system calls it allows itself.
    pub seccomp: SpinLock<seccomp::Mode>,
    /// Its side of being traced. Innermost lock.
    pub trace: SpinLock<Option<Box<Trace>>>,
    /// What restart_syscall(2) goes on with.
    pub restart: SpinLock<Option<Restart>>,
    /// The child that this thread, in vfork(2), waits for.
    pub vfork_wait: SpinLock<Option<(Pid, Arc<VforkDone>)>>,
    /// Who waits for this thread's first execve(2) or end (`CLONE_VFORK`).
    pub vfork: SpinLock<Option<Arc<VforkDone>>>,
}

/// A call that goes on where it was interrupted.
#[derive(Clone, Debug)]
pub enum Restart {
    /// nanosleep(2) or clock_nanosleep(2).
    Sleep {
        /// End, in monotonic nanoseconds.
        until: u64,
        /// Where the remaining time goes, or 0.
        remaining: u64,
    },
    /// futex(2) `FUTEX_WAIT` with a time.
    Futex(crate::futex::Wait),
    /// poll(2) until this time.
    Poll {
        /// Address of the array.
        fds: u64,
        /// Its length.
        len: u64,
        /// End, in monotonic nanoseconds, or never.
        until: Option<u64>,
    },
}

/// Tells a parent in vfork(2) that its child is done with the memory they share.
#[derive(Debug)]
pub struct VforkDone {
    done: AtomicBool,
    parent: Option<TaskRef>,
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({}/{})", self.process.pid, self.tid())
    }
}

impl Thread {
    /// A thread of `process` that is in no list yet. `state` is the process's signal lock.
    pub fn new(
        tid: Pid,
        process: Arc<Process>,
        state: &SignalState,
        shared: Shared,
        machine: Machine,
    ) -> Thread {
        Thread {
            tid: AtomicI32::new(tid),
            process,
            bits: AtomicU32::new(0),
            task: OnceCell::uninit(),
            shared: SpinLock::new(shared),
            last_trap: [const { AtomicU64::new(0) }; 3],
            exit_code: AtomicU32::new(NOT_ENDING),
            signals: state.token.guard(ThreadSignals::default()),
            machine,
            futex: crate::futex::Node::default(),
            pi: crate::futex::pi::State::default(),
            usage: Usage::default(),
            attributes: SharedAttributes::default(),
            membership: cgroup::Place::default(),
            counted_in: AtomicPtr::default(),
            unbroken_run_us: AtomicU64::new(0),
            shown_time: cputime::Shown::default(),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            parent_death_signal: AtomicU8::new(0),
            no_new_privs: AtomicU8::new(0),
            migrations: AtomicU64::new(0),
            affinity: AtomicU64::new(u64::MAX),
            undo: SpinLock::new(None),
            rseq: super::rseq::Area::default(),
            io_priority: AtomicU32::new(0),
            personality: AtomicU32::new(0),
            seccomp: SpinLock::new(seccomp::Mode::Off),
            trace: SpinLock::new(None),
            restart: SpinLock::new(None),
            vfork_wait: SpinLock::new(None),
            vfork: SpinLock::new(None),
        }
    }

    /// The word that the thread's task carries, for [`of_tag`](Self::of_tag).
    pub fn tag(self: &Arc<Thread>) -> *mut () {
        Arc::as_ptr(self).cast_mut().cast()
    }

    /// The thread whose task carries `tag`; `None` for kernel tasks, and once the thread has begun its end.
    #[inline(always)]
    #[allow(unsafe_code, reason = "follows a tag")]
    pub fn of_tag<'a>(tag: *mut ()) -> Option<&'a Thread> {
        // SAFETY: tags are null or come from `tag`; the task's future holds the thread until it has cleared the tag.
        unsafe { tag.cast::<Thread>().as_ref() }
    }

    /// Policy, priority and nice value as the scheduler takes them.
    pub fn sched_policy(&self) -> sched::Policy {
        self.attributes().policy()
    }

    /// Processor time so far, exact in the sum.
    ///
    /// # Context
    /// Task.
    pub fn cpu_time(&self) -> CpuTime {
        let ticks = CpuTime {
            user_ns: self.usage.user_ns.load(Ordering::Relaxed),
            system_ns: self.usage.system_ns.load(Ordering::Relaxed),
        };
        let total = self.task().map_or(0, |task| task.run_time().as_nanos());
        self.shown_time.update(total as u64, ticks)
    }

    /// Policy, priority and nice value.
    pub fn attributes(&self) -> Attributes {
        self.attributes.get()
    }

    /// The priority in force as `stat` in proc(5) shows it, what is inherited included.
    pub fn shown_priority(&self) -> i32 {
        let own = self.attributes().shown_priority();
        match self.pi.boost() {
            None => own,
            Some(boost) => own.min(-1 - i32::from(boost.policy().priority())),
        }
    }

    /// Takes over a parent's scheduling. Context: before the thread runs.
    pub(super) fn inherit_attributes(&self, parent: &Thread) {
        self.attributes.set(parent.attributes().forked());
    }

    /// Changes policy, priority or nice value to what `change` makes of them, from the thread's next turn on, which is at
    /// once if it runs.
    ///
    /// # Errors
    /// Those of `change`; then nothing is changed.
    pub fn set_attributes<E>(
        &self,
        change: impl FnOnce(Attributes) -> Result<Attributes, E>,
    ) -> Result<(), E> {
        self.attributes.try_change(change)?;
        self.look_again();
        self.pi.reorder();
        Ok(())
    }

    /// Has its CPU look at its scheduling again.
    pub fn look_again(&self) {
        if let Some(task) = self.task() {
            task.notify_owner();
        }
    }

    /// Gives back what a deadline thread was promised, since it ends.
    pub(super) fn leave_deadline(&self) {
        if self.attributes().deadline().is_none() {
            return;
        }
        let left: Result<(), Errno> = self.set_attributes(|from| {
            let to = Attributes {
                kind: Kind::Other,
                ..from
            };
            crate::task::deadline::admit(&from, &to, 0)?;
            Ok(to)
        });
        debug_assert!(left.is_ok(), "what lowers the sum succeeds");
    }

    /// Gives it a descriptor table of its own, with what the shared one holds now.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn unshare_files(&self) -> fs::Result<()> {
        let own = Arc::new(self.files().duplicate()?);
        let shared = self.with_shared(|s| s.files.replace(own));
        drop(shared);
        Ok(())
    }

    /// The open file that descriptor `fd` stands for.
    ///
    /// # Errors
    /// `EBADF`.
    #[inline]
    pub fn file(&self, fd: i32) -> fs::Result<Arc<fs::File>> {
        self.files().get(fd)
    }

    /// Its number. Changes when it calls execve(2) and is not the first thread of its process.
    #[inline]
    pub fn tid(&self) -> Pid {
        self.tid.load(Ordering::Relaxed)
    }

    pub(super) fn set_tid(&self, tid: Pid) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// The process that it is part of.
    #[inline]
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Its command name, zero-padded.
    pub fn comm(&self) -> [u8; COMM_LEN] {
        self.shared.lock().comm
    }

    /// Sets the command name, cut off where it is too long.
    pub fn set_comm(&self, name: &[u8]) {
        let mut comm = [0; COMM_LEN];
        let len = name.len().min(COMM_LEN - 1);
        comm[..len].copy_from_slice(&name[..len]);
        self.shared.lock().comm = comm;
    }

    /// Its credentials.
    #[inline]
    pub fn cred(&self) -> Arc<Credentials> {
        self.shared.lock().cred.clone()
    }

    /// Its open files.
    ///
    /// # Panics
    /// If the thread has ended; [`Thread::try_files`] for others' threads.
    #[inline]
    pub fn files(&self) -> Arc<FdTable> {
        self.try_files().expect("a running thread has files")
    }

    /// Its open files, unless it has ended.
    #[inline]
    pub fn try_files(&self) -> Option<Arc<FdTable>> {
        self.shared.lock().files.clone()
    }

    /// Its root, working directory and umask.
    ///
    /// # Panics
    /// If the thread has ended; [`Thread::try_fs`] for others' threads.
    #[inline]
    pub fn fs(&self) -> Arc<SpinLock<FsContext>> {
        self.try_fs()
            .expect("a running thread has a working directory")
    }

    /// Its root, working directory and umask, unless it has ended.
    #[inline]
    pub fn try_fs(&self) -> Option<Arc<SpinLock<FsContext>>> {
        self.shared.lock().fs.clone()
    }

    /// Its address space, unless it has ended or is a kernel thread.
    #[inline]
    pub fn mm(&self) -> Option<Arc<AddressSpace>> {
        self.process.mm()
    }

    /// Calls `f` with its address space, unless it has ended or is a kernel thread.
    #[inline(always)]
    pub fn with_space<R>(&self, f: impl FnOnce(Option<&Arc<AddressSpace>>) -> R) -> R {
        self.process.with_space(f)
    }

    /// The part that others may look at.
    pub fn with_shared<R>(&self, f: impl FnOnce(&mut Shared) -> R) -> R {
        f(&mut self.shared.lock())
    }

    /// Says which task runs this thread. Once, before it runs.
    pub fn set_task(&self, task: TaskRef) {
        let set = self.task.try_init_once(|| task);
        assert!(set.is_ok(), "a thread has one task");
    }

    /// The task that runs it.
    pub fn task(&self) -> Option<&TaskRef> {
        self.task.try_get().ok()
    }

    /// It goes to another CPU.
    ///
    /// # Context
    /// Any; while it does not run.
    pub fn moves(&self) {
        self.migrations.fetch_add(1, Ordering::Relaxed);
        super::rseq::note(self);
    }

    /// Makes it look at its work.
    ///
    /// # Context
    /// Any.
    pub fn wake(&self) {
        if let Some(task) = self.task() {
            task.wake();
        }
    }

    /// Whether there is something to do before going to user mode.
    #[inline(always)]
    pub fn has_work(&self) -> bool {
        self.work() != 0
    }

    /// Makes this thread, the caller's own, end with `code` before it would go to user mode again.
    pub fn leave(&self, code: u8) {
        self.exit_code.store(u32::from(code), Ordering::Relaxed);
        self.set_bits(WORK_SIGNAL | WORK_KILLED);
    }

    /// How it ends, if by itself.
    pub fn exit_code(&self) -> Option<u8> {
        u8::try_from(self.exit_code.load(Ordering::Relaxed)).ok()
    }

    /// The `WORK_*` bits: what is to be done before going to user mode.
    #[inline(always)]
    pub fn work(&self) -> u32 {
        self.bits.load(Ordering::Acquire) & WORK_MASK
    }

    /// `WORK_*` and `STATE_*`.
    #[inline]
    pub fn bits(&self) -> u32 {
        self.bits.load(Ordering::Acquire)
    }

    /// Sets bits.
    #[inline]
    pub fn set_bits(&self, bits: u32) {
        self.bits.fetch_or(bits, Ordering::AcqRel);
    }

    /// Clears bits.
    #[inline]
    pub fn clear_bits(&self, bits: u32) {
        self.bits.fetch_and(!bits, Ordering::AcqRel);
    }

    /// Whether an interruptible wait is to end.
    #[inline]
    pub fn signal_pending(&self) -> bool {
        self.bits.load(Ordering::Acquire) & INTERRUPTS != 0
    }

    /// Whether a killable wait, or a long loop, is to end.
    #[inline]
    pub fn fatal_signal_pending(&self) -> bool {
        self.bits.load(Ordering::Acquire) & WORK_KILLED != 0
    }

    /// Waits for `future`, or for a signal. For leaf waits of this very thread.
    ///
    /// # Errors
    /// `ERESTARTSYS` if a signal came first; the future is then dropped.
    pub fn interruptible<F: Future>(&self, future: F) -> Interruptible<'_, F> {
        Interruptible {
            future,
            thread: self,
            wanted: INTERRUPTS,
        }
    }

    /// Waits for `future`, or for the end of this thread. For leaf waits of this very thread.
    ///
    /// # Errors
    /// `EINTR` if the thread is to end; the future is then dropped.
    pub fn killable<F: Future>(&self, future: F) -> Interruptible<'_, F> {
        Interruptible {
            future,
            thread: self,
            wanted: WORK_KILLED,
        }
    }
}

pin_project_lite::pin_project! {
    /// See [`Thread::interruptible`] and [`Thread::killable`].
    #[derive(Debug)]
    pub struct Interruptible<'a, F> {
        #[pin]
        future: F,
        thread: &'a Thread,
        wanted: u32,
    }
}

impl<F: Future> Future for Interruptible<'_, F> {
    type Output = Result<F::Output, Errno>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let state = if *this.wanted == WORK_KILLED {
            STATE_UNINTERRUPTIBLE
        } else {
            STATE_INTERRUPTIBLE
        };
        if let Poll::Ready(value) = this.future.poll(cx) {
            this.thread.clear_bits(state);
            return Poll::Ready(Ok(value));
        }
        // A signal sets its bit before it wakes the task, so one that came after this look polls us again.
        let bits = this.thread.bits();
        if bits & *this.wanted != 0 {
            this.thread.clear_bits(state);
            return Poll::Ready(Err(if *this.wanted == WORK_KILLED {
                Errno::EINTR
            } else {
                Errno::ERESTARTSYS
            }));
        }
        if bits & state == 0 {
            this.thread.set_bits(state);
        }
        Poll::Pending
    }
}

impl VforkDone {
    /// For the parent whose task is `parent`.
    pub fn new(parent: Option<TaskRef>) -> Arc<VforkDone> {
        Arc::new(VforkDone {
            done: AtomicBool::new(false),
            parent,
        })
    }

    /// The child is done.
    pub fn complete(&self) {
        self.done.store(true, Ordering::Release);
        if let Some(parent) = &self.parent {
            parent.wake();
        }
    }

    /// Waits for the child; only in the parent's own task.
    pub fn wait(&self) -> impl Future<Output = ()> + '_ {
        core::future::poll_fn(|_| {
            if self.done.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }
}
