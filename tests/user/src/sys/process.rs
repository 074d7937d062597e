//! Processes: their children, groups, users, limits, and how they end.

use super::{Result, calls, filled, ok};
use std::convert::Infallible;

calls! {
    /// Waits for a child of the kind that `pid` names.
    wait4(pid: i32, status: &mut i32, flags: i32, usage: Option<&mut libc::rusage>) -> i32 = SYS_wait4;

    /// Puts a process into a group.
    setpgid(pid: i32, group: i32) = SYS_setpgid;
    /// A process's group.
    getpgid(pid: i32) -> i32 = SYS_getpgid;
    /// Makes a session of this process.
    setsid() -> i32 = SYS_setsid;
    /// A process's session.
    getsid(pid: i32) -> i32 = SYS_getsid;
    /// Becomes another user.
    setuid(user: u32) = SYS_setuid;
    /// Becomes another user; `u32::MAX` leaves an id as it is.
    setresuid(real: u32, effective: u32, saved: u32) = SYS_setresuid;
    /// Joins another group of users.
    setresgid(real: u32, effective: u32, saved: u32) = SYS_setresgid;
    /// Which user this is.
    getresuid(real: &mut u32, effective: &mut u32, saved: &mut u32) = SYS_getresuid;
    /// Names the machine.
    sethostname(name: &str, len: usize) = SYS_sethostname;
    /// Something about this process.
    prctl(option: i32, arg: usize) -> i32 = SYS_prctl;
    /// Something about this process that is a name: `PR_SET_NAME`, `PR_GET_NAME`.
    prctl_name(option: i32, name: &mut [u8; 16]) = SYS_prctl;
        /// Stops or restarts the machine.
    reboot(magic: u32, second_magic: u32, what: i32) = SYS_reboot;

    /// Bytes by chance.
    getrandom(to: &mut [u8], flags: u32) -> usize = SYS_getrandom;
}

mod raw {
    use super::calls;

    calls! {
        /// This process.
        getpid() -> i32 = SYS_getpid;
        /// This thread.
        gettid() -> i32 = SYS_gettid;
        /// The parent.
        getppid() -> i32 = SYS_getppid;
        /// This process's group.
        getpgrp() -> i32 = SYS_getpgrp;
        /// The real user.
        getuid() -> u32 = SYS_getuid;
        /// The user whose rights count.
        geteuid() -> u32 = SYS_geteuid;
        /// The real group.
        getgid() -> u32 = SYS_getgid;
                /// Waits for a child, and tells more of it.
        waitid(kind: u32, id: u32, info: &mut libc::siginfo_t, flags: i32) = SYS_waitid;
        /// Limits of a process.
        prlimit64(
            pid: i32, what: u32, new: Option<&libc::rlimit>, old: Option<&mut libc::rlimit>,
        ) = SYS_prlimit64;
        /// What was used.
        getrusage(who: i32, usage: &mut libc::rusage) = SYS_getrusage;
        /// Time used, in ticks.
        times(times: &mut libc::tms) = SYS_times;
        /// The system's name.
        uname(name: &mut libc::utsname) = SYS_uname;
        /// The system's figures.
        sysinfo(info: &mut libc::sysinfo) = SYS_sysinfo;
                /// A nice level, counted from 20 downwards.
        getpriority(kind: u32, who: i32) -> i32 = SYS_getpriority;
        /// Sets a nice level.
        setpriority(kind: u32, who: i32, level: i32) = SYS_setpriority;
        /// Groups: how many there is room for or that are given, and where.
        getgroups(count: usize, groups: usize) -> usize = SYS_getgroups;
        /// As above.
        setgroups(count: usize, groups: usize) = SYS_setgroups;
        /// Executes a program.
        execve(path: &str, args: usize, environment: usize) = SYS_execve;
        /// Executes an open program.
        execveat(fd: i32, path: &str, args: usize, environment: usize, flags: i32) = SYS_execveat;
    }
}

