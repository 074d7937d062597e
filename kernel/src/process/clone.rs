//! Making threads and processes.
//!
//! fork, vfork, clone and clone3 all end up in [`clone`].
//!
//! Source: clone(2).

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use executor::sync::SpinLock;
use fs::{Cap, Errno};

use super::exit;
use super::family::{Family, Life};
use super::pid::Pid;
use super::process::Process;
use super::rlimit::{RLIM_INFINITY, Resource};
use super::rseq;
use super::table::{self, TaskTable};
use super::thread::{STATE_FORKED, STATE_SECCOMP, STATE_TRACED, Shared, Thread, VforkDone};
use super::trace::{self, event};
use crate::arch::thread::Machine;
use crate::arch::user::{USER_END, UserRegs};
use crate::cgroup;
use crate::ipc::sem::undo;
use crate::mm;
use crate::signal::Signal;
use crate::signal::state::{AltStack, SigHand};
use crate::task::place;
use crate::usermem;

/// `CLONE_*`.
#[expect(missing_docs, reason = "the names are clone's")]
pub mod flag {
    pub const VM: u64 = 0x100;
    pub const FS: u64 = 0x200;
    pub const FILES: u64 = 0x400;
    pub const SIGHAND: u64 = 0x800;
    pub const PIDFD: u64 = 0x1000;
    pub const PTRACE: u64 = 0x2000;
    pub const VFORK: u64 = 0x4000;
    pub const PARENT: u64 = 0x8000;
    pub const THREAD: u64 = 0x1_0000;
    pub const NEWNS: u64 = 0x2_0000;
    pub const SYSVSEM: u64 = 0x4_0000;
    pub const SETTLS: u64 = 0x8_0000;
    pub const PARENT_SETTID: u64 = 0x10_0000;
    pub const CHILD_CLEARTID: u64 = 0x20_0000;
    pub const DETACHED: u64 = 0x40_0000;
    pub const UNTRACED: u64 = 0x80_0000;
    pub const CHILD_SETTID: u64 = 0x100_0000;
    pub const NEWCGROUP: u64 = 0x200_0000;
    pub const NEWUTS: u64 = 0x400_0000;
    pub const NEWIPC: u64 = 0x800_0000;
    pub const NEWUSER: u64 = 0x1000_0000;
    pub const NEWPID: u64 = 0x2000_0000;
    pub const NEWNET: u64 = 0x4000_0000;
    pub const IO: u64 = 0x8000_0000;
    pub const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    pub const INTO_CGROUP: u64 = 0x2_0000_0000;
    /// Every kind of namespace; `NEWTIME` (0x80) is clone3's alone.
    pub const NAMESPACES: u64 =
        NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | 0x80;
}

/// What a child is to be like.
#[derive(Clone, Copy, Default, Debug)]
pub struct CloneArgs {
    /// `CLONE_*`, without the exit signal.
    pub flags: u64,
    /// What the parent is sent at the end, or 0.
    pub exit_signal: i32,
    /// Stack pointer, or 0 for the parent's.
    pub stack: u64,
    /// FS base, with `CLONE_SETTLS`.
    pub tls: u64,
    /// Where the parent finds the child's number, with `CLONE_PARENT_SETTID`.
    pub parent_tid: u64,
    /// Where the parent finds a descriptor of the child, with `CLONE_PIDFD`.
    pub pidfd: u64,
    /// Where the child finds its number, with `CLONE_CHILD_SETTID` and `CLONE_CHILD_CLEARTID`.
    pub child_tid: u64,
}

/// A child that was made and runs.
#[derive(Debug)]
pub struct Cloned {
    /// Its number.
    pub tid: Pid,
    /// With `CLONE_VFORK`, what the parent waits for.
    pub vfork: Option<Arc<VforkDone>>,
}

