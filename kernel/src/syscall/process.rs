//! Calls on processes and threads: making, ending, awaiting, replacing, and what hangs off them.

use core::sync::atomic::Ordering;

use executor::time::Instant;
use fs::file::oflag;
use fs::namei::{LookupFlags, at};
use fs::{Cap, Errno, Result};

use super::signal::own_info;
use super::{Call, Plain, Stop, SysResult};
use crate::arch::user::USER_END;
use crate::exec::{self, Vector};
use crate::process::clone::{self, CloneArgs, flag};
use crate::process::family::Life;
use crate::process::process::{TICK_NS, UsageSum};
use crate::process::rlimit::{Resource, Rlimit};
use crate::process::trace::{event, stop};
use crate::process::wait::{
    self, Found, WALL, WCLONE, WCONTINUED, WEXITED, WNOHANG, WNOTHREAD, WNOWAIT, WSTOPPED, Which,
};
use crate::process::{Pid, Process, Thread, exit, pidfd, session, table};
use crate::signal::Signal;
use crate::signal::info::SI_USER;
use crate::signal::send::{self, Target};
use crate::usermem;

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (39, getpid),
    (56, clone_call),
    (57, fork),
    (58, vfork),
    (59, execve),
    (60, exit_call),
    (61, wait4),
    (97, getrlimit),
    (98, getrusage),
    (100, times),
    (109, setpgid),
    (110, getppid),
    (111, getpgrp),
    (112, setsid),
    (121, getpgid),
    (124, getsid),
    (135, personality),
    (158, arch_prctl),
    (160, setrlimit),
    (186, gettid),
    (218, set_tid_address),
    (231, exit_group),
    (247, waitid),
    (272, unshare),
    (273, set_robust_list),
    (274, get_robust_list),
    (302, prlimit64),
    (322, execve),
    (435, clone3),
];

fn getpid(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.process().pid as u64)
}

fn gettid(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.tid() as u64)
}

fn getppid(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.process().ppid() as u64)
}

fn exit_call(call: &mut Call<'_>) -> SysResult {
    call.thread.leave(call.arg(0) as u8);
    Ok(0)
}

fn exit_group(call: &mut Call<'_>) -> SysResult {
    exit::exit_group(call.thread, call.arg(0) as u8);
    Ok(0)
}

fn set_tid_address(call: &mut Call<'_>) -> SysResult {
    call.thread
        .clear_child_tid
        .store(call.arg(0), Ordering::Relaxed);
    Ok(call.thread.tid() as u64)
}

// Making children.

fn start(call: &mut Call<'_>, args: &CloneArgs) -> SysResult {
    let made = clone::clone(call.thread, call.regs, args)?;
    match made.vfork {
        None => Ok(made.tid as u64),
        Some(vfork) => {
            *call.thread.vfork_wait.lock() = Some((made.tid, vfork));
            Err(Stop::Wait)
        }
    }
}

fn fork(call: &mut Call<'_>) -> SysResult {
    start(
        call,
        &CloneArgs {
            exit_signal: 17,
            ..CloneArgs::default()
        },
    )
}

fn vfork(call: &mut Call<'_>) -> SysResult {
    start(
        call,
        &CloneArgs {
            flags: flag::VFORK | flag::VM,
            exit_signal: 17,
            ..CloneArgs::default()
        },
    )
}

fn clone_call(call: &mut Call<'_>) -> SysResult {
    const CSIGNAL: u64 = 0xff;
    let flags = call.arg(0) & 0xffff_ffff;
    // Here the low byte is the exit signal, so `CLONE_NEWTIME` cannot be asked for.
    let args = CloneArgs {
        flags: flags & !CSIGNAL,
        exit_signal: (flags & CSIGNAL) as i32,
        stack: call.arg(1),
        parent_tid: call.arg(2),
        pidfd: call.arg(2),
        child_tid: call.arg(3),
        tls: call.arg(4),
    };
    if flags & flag::PIDFD != 0 && flags & flag::PARENT_SETTID != 0 {
        return Err(Errno::EINVAL.into());
    }
    start(call, &args)
}

