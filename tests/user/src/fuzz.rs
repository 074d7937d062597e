//! Random system calls with random and edge-case arguments, and a watcher that sees whether the system stays well.
//!
//! `usertests fuzz [--seconds N] [--seed S] [--only NUMBER]`: makes calls until each number from 0 to 450 was made at least 1,000
//! times and N seconds are over, half of the workers as root, half as an ordinary user. Root's workers leave alone what
//! would end the machine by right: `reboot`, `kexec_*`, and signals to process 1.
//!
//! A worker is a process of its own in a directory of its own; it makes [`BATCH`] calls from one seed and ends, if it does
//! not die before: the calls may kill it in many ways, and that is no fault. All seeds come from the one that
//! is printed first. The watcher
//! writes and reads a file every second; the test fails when it cannot, when it is 20 s late, or when forking fails for good.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::sys::*;

/// The highest system call number, as of Linux 6.1 (450 is its `set_mempolicy_home_node`).
const LAST: usize = 450;
/// Calls of each number that have to be made.
const WANTED: u32 = 1000;
/// Calls of one worker.
const BATCH: u32 = 400;
/// A worker that takes longer is killed: it waits for something that does not come.
const PATIENCE: Duration = Duration::from_millis(700);
/// Workers at a time.
const WORKERS: usize = 4;
/// The watcher may be late by so much.
const LATE: Duration = Duration::from_secs(20);

/// SplitMix64: a small generator that any seed starts well.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Counters that all workers share.
#[derive(Clone, Copy)]
struct Shared(&'static [AtomicU32; LAST + 1]);

impl Shared {
    fn new() -> Self {
        Self(shared())
    }

    fn count(self, number: usize) -> &'static AtomicU32 {
        &self.0[number]
    }

    fn get(self, number: usize) -> u32 {
        self.count(number).load(Relaxed)
    }
}