/// Whether `flags` go together.
fn check(flags: u64, privileged: bool) -> Result<(), Errno> {
    use flag::*;
    let has = |wanted: u64| flags & wanted == wanted;
    if has(NEWNS | FS) || has(NEWUSER | FS) {
        return Err(Errno::EINVAL);
    }
    if has(THREAD) && !has(SIGHAND) || has(SIGHAND) && !has(VM) || has(SIGHAND | CLEAR_SIGHAND) {
        return Err(Errno::EINVAL);
    }
    if has(PIDFD) && flags & (DETACHED | THREAD) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & NAMESPACES != 0 {
        // No namespaces are there yet, which Linux would say by `EINVAL`, to those who might make them.
        return Err(if privileged || flags & NAMESPACES == NEWUSER {
            Errno::EINVAL
        } else {
            Errno::EPERM
        });
    }
    if flags & INTO_CGROUP != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Makes a child of `parent`, which is in a system call with registers `regs`.
///
/// # Context
/// Task: the parent's own call. Takes the task list.
/// # Errors
/// As the man page says; `ERESTARTNOINTR` if a signal is to be taken first.
pub fn clone(parent: &Arc<Thread>, regs: &UserRegs, args: &CloneArgs) -> Result<Cloned, Errno> {
    let flags = args.flags;
    let cred = parent.cred();
    check(flags, cred.capable(Cap::SysAdmin))?;
    if flags & flag::SETTLS != 0 && args.tls >= USER_END {
        return Err(Errno::EPERM);
    }
    // As on Linux, clone takes any number, and one that is no signal is never sent.
    let exit_signal = Signal::new(args.exit_signal);
    mm::admit()?;
    let own = parent.process();
    let user = parent.with_shared(|shared| shared.user.clone());
    let limit = own.limit(Resource::Processes);
    let exempt = user.uid == 0 || cred.capable(Cap::SysResource) || cred.capable(Cap::SysAdmin);
    if u64::from(user.processes.load(Ordering::Relaxed)) >= limit && !exempt {
        return Err(Errno::EAGAIN);
    }

    let files = parent.files();
    let files = if flags & flag::FILES != 0 {
        files
    } else {
        Arc::new(files.duplicate()?)
    };
    let context = parent.fs();
    let context = if flags & flag::FS != 0 {
        context
    } else {
        Arc::new(SpinLock::new(context.lock().clone()))
    };
    let shared = Shared {
        comm: parent.comm(),
        cred,
        user,
        files: Some(files),
        fs: Some(context),
    };
    let (fs_base, gs_base) = parent.machine.bases();
    let fs_base = if flags & flag::SETTLS != 0 {
        args.tls
    } else {
        fs_base
    };
    let machine = Machine::new(parent.machine.fpu.get(), fs_base, gs_base);
    let mut child_regs = Box::new(regs.clone());
    child_regs.rax = 0;
    if args.stack != 0 {
        child_regs.rsp = args.stack;
    }

    let attributes = parent.attributes();
    if attributes.deadline().is_some() && !attributes.reset_on_fork {
        // What was promised to one is not for two.
        return Err(Errno::EAGAIN);
    }
    let undo = match flags & flag::SYSVSEM {
        0 => None,
        _ => Some(undo::list(parent)?),
    };
    let (thread, space) = if flags & flag::THREAD != 0 {
        (add_thread(parent, shared, machine)?, None)
    } else {
        add_process(parent, shared, machine, flags, exit_signal)?
    };
    if space.is_some() && thread.process().rlimits.lock().get(Resource::Cpu).cur != RLIM_INFINITY {
        // The limit on processor time is inherited, and watched for in the child as well.
        let _ = thread.process().watch_cpu_limit();
    }
    let child = &*thread;
    child.inherit_attributes(parent);
    cgroup::inherit(child, parent);
    child
        .affinity
        .store(parent.affinity.load(Ordering::Relaxed), Ordering::Relaxed);
    child.io_priority.store(
        parent.io_priority.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    child.personality.store(
        parent.personality.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    child.no_new_privs.store(
        parent.no_new_privs.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    *child.undo.lock() = undo;
    if flags & flag::VM == 0 {
        rseq::inherit(child, parent);
    }
    inherit_filters(parent, child);
    child.set_bits(STATE_FORKED);
    let tid = child.tid();
    if flags & flag::PARENT_SETTID != 0 {
        // As on Linux, a bad address is the caller's own loss.
        let _ = usermem::write(args.parent_tid, &tid);
    }
    if flags & flag::CHILD_CLEARTID != 0 {
        child
            .clear_child_tid
            .store(args.child_tid, Ordering::Relaxed);
    }
    if flags & flag::CHILD_SETTID != 0 {
        match &space {
            Some(space) => {
                space.write_memory(args.child_tid, &tid.to_ne_bytes(), false);
            }
            None => {
                let _ = usermem::write(args.child_tid, &tid);
            }
        }
    }
    let pidfd = if flags & flag::PIDFD != 0 {
        match give_pidfd(parent, thread.process(), args.pidfd) {
            Ok(fd) => Some(fd),
            Err(e) => {
                exit::abandon(&thread);
                return Err(e);
            }
        }
    } else {
        None
    };
    if parent.bits() & STATE_TRACED != 0 && flags & flag::UNTRACED == 0 {
        let event = match exit_signal {
            _ if flags & flag::VFORK != 0 => event::VFORK,
            Some(Signal::SIGCHLD) => event::FORK,
            _ => event::CLONE,
        };
        let wanted = flags & flag::PTRACE != 0;
        // Without memory for it the child runs untraced.
        let _ = trace::inherit(&mut table::lock(), parent, &thread, event, wanted);
    }
    let vfork = (flags & flag::VFORK != 0).then(|| VforkDone::new(parent.task().cloned()));
    *child.vfork.lock() = vfork.clone();
    if let Err(e) = crate::user::start(&thread, child_regs) {
        if let Some(fd) = pidfd {
            drop(parent.files().remove(fd));
        }
        exit::abandon(&thread);
        return Err(e);
    }
    Ok(Cloned { tid, vfork })
}

/// The child allows itself what its parent does. Under the signal lock, since another thread may be giving filters to all.
fn inherit_filters(parent: &Thread, child: &Thread) {
    let state = parent.process().signals.lock();
    let mode = parent.seccomp.lock().clone();
    if mode.number() != 0 {
        child.set_bits(STATE_SECCOMP);
        *child.seccomp.lock() = mode;
        child.no_new_privs.store(
            parent.no_new_privs.load(Ordering::Relaxed),
            Ordering::Relaxed,
        );
    }
    drop(state);
}

/// Gives `parent` a descriptor of `child`, and writes its number to `at`.
fn give_pidfd(parent: &Thread, child: &Arc<Process>, at: u64) -> Result<i32, Errno> {
    let files = parent.files();
    let limit = parent.process().limit(Resource::Files);
    let fd = files.install(super::pidfd::open(child, 0)?, true, limit)?;
    if let Err(e) = usermem::write(at, &fd) {
        drop(files.remove(fd));
        return Err(e);
    }
    Ok(fd)
}

/// Enters a new thread of the caller's process into all lists. It does not run yet.
fn add_thread(
    parent: &Arc<Thread>,
    shared: Shared,
    machine: Machine,
) -> Result<Arc<Thread>, Errno> {
    let process = parent.process();
    let mut table = table::lock();
    let tid = new_pid(&mut table)?;
    let mut state = process.signals.lock();
    if parent.signal_pending() || state.exit.is_some() || state.exec.is_some() {
        drop(state);
        table.release_pid(tid);
        return Err(Errno::ERESTARTNOINTR);
    }
    if state.threads.try_reserve(1).is_err() {
        drop(state);
        table.release_pid(tid);
        return Err(Errno::ENOMEM);
    }
    shared.user.processes.fetch_add(1, Ordering::Relaxed);
    let thread = Arc::new(Thread::new(tid, process.clone(), &state, shared, machine));
    let blocked = parent.signals.get(&state.token).blocked;
    thread.signals.get_mut(&mut state.token).blocked = blocked;
    state.threads.push(thread.clone());
    process.live.fetch_add(1, Ordering::Relaxed);
    drop(state);
    table.insert_thread(&thread);
    Ok(thread)
}

/// Enters a new process with one thread into all lists. It does not run yet. Gives its address space where that is its own.
fn add_process(
    parent: &Arc<Thread>,
    shared: Shared,
    machine: Machine,
    flags: u64,
    exit_signal: Option<Signal>,
) -> Result<(Arc<Thread>, Option<Arc<mm::AddressSpace>>), Errno> {
    let own = parent.process();
    let space = parent.mm().ok_or(Errno::EINVAL)?;
    let (space, is_own) = if flags & flag::VM != 0 {
        (space, false)
    } else {
        (space.fork()?, true)
    };
    let (sighand, blocked, altstack) = {
        let state = own.signals.lock();
        let signals = parent.signals.get(&state.token);
        (state.sighand.clone(), signals.blocked, signals.altstack)
    };
    let sighand = if flags & flag::SIGHAND != 0 {
        sighand
    } else {
        sighand.duplicate()
    };
    if flags & flag::CLEAR_SIGHAND != 0 {
        sighand.actions.lock().reset_for_exec();
    }
    let rlimits = *own.rlimits.lock();
    let image = own.image.lock().clone();

    let mut table = table::lock();
    // Looked at under the task list, so that a signal to the whole group reaches parent and child or neither.
    if parent.signal_pending() {
        return Err(Errno::ERESTARTNOINTR);
    }
    let family = own.family(&table);
    let (real_parent, parent_tid, exit_signal) = if flags & flag::PARENT != 0 {
        let grandparent = family.parent.clone().ok_or(Errno::EINVAL)?;
        (grandparent, family.parent_tid, family.exit_signal)
    } else {
        (own.clone(), parent.tid(), exit_signal)
    };
    let group = family.group.clone();
    real_parent
        .family_mut(&mut table)
        .children
        .try_reserve(1)
        .map_err(|_| Errno::ENOMEM)?;
    table.reserve_member(&group)?;
    let pid = new_pid(&mut table)?;
    let family = Family {
        parent: Some(real_parent.clone()),
        parent_tid,
        children: alloc::vec::Vec::new(),
        group: group.clone(),
        life: Life::Alive,
        exit_signal,
        tracees: alloc::vec::Vec::new(),
        departed: alloc::vec::Vec::new(),
        tracer: None,
    };
    let process = Process::new(pid, &table, family, sighand, Some(space.clone()), rlimits);
    process.has_subreaper.store(
        own.has_subreaper.load(Ordering::Relaxed) || own.subreaper.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    *process.image.lock() = image;
    process
        .oom_score_adj
        .store(own.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
    let process = Arc::new(process);
    let thread = first_thread(&process, shared, machine);
    {
        let mut state = process.signals.lock();
        let signals = thread.signals.get_mut(&mut state.token);
        signals.blocked = blocked;
        if flags & flag::VM == 0 || flags & flag::VFORK != 0 {
            signals.altstack = altstack;
        } else {
            signals.altstack = AltStack::default();
        }
    }
    real_parent
        .family_mut(&mut table)
        .children
        .push(process.clone());
    table.insert_process(&process);
    table.insert_thread(&thread);
    table.join_group(&process, &group)?;
    Ok((thread, is_own.then_some(space)))
}

/// Makes the first thread of `process`, in its list of threads but in no table.
fn first_thread(process: &Arc<Process>, shared: Shared, machine: Machine) -> Arc<Thread> {
    let mut state = process.signals.lock();
    shared.user.processes.fetch_add(1, Ordering::Relaxed);
    let thread = Arc::new(Thread::new(
        process.pid,
        process.clone(),
        &state,
        shared,
        machine,
    ));
    state.threads.push(thread.clone());
    process.live.store(1, Ordering::Relaxed);
    thread
}

fn new_pid(table: &mut TaskTable) -> Result<Pid, Errno> {
    if table.thread_count() >= table.max_threads() {
        return Err(Errno::EAGAIN);
    }
    table.allocate_pid()
}

/// Makes process 1, which runs nothing yet: its thread is to call execve before anything else.
///
/// # Context
/// Boot.
/// # Errors
/// `ENOMEM`.
pub fn make_init(
    space: Arc<mm::AddressSpace>,
    shared: Shared,
    rlimits: super::rlimit::Rlimits,
) -> Result<Arc<Thread>, Errno> {
    let mut table = table::lock();
    let pid = table.allocate_pid()?;
    let session = Arc::new(super::family::Session::new(0, None));
    let group = Arc::new(super::family::Group::new(0, session, &table));
    let family = Family {
        parent: None,
        parent_tid: 0,
        children: alloc::vec::Vec::new(),
        group: group.clone(),
        life: Life::Alive,
        exit_signal: Some(Signal::SIGCHLD),
        tracees: alloc::vec::Vec::new(),
        departed: alloc::vec::Vec::new(),
        tracer: None,
    };
    let process = Arc::new(Process::new(
        pid,
        &table,
        family,
        Arc::<SigHand>::default(),
        Some(space),
        rlimits,
    ));
    let thread = first_thread(&process, shared, Machine::default());
    let usual = place::present() & !place::isolated();
    thread.affinity.store(usual, Ordering::Relaxed);
    cgroup::enter_root(&thread);
    process.signals.lock().unkillable = true;
    table.insert_process(&process);
    table.insert_thread(&thread);
    table.join_group(&process, &group)?;
    Ok(thread)
}