macro_rules! never_fail {
    ($($(#[$doc:meta])* $name:ident -> $type:ty;)*) => { $(
        $(#[$doc])*
        pub fn $name() -> $type {
            ok(raw::$name())
        }
    )* };
}

never_fail! {
    /// This process's number.
    getpid -> i32;
    /// This thread's number.
    gettid -> i32;
    /// The parent's number.
    getppid -> i32;
    /// This process's group.
    getpgrp -> i32;
    /// The real user.
    getuid -> u32;
    /// The user whose rights count.
    geteuid -> u32;
    /// The real group.
    getgid -> u32;
}

/// The limits of this process on `what`, whose type depends on the C library: now, and as far as they may be raised.
pub fn getrlimit(what: impl Into<i64>) -> Result<(u64, u64)> {
    let limit: libc::rlimit =
        filled(|limit| raw::prlimit64(0, what.into() as u32, None, Some(limit)))?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Limits this process.
pub fn setrlimit(what: impl Into<i64>, now: u64, most: u64) -> Result {
    let limit = libc::rlimit {
        rlim_cur: now,
        rlim_max: most,
    };
    raw::prlimit64(0, what.into() as u32, Some(&limit), None)
}

/// Limits this process for good.
#[track_caller]
pub fn limit(what: impl Into<i64>, most: u64) {
    ok(setrlimit(what, most, most));
}

/// What this process, its thread or its children have used.
pub fn getrusage(who: i32) -> Result<libc::rusage> {
    filled(|usage| raw::getrusage(who, usage))
}

/// The time that was used, in ticks.
pub fn times() -> Result<libc::tms> {
    filled(raw::times)
}

/// The system's name.
pub fn uname() -> Result<libc::utsname> {
    filled(raw::uname)
}

/// The system's figures.
pub fn sysinfo() -> Result<libc::sysinfo> {
    filled(raw::sysinfo)
}

/// What `PRIO_PROCESS` is, whose type depends on the C library.
const PROCESS: u32 = 0;

/// A process's nice level.
pub fn nice_of(pid: i32) -> Result<i32> {
    raw::getpriority(PROCESS, pid).map(|level| 20 - level)
}

/// Sets a process's nice level.
pub fn set_nice(pid: i32, level: i32) -> Result {
    raw::setpriority(PROCESS, pid, level)
}

/// The supplementary groups.
pub fn getgroups(to: &mut [u32]) -> Result<usize> {
    raw::getgroups(to.len(), to.as_mut_ptr() as usize)
}

/// Sets the supplementary groups.
pub fn setgroups(groups: &[u32]) -> Result {
    raw::setgroups(groups.len(), groups.as_ptr() as usize)
}

/// A word of the auxiliary vector.
pub fn getauxval(kind: u64) -> u64 {
    // SAFETY: only reads what the program was started with.
    unsafe { libc::getauxval(kind) }
}

/// Strings as `execve` takes them: their addresses, and a zero behind.
struct Strings(Vec<std::ffi::CString>);

impl Strings {
    fn of(texts: &[&str]) -> Strings {
        Strings(texts.iter().map(|text| super::c(text)).collect())
    }

    fn addresses(&self) -> Vec<usize> {
        let addresses = self.0.iter().map(|text| text.as_ptr() as usize);
        addresses.chain([0]).collect()
    }
}

/// Becomes another program, with an empty environment; comes back with an error only.
pub fn execve(path: &str, args: &[&str]) -> Result<Infallible> {
    let args = Strings::of(args);
    let (args, none) = (args.addresses(), [0_usize]);
    let result = raw::execve(path, args.as_ptr() as usize, none.as_ptr() as usize);
    Err(result.expect_err("a new program does not come back"))
}

/// Becomes an open program, with an empty environment; comes back with an error only.
pub fn fexecve(fd: i32, args: &[&str]) -> Result<Infallible> {
    let args = Strings::of(args);
    let (args, none) = (args.addresses(), [0_usize]);
    let (args, none) = (args.as_ptr() as usize, none.as_ptr() as usize);
    let result = raw::execveat(fd, "", args, none, libc::AT_EMPTY_PATH);
    Err(result.expect_err("a new program does not come back"))
}

/// Waits for a child of the kind that `pid` names.
pub fn waitpid(pid: i32, status: &mut i32, flags: i32) -> Result<i32> {
    wait4(pid, status, flags, None)
}

/// Waits for a child, and tells more of it.
pub fn waitid(kind: u32, id: u32, flags: i32) -> Result<libc::siginfo_t> {
    filled(|info| raw::waitid(kind, id, info, flags))
}

/// Ends this process, and runs nothing of what is to run at its end.
pub fn exit(code: i32) -> ! {
    // SAFETY: nothing of this process goes on.
    unsafe { libc::_exit(code) }
}

/// Gives up root for an ordinary user.
pub fn become_user() {
    ok(setgroups(&[]));
    ok(setresgid(1000, 1000, 1000));
    ok(setresuid(1000, 1000, 1000));
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

/// Forks, and gives the child's number, which to the child is 0.
pub fn try_fork() -> Result<i32> {
    // SAFETY: the child has this thread alone. It does what a case asks of it, which takes no lock of a thread that it lacks.
    super::Outcome::outcome(unsafe { libc::fork() })
}

/// Forks; the child runs `body` and exits with what it gives.
pub fn child(body: impl FnOnce() -> i32) -> i32 {
    let pid = ok(try_fork());
    if pid == 0 {
        exit(body());
    }
    pid
}

/// Field `n` of a process's `stat` in proc(5), counted from 1, behind the name.
#[track_caller]
pub fn stat_field(pid: i32, n: usize) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let behind_name = stat.rsplit(") ").next().expect("a name in parentheses");
    let field = behind_name.split_whitespace().nth(n - 3);
    field.expect("enough fields").into()
}

/// Waits until process `pid` sleeps, as far as `/proc` tells.
pub fn until_asleep(pid: i32) {
    while stat_field(pid, 3) != "S" {
        super::sleep_ms(1);
    }
}

/// Waits for a child to end.
#[track_caller]
pub fn wait(pid: i32) -> Ended {
    let mut status = 0;
    loop {
        match waitpid(pid, &mut status, 0) {
            Err(libc::EINTR) => (),
            got => break assert_eq!(ok(got), pid),
        }
    }
    if libc::WIFEXITED(status) {
        Ended::Exit(libc::WEXITSTATUS(status))
    } else {
        Ended::Signal(libc::WTERMSIG(status))
    }
}

/// Runs `body` in a child that has to come to its end.
#[track_caller]
pub fn in_child(body: impl FnOnce()) {
    assert_eq!(end_of(body), Ended::Exit(0));
}

/// Runs `body` in a child and gives how it ended.
#[track_caller]
pub fn end_of(body: impl FnOnce()) -> Ended {
    wait(child(|| {
        body();
        0
    }))
}

/// Waits for a child to stop, and gives the signal that stopped it.
#[track_caller]
pub fn wait_stopped(pid: i32) -> i32 {
    let mut status = 0;
    assert_eq!(ok(waitpid(pid, &mut status, libc::WUNTRACED)), pid);
    assert!(libc::WIFSTOPPED(status), "{status:#x}");
    libc::WSTOPSIG(status)
}