fn clone3(call: &mut Call<'_>) -> SysResult {
    const SIZE_VER0: u64 = 64;
    const WORDS: usize = 11;
    let (at, size) = (call.arg(0), call.arg(1));
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    if size < SIZE_VER0 {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = [0; WORDS * 8];
    let known = (size as usize).min(bytes.len());
    usermem::read_bytes(at, &mut bytes[..known])?;
    // A newer structure is fine as long as what we do not know is zero.
    for offset in known as u64..size {
        if usermem::read::<u8>(at + offset)? != 0 {
            return Err(Errno::E2BIG.into());
        }
    }
    let word =
        |n: usize| u64::from_le_bytes(bytes[n * 8..n * 8 + 8].try_into().expect("eight bytes"));
    let (flags, exit_signal, stack, stack_size) = (word(0), word(4), word(5), word(6));
    let (set_tid, set_tid_size) = (word(8), word(9));
    let bad_stack = if stack == 0 {
        stack_size != 0
    } else {
        stack_size == 0
            || stack
                .checked_add(stack_size)
                .is_none_or(|end| end > USER_END)
    };
    const KNOWN: u64 = 0x3_ffff_ffff & !0xff | 0x80;
    if flags & !KNOWN != 0
        || flags & flag::DETACHED != 0
        || exit_signal > 64
        || flags & (flag::THREAD | flag::PARENT) != 0 && exit_signal != 0
        || bad_stack
        || (set_tid == 0) != (set_tid_size == 0)
        || set_tid_size > 32
    {
        return Err(Errno::EINVAL.into());
    }
    if set_tid_size > 0 {
        // Choosing numbers is for checkpoint and restore.
        return Err(if call.thread.cred().capable(Cap::SysAdmin) {
            Errno::EINVAL
        } else {
            Errno::EPERM
        }
        .into());
    }
    let args = CloneArgs {
        flags,
        exit_signal: exit_signal as i32,
        stack: if stack == 0 { 0 } else { stack + stack_size },
        parent_tid: word(3),
        pidfd: word(1),
        child_tid: word(2),
        tls: word(7),
    };
    start(call, &args)
}

/// The waiting part of vfork: until the child has let go of the memory.
pub async fn vfork_wait(call: &mut Call<'_>) -> Result<u64> {
    let waiting = call.thread.vfork_wait.lock().take();
    let Some((tid, vfork)) = waiting else {
        return Err(Errno::EINVAL);
    };
    stop::for_pending_event(call.thread, call.regs).await;
    // A parent that is killed meanwhile does not wait for the child.
    let _ = call.thread.killable(vfork.wait()).await;
    stop::for_event(call.thread, call.regs, event::VFORK_DONE, tid as u64).await;
    Ok(tid as u64)
}

fn unshare(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(0);
    const HERE: u64 = flag::FS | flag::FILES | flag::SYSVSEM;
    const ALONE: u64 = flag::THREAD | flag::SIGHAND | flag::VM;
    if flags & !(HERE | ALONE | flag::NAMESPACES) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & ALONE != 0 && call.thread.process().threads().len() > 1 {
        return Err(Errno::EINVAL.into());
    }
    if flags & flag::NAMESPACES != 0 {
        let privileged =
            call.thread.cred().capable(Cap::SysAdmin) || flags & flag::NAMESPACES == flag::NEWUSER;
        return Err(if privileged {
            Errno::EINVAL
        } else {
            Errno::EPERM
        }
        .into());
    }
    if flags & flag::FILES != 0 {
        let own = alloc::sync::Arc::new(call.thread.files().duplicate()?);
        let old = call.thread.with_shared(|shared| shared.files.replace(own));
        drop(old);
    }
    if flags & flag::FS != 0 {
        let context = call.thread.fs().lock().clone();
        let own = alloc::sync::Arc::new(executor::sync::SpinLock::new(context));
        let old = call.thread.with_shared(|shared| shared.fs.replace(own));
        drop(old);
    }
    Ok(0)
}

// Replacing the program.

fn execve(_: &mut Call<'_>) -> SysResult {
    Err(Stop::Wait)
}

/// execve and execveat.
pub async fn exec(call: &mut Call<'_>) -> Result<u64> {
    const EXECVEAT: usize = 322;
    let request = if call.number() == EXECVEAT {
        at_request(call)?
    } else {
        request(call, 0)?
    };
    let thread = call.thread;
    let old_tid = thread.tid();
    exec::execute(thread, call.regs, request).await?;
    let seized = thread.link().map(|link| link.seized);
    let told = stop::for_event(thread, call.regs, event::EXEC, old_tid as u64).await;
    if !told && seized == Some(false) {
        // Tracers of old know a new program by this.
        let info = own_info(call, Some(Signal::SIGTRAP), SI_USER);
        send::send(Target::Thread(thread), Signal::SIGTRAP, &info)?;
    }
    Ok(0)
}

fn request(call: &Call<'_>, first: usize) -> Result<exec::Request> {
    let path = usermem::PathBuf::read(call.arg(first))?.as_bytes().to_vec();
    Ok(exec::Request {
        path,
        start: None,
        flags: LookupFlags::FOLLOW,
        shown: None,
        args: Vector::User(call.arg(first + 1)),
        env: Vector::User(call.arg(first + 2)),
    })
}

fn at_request(call: &Call<'_>) -> Result<exec::Request> {
    let (fd, flags) = (call.int(0), call.arg(4) as u32);
    if flags & !(at::EMPTY_PATH | at::SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut request = request(call, 1)?;
    request.flags = LookupFlags::from_at(flags);
    if request.path.first() == Some(&b'/') || fd == at::FDCWD {
        return Ok(request);
    }
    request.start = Some(call.thread.file(fd)?.path().clone());
    let mut shown = alloc::format!("/dev/fd/{fd}").into_bytes();
    if !request.path.is_empty() {
        shown.push(b'/');
        shown.extend_from_slice(&request.path);
    }
    request.shown = Some(shown);
    Ok(request)
}

// Waiting for children.

/// `struct rusage`, as words: four of times, the resident set, and fourteen counters of which Linux keeps four.
fn rusage(sum: &UsageSum) -> [u64; 18] {
    let sec = |ns: u64| ns / 1_000_000_000;
    let usec = |ns: u64| ns / 1000 % 1_000_000;
    let mut words = [0; 18];
    words[..5].copy_from_slice(&[
        sec(sum.user_ns),
        usec(sum.user_ns),
        sec(sum.system_ns),
        usec(sum.system_ns),
        sum.max_rss_kib,
    ]);
    words[8] = sum.minor_faults;
    words[9] = sum.major_faults;
    words[16] = sum.voluntary_switches;
    words[17] = sum.involuntary_switches;
    words
}

fn wait4_args(call: &Call<'_>) -> Result<(Which, u32)> {
    let (pid, options) = (call.int(0), call.arg(2) as u32);
    if options & !(WNOHANG | WSTOPPED | WCONTINUED | WNOTHREAD | WCLONE | WALL) != 0 {
        return Err(Errno::EINVAL);
    }
    let which = match pid {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => Which::Any,
        0 => Which::Group(call.thread.process().group().id),
        group if group < 0 => Which::Group(-group),
        pid => Which::Process(pid),
    };
    Ok((which, options | WEXITED))
}

fn wait4_done(call: &Call<'_>, found: Found) -> Result<u64> {
    let (status, usage) = (call.arg(1), call.arg(3));
    if status != 0 {
        usermem::write(status, &found.change.word())?;
    }
    if usage != 0 {
        usermem::write(usage, &rusage(&found.usage))?;
    }
    Ok(found.pid as u64)
}

fn wait4(call: &mut Call<'_>) -> SysResult {
    let (which, options) = wait4_args(call)?;
    match wait::look(call.thread, which, options)? {
        Some(found) => Ok(wait4_done(call, found)?),
        None if options & WNOHANG != 0 => Ok(0),
        None => Err(Stop::Wait),
    }
}

/// The waiting part of wait4.
pub async fn wait4_wait(call: &mut Call<'_>) -> Result<u64> {
    let (which, options) = wait4_args(call)?;
    let found = wait::wait(call.thread, which, options).await?;
    wait4_done(call, found)
}

fn waitid_args(call: &Call<'_>) -> Result<(Which, u32)> {
    const P_ALL: u64 = 0;
    const P_PID: u64 = 1;
    const P_PGID: u64 = 2;
    const P_PIDFD: u64 = 3;
    let (kind, id, options) = (call.arg(0), call.int(1), call.arg(3) as u32);
    if options & !(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WCLONE | WALL)
        != 0
        || options & (WEXITED | WSTOPPED | WCONTINUED) == 0
    {
        return Err(Errno::EINVAL);
    }
    let which = match kind {
        P_ALL => Which::Any,
        P_PID if id > 0 => Which::Process(id),
        P_PGID if id == 0 => Which::Group(call.thread.process().group().id),
        P_PGID if id > 0 => Which::Group(id),
        P_PIDFD if id >= 0 => Which::Process(waited_pidfd(call, id)?),
        _ => return Err(Errno::EINVAL),
    };
    Ok((which, options))
}

/// The number of the process that pidfd `fd` stands for.
fn waited_pidfd(call: &Call<'_>, fd: i32) -> Result<Pid> {
    let process = pidfd::process_of(&*call.thread.file(fd)?)?;
    // Its number may be another's by now.
    let reaped = process.family(&table::lock()).life == Life::Reaped;
    if reaped {
        Err(Errno::ECHILD)
    } else {
        Ok(process.pid)
    }
}

/// Whether the caller waits for a pidfd that is not to be waited for.
fn is_nonblocking_pidfd(call: &Call<'_>) -> bool {
    const P_PIDFD: u64 = 3;
    call.arg(0) == P_PIDFD
        && call
            .thread
            .file(call.int(1))
            .is_ok_and(|file| file.flags() & oflag::O_NONBLOCK != 0)
}

fn waitid_done(call: &Call<'_>, found: Option<Found>) -> Result<u64> {
    let (info, usage) = (call.arg(2), call.arg(4));
    if let Some(found) = &found
        && usage != 0
    {
        usermem::write(usage, &rusage(&found.usage))?;
    }
    if info != 0 {
        // si_signo, si_errno, si_code, padding, si_pid, si_uid, si_status.
        let words = match found {
            Some(found) => {
                let (code, status) = found.change.code_and_status();
                [17, 0, code, 0, found.pid, found.uid as i32, status]
            }
            None => [0; 7],
        };
        usermem::write(info, &words)?;
    }
    Ok(0)
}

fn waitid(call: &mut Call<'_>) -> SysResult {
    let (which, options) = waitid_args(call)?;
    match wait::look(call.thread, which, options)? {
        None if options & WNOHANG == 0 && is_nonblocking_pidfd(call) => Err(Errno::EAGAIN.into()),
        None if options & WNOHANG == 0 => Err(Stop::Wait),
        found => Ok(waitid_done(call, found)?),
    }
}

/// The waiting part of waitid.
pub async fn waitid_wait(call: &mut Call<'_>) -> Result<u64> {
    let (which, options) = waitid_args(call)?;
    let found = wait::wait(call.thread, which, options).await?;
    waitid_done(call, Some(found))
}

// Groups and sessions.

fn setpgid(call: &mut Call<'_>) -> SysResult {
    session::set_group(call.thread, call.int(0), call.int(1))?;
    Ok(0)
}

/// The process with number `pid`, or the caller's own for 0.
fn process_of(call: &Call<'_>, pid: Pid) -> Result<alloc::sync::Arc<Process>> {
    if pid == 0 {
        return Ok(call.thread.process().clone());
    }
    let table = table::lock();
    table
        .process(pid)
        .or_else(|| table.thread(pid).map(|t| t.process()))
        .cloned()
        .ok_or(Errno::ESRCH)
}

fn getpgid(call: &mut Call<'_>) -> SysResult {
    Ok(process_of(call, call.int(0))?.group().id as u64)
}

fn getpgrp(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.process().group().id as u64)
}

fn getsid(call: &mut Call<'_>) -> SysResult {
    Ok(process_of(call, call.int(0))?.session().id as u64)
}

fn setsid(call: &mut Call<'_>) -> SysResult {
    Ok(session::set_session(call.thread.process())? as u64)
}

// Limits and usage.

/// Gives and sets a limit of `process`.
fn limit(
    call: &Call<'_>,
    process: &alloc::sync::Arc<Process>,
    resource: u64,
    new: Option<Rlimit>,
) -> Result<Rlimit> {
    let privileged = call.thread.cred().capable(Cap::SysResource);
    let mut limits = process.rlimits.lock();
    let old = limits.by_number(resource)?;
    if let Some(new) = new {
        limits.set(
            resource,
            new,
            privileged,
            fs::fdtable::NR_OPEN.count() as u64,
        )?;
        let get = |resource| limits.get(resource).cur;
        let for_memory = crate::mm::Limits {
            address_space: get(Resource::AddressSpace),
            data: get(Resource::Data),
            stack: get(Resource::Stack),
            memlock: get(Resource::Memlock),
        };
        drop(limits);
        if let Some(space) = process.mm() {
            space.set_limits(for_memory);
        }
        if resource == Resource::Cpu as u64 {
            process.watch_cpu_limit()?;
        }
    }
    Ok(old)
}

fn getrlimit(call: &mut Call<'_>) -> SysResult {
    let old = limit(call, call.thread.process(), call.arg(0), None)?;
    usermem::write(call.arg(1), &[old.cur, old.max])?;
    Ok(0)
}

fn setrlimit(call: &mut Call<'_>) -> SysResult {
    let [cur, max] = usermem::read::<[u64; 2]>(call.arg(1))?;
    let new = Rlimit { cur, max };
    limit(call, call.thread.process(), call.arg(0), Some(new))?;
    Ok(0)
}

fn prlimit64(call: &mut Call<'_>) -> SysResult {
    let (pid, resource, new, old) = (
        call.int(0),
        call.arg(1) & 0xffff_ffff,
        call.arg(2),
        call.arg(3),
    );
    let new = match new {
        0 => None,
        at => {
            let [cur, max] = usermem::read::<[u64; 2]>(at)?;
            Some(Rlimit { cur, max })
        }
    };
    let process = process_of(call, pid)?;
    if !alloc::sync::Arc::ptr_eq(&process, call.thread.process()) {
        let mine = call.thread.cred();
        let theirs = process.leader().ok_or(Errno::ESRCH)?.cred();
        let same = [theirs.uid, theirs.euid, theirs.suid]
            .iter()
            .all(|id| *id == mine.uid)
            && [theirs.gid, theirs.egid, theirs.sgid]
                .iter()
                .all(|id| *id == mine.gid);
        if !same && !mine.capable(Cap::SysResource) {
            return Err(Errno::EPERM.into());
        }
    }
    let was = limit(call, &process, resource, new)?;
    if old != 0 {
        usermem::write(old, &[was.cur, was.max])?;
    }
    Ok(0)
}

fn getrusage(call: &mut Call<'_>) -> SysResult {
    const SELF: i32 = 0;
    const CHILDREN: i32 = -1;
    const THREAD: i32 = 1;
    let process = call.thread.process();
    let mut sum = match call.int(0) {
        SELF => process.usage(),
        CHILDREN => process.accounts.lock().children,
        THREAD => {
            let mut sum = UsageSum::default();
            sum.add(call.thread);
            sum
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if call.int(0) != CHILDREN
        && let Some(space) = process.mm()
    {
        sum.max_rss_kib = sum.max_rss_kib.max(space.stats().rss_peak * 4);
    }
    usermem::write(call.arg(1), &rusage(&sum))?;
    Ok(0)
}

fn times(call: &mut Call<'_>) -> SysResult {
    if call.arg(0) != 0 {
        let own = call.thread.process().usage();
        let children = call.thread.process().accounts.lock().children;
        let ticks = [
            own.user_ns,
            own.system_ns,
            children.user_ns,
            children.system_ns,
        ]
        .map(|ns| ns / TICK_NS);
        usermem::write(call.arg(0), &ticks)?;
    }
    Ok(Instant::now().as_ns() / TICK_NS)
}

// Threads' own settings.

fn personality(call: &mut Call<'_>) -> SysResult {
    let new = call.arg(0) as u32;
    let old = call.thread.personality.load(Ordering::Relaxed);
    if new != u32::MAX {
        call.thread.personality.store(new, Ordering::Relaxed);
    }
    Ok(u64::from(old))
}

fn arch_prctl(call: &mut Call<'_>) -> SysResult {
    const SET_GS: u64 = 0x1001;
    const SET_FS: u64 = 0x1002;
    const GET_FS: u64 = 0x1003;
    const GET_GS: u64 = 0x1004;
    let machine = &call.thread.machine;
    let (fs, gs) = machine.bases();
    let value = call.arg(1);
    match call.arg(0) {
        SET_FS | SET_GS if value >= USER_END => return Err(Errno::EPERM.into()),
        SET_FS => machine.set_bases(value, gs),
        SET_GS => machine.set_bases(fs, value),
        GET_FS => usermem::write(value, &fs)?,
        GET_GS => usermem::write(value, &gs)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

const ROBUST_HEAD_SIZE: u64 = 24;

fn set_robust_list(call: &mut Call<'_>) -> SysResult {
    if call.arg(1) != ROBUST_HEAD_SIZE {
        return Err(Errno::EINVAL.into());
    }
    call.thread
        .robust_list
        .store(call.arg(0), Ordering::Relaxed);
    Ok(0)
}

fn get_robust_list(call: &mut Call<'_>) -> SysResult {
    let tid = call.int(0);
    let head = if tid == 0 {
        call.thread.robust_list.load(Ordering::Relaxed)
    } else {
        let thread = table::lock().thread(tid).cloned().ok_or(Errno::ESRCH)?;
        if !may_inspect(call.thread, &thread) {
            return Err(Errno::EPERM.into());
        }
        thread.robust_list.load(Ordering::Relaxed)
    };
    usermem::write(call.arg(2), &ROBUST_HEAD_SIZE)?;
    usermem::write(call.arg(1), &head)?;
    Ok(0)
}

/// Whether `caller` may look into `thread`, as for ptrace(2).
pub fn may_inspect(caller: &Thread, thread: &Thread) -> bool {
    let (mine, theirs) = (caller.cred(), thread.cred());
    let same = [theirs.uid, theirs.euid, theirs.suid]
        .iter()
        .all(|id| *id == mine.fsuid)
        && [theirs.gid, theirs.egid, theirs.sgid]
            .iter()
            .all(|id| *id == mine.fsgid);
    alloc::sync::Arc::ptr_eq(caller.process(), thread.process())
        || same
        || mine.capable(Cap::SysPtrace)
}