/// Runs the fuzzer; see the module.
pub fn main(options: &[&str]) -> ExitCode {
    let mut seconds = 60;
    let mut seed = u64::from(std::process::id()) ^ now_ns();
    let mut only = None;
    for option in options.chunks(2) {
        let value = option.get(1).and_then(|text| text.parse::<u64>().ok());
        match (option[0], value) {
            ("--seconds", Some(value)) => seconds = value,
            ("--seed", Some(value)) => seed = value,
            ("--only", Some(value)) if value <= LAST as u64 => only = Some(value as usize),
            _ => {
                eprintln!("usage: fuzz [--seconds N] [--seed S] [--only NUMBER]");
                return ExitCode::from(2);
            }
        }
    }
    println!("fuzz: seed {seed}");
    let shared = Shared::new();
    let done = || match only {
        Some(number) => shared.get(number) >= WANTED,
        None => (0..=LAST).all(|number| shared.get(number) >= WANTED),
    };
    let start = Instant::now();
    let mut watcher = Watcher::new();
    let mut random = Random(seed);
    let mut workers: Vec<Worker> = Vec::new();
    let (mut started, mut killed) = (0_u64, 0_u64);
    let mut refused = None;
    // The bound is for a machine that has become too slow to ever get there.
    let bound = Duration::from_secs(seconds * 4 + 600);
    while (!done() || start.elapsed() < Duration::from_secs(seconds)) && start.elapsed() < bound {
        if let Err(why) = watcher.look(shared) {
            println!("fuzz: FAILED after {:?}: {why}", start.elapsed());
            return ExitCode::FAILURE;
        }
        workers.retain_mut(|worker| match worker.state() {
            State::Running => true,
            State::Ended => false,
            State::Killed => {
                killed += 1;
                false
            }
        });
        if workers.len() < WORKERS {
            let seed = random.next();
            let root = started % 2 == 0;
            match Worker::start(seed, root, only, shared) {
                Ok(worker) => {
                    workers.push(worker);
                    started += 1;
                    refused = None;
                }
                Err(error) => {
                    let since = *refused.get_or_insert_with(Instant::now);
                    if since.elapsed() > LATE {
                        println!("fuzz: FAILED: no process can be made: {error}");
                        return ExitCode::FAILURE;
                    }
                }
            }
        } else {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    for worker in &mut workers {
        worker.kill();
    }
    let least = (0..=LAST)
        .min_by_key(|number| shared.get(*number))
        .unwrap_or(0);
    let total: u64 = (0..=LAST).map(|number| u64::from(shared.get(number))).sum();
    println!(
        "fuzz: {total} calls, {started} workers, {killed} killed, {:?}",
        start.elapsed()
    );
    println!(
        "fuzz: least often {least}: {} times; the watcher is well",
        shared.get(least)
    );
    if done() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn now_ns() -> u64 {
    now(libc::CLOCK_REALTIME).as_nanos() as u64
}

/// Writes and reads a file once a second. Time comes from the monotonic clock, which no call may set.
struct Watcher {
    due: Instant,
    turn: u64,
}

impl Watcher {
    fn new() -> Self {
        Self {
            due: Instant::now(),
            turn: 0,
        }
    }

    fn look(&mut self, shared: Shared) -> Result<(), String> {
        let late = match Instant::now().checked_duration_since(self.due) {
            None => return Ok(()),
            Some(late) => late,
        };
        if late > LATE {
            return Err(format!("the watcher was {late:?} late"));
        }
        self.turn += 1;
        let text = format!("turn {}\n", self.turn).repeat(100);
        let path = "/tmp/fuzz-watcher";
        let look = || {
            std::fs::write(path, &text)?;
            let read = std::fs::read_to_string(path)?;
            std::fs::remove_file(path)?;
            std::io::Result::Ok(read)
        };
        match look() {
            Ok(read) if read == text => {}
            Ok(_) => return Err("the watcher's file changed".into()),
            Err(error) => return Err(format!("the watcher's file: {error}")),
        }
        if self.turn.is_multiple_of(10) {
            let done = (0..=LAST)
                .filter(|number| shared.get(*number) >= WANTED)
                .count();
            println!("fuzz: {} s, {done} of {} numbers done", self.turn, LAST + 1);
        }
        self.due += Duration::from_secs(1);
        Ok(())
    }
}

enum State {
    Running,
    Ended,
    Killed,
}

struct Worker {
    pid: i32,
    started: Instant,
}

impl Worker {
    fn start(seed: u64, root: bool, only: Option<usize>, shared: Shared) -> std::io::Result<Self> {
        let pid = try_fork().map_err(std::io::Error::from_raw_os_error)?;
        if pid == 0 {
            work(seed, root, only, shared);
        }
        Ok(Self {
            pid,
            started: Instant::now(),
        })
    }

    /// Reaps the worker if it has ended, and kills what has taken too long, with all that it has started.
    fn state(&mut self) -> State {
        let got = waitpid(self.pid, &mut 0, libc::WNOHANG);
        if got == Ok(self.pid) || got == Err(libc::ECHILD) {
            self.kill_group();
            self.clean();
            return State::Ended;
        }
        if self.started.elapsed() > PATIENCE {
            self.kill();
            return State::Killed;
        }
        State::Running
    }

    fn kill(&mut self) {
        self.kill_group();
        ignore(kill(self.pid, libc::SIGKILL));
        ignore(waitpid(self.pid, &mut 0, 0));
        self.clean();
    }

    /// Removes its directory, and what is mounted there where mounts are not its own.
    fn clean(&self) {
        let dir = format!("/tmp/fuzz-{}", self.pid);
        ignore(umount2(&dir, libc::MNT_DETACH));
        let _ = std::fs::remove_dir_all(&dir);
    }

    fn kill_group(&self) {
        ignore(kill(-self.pid, libc::SIGKILL));
    }
}

/// What one worker does; it never returns.
fn work(seed: u64, root: bool, only: Option<usize>, shared: Shared) -> ! {
    ignore(setpgid(0, 0));
    ignore(prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize));
    // Mounts and names of its own, and a mount tree that does not reach the others.
    ignore(call(libc::SYS_unshare, &[libc::CLONE_NEWNS as usize]));
    ignore(mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, ""));
    // A little memory only, so that the machine keeps some.
    ignore(setrlimit(libc::RLIMIT_AS, 64 << 20, 64 << 20));
    ignore(setrlimit(libc::RLIMIT_FSIZE, 4 << 20, 4 << 20));
    ignore(setrlimit(libc::RLIMIT_CORE, 0, 0));
    ignore(setrlimit(libc::RLIMIT_RTPRIO, 0, 0));
    // A root of its own: what it does to files, it does there.
    let dir = format!("/tmp/fuzz-{}", std::process::id());
    let _ = std::fs::create_dir(&dir);
    ignore(mount("fuzz", &dir, "tmpfs", 0, "size=1m,mode=777"));
    ignore(chroot(&dir));
    ignore(chdir("/"));
    let _ = std::fs::create_dir("d");
    let _ = std::fs::write("f", "contents");
    let _ = std::os::unix::fs::symlink("f", "l");
    // Descriptors to play with.
    close_from(0);
    for (name, flags) in [
        ("f", libc::O_RDWR),
        ("d", libc::O_RDONLY),
        ("f", libc::O_RDONLY),
    ] {
        ignore(open(name, flags));
    }
    let mut ends = [0; 2];
    ignore(pipe2(&mut ends, libc::O_NONBLOCK));
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    ignore(socketpair(libc::AF_UNIX, kind, 0, &mut ends));
    ignore(epoll_create1(0));
    ignore(eventfd(0, libc::EFD_NONBLOCK));
    ignore(timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK));
    if !root {
        ignore(setgroups(&[]));
        ignore(setresgid(1000, 1000, 1000));
        ignore(setresuid(1000, 1000, 1000));
    }
    let scratch = map(16 * 4096) as usize;
    ignore(munmap(scratch + 15 * 4096, 4096));
    let me = std::process::id() as usize;
    let mut random = Random(seed);
    for _ in 0..BATCH {
        let number = only.unwrap_or_else(|| choose(&mut random, shared));
        fill(&mut random, scratch);
        let args: [usize; 6] = std::array::from_fn(|_| argument(&mut random, scratch, me));
        shared.count(number).fetch_add(1, Relaxed);
        if forbidden(number as i64, &args, root) {
            continue;
        }
        arm();
        let _ = call(number as i64, &args);
        if std::process::id() as usize != me {
            // A fork has worked: one is enough.
            exit(0);
        }
    }
    exit(0);
}

/// Makes sure that a call which waits is interrupted after a moment, whatever earlier calls did to signals and timers.
fn arm() {
    ignore(try_handle_with(libc::SIGALRM, |_, _, _| (), 0, &[]));
    ignore(sigprocmask(libc::SIG_SETMASK, Some(SigSet::default())));
    let moment = itimerval(3000, 3000);
    ignore(setitimer(libc::ITIMER_REAL, &moment, None));
}

/// A number that was not made often enough, or any.
fn choose(random: &mut Random, shared: Shared) -> usize {
    for _ in 0..20 {
        let number = random.below(LAST + 1);
        if shared.get(number) < WANTED {
            return number;
        }
    }
    random.below(LAST + 1)
}

/// What would end the machine, or the test, by right.
fn forbidden(number: i64, args: &[usize; 6], root: bool) -> bool {
    let first = args[0] as i32;
    match number {
        libc::SYS_reboot | libc::SYS_kexec_load | libc::SYS_kexec_file_load => root,
        // To process 1, to everybody, to other groups.
        libc::SYS_kill | libc::SYS_tkill | libc::SYS_rt_sigqueueinfo => {
            root && first != std::process::id() as i32
        }
        libc::SYS_tgkill | libc::SYS_rt_tgsigqueueinfo => {
            root && first != std::process::id() as i32
        }
        libc::SYS_pidfd_send_signal => root,
        // Signals by descriptor owner and by I/O are signals too, and so is tracing process 1.
        libc::SYS_ptrace => root,
        // Stopping all the others from running is root's good right as well.
        libc::SYS_sched_setscheduler | libc::SYS_sched_setattr | libc::SYS_sched_setparam => root,
        libc::SYS_setpriority => root,
        // These stop or change the whole machine.
        libc::SYS_swapoff | libc::SYS_swapon | libc::SYS_vhangup | libc::SYS_syslog => root,
        libc::SYS_init_module | libc::SYS_finit_module | libc::SYS_delete_module => root,
        libc::SYS_prlimit64 => root && first != 0,
        libc::SYS_iopl | libc::SYS_ioperm => root,
        _ => false,
    }
}

/// Small structures that calls read, made of the same kinds of values as arguments.
fn fill(random: &mut Random, scratch: usize) {
    for _ in 0..8 {
        let at = random.below(14 * 512);
        let value = argument(random, scratch, 0);
        poke_all(scratch + 8 * at, &value.to_ne_bytes());
    }
    let names: [&[u8]; 6] = [b"f\0", b"d\0", b"l\0", b"new\0", b"d/x\0", b"\0"];
    let name = names[random.below(names.len())];
    poke_all(scratch + 4096, name);
}

/// One argument: small numbers, descriptors, flags, good and bad pointers, lengths at the edges.
fn argument(random: &mut Random, scratch: usize, me: usize) -> usize {
    let edges: [usize; 22] = [
        0,
        1,
        2,
        3,
        7,
        8,
        64,
        100,
        255,
        4095,
        4096,
        4097,
        65536,
        1 << 20,
        1 << 31,
        (1 << 31) - 1,
        1 << 32,
        1 << 47,
        1 << 63,
        usize::MAX,
        usize::MAX - 1,
        usize::MAX - 4095,
    ];
    let pointers: [usize; 9] = [
        0,
        8,
        0x7fff_ffff_f000,
        0x8000_0000_0000,
        0xffff_8000_0000_0000,
        0xffff_8880_0000_0000,
        0xffff_ffff_8010_0000,
        0xffff_ffff_ffff_f000,
        0xdead_beef_dead_beef,
    ];
    match random.below(12) {
        0 | 1 => edges[random.below(edges.len())],
        2 => pointers[random.below(pointers.len())],
        3 | 4 => scratch + random.below(15) * 4096 + [0, 0, 0, 8, 4088, 4095, 1][random.below(7)],
        5 => scratch + 4096, // a name
        6 => random.below(14),
        7 => 1 << random.below(64),
        8 => random.below(1 << 16),
        9 => (libc::AT_FDCWD as isize) as usize,
        10 if me != 0 => [0, me, usize::MAX][random.below(3)],
        _ => random.next() as usize,
    }
}
