//! Small measurements: the time that one operation takes, in nanoseconds. Under `-icount` that is instructions.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sys::*;

/// Runs every measurement whose name has `only` in it, and prints one line each.
pub fn main(only: &str) -> ExitCode {
    load_modules();
    let bench = Bench(only);
    calls(&bench);
    hand_over(&bench);
    timers(&bench);
    processes(&bench);
    disk(&bench);
    ExitCode::SUCCESS
}

/// Loads what a kernel that comes in parts was given, in the order of the files' names.
fn load_modules() {
    let Ok(dir) = std::fs::read_dir("/modules") else {
        return;
    };
    let mut paths: Vec<_> = dir
        .filter_map(|entry| entry.ok()?.path().into_os_string().into_string().ok())
        .collect();
    paths.sort();
    let none = c("");
    for path in paths {
        let fd = ok(open(&path, libc::O_RDONLY));
        let args = [fd as usize, none.as_ptr() as usize, 0];
        ok(call(libc::SYS_finit_module, &args));
        close(fd);
    }
}

fn calls(bench: &Bench<'_>) {
    let fd = file("/tmp/bench", &[7; 65536]);
    let mut block = vec![0_u8; 65536];
    let at = block.as_mut_ptr() as usize;
    let path = c("/tmp/bench");
    let number = fd as usize;
    bench.measure("null system call", 20_000, || {
        ignore(call(libc::SYS_getppid, &[]))
    });
    bench.measure("read of one byte", 20_000, || {
        ignore(call(libc::SYS_pread64, &[number, at, 1, 0]))
    });
    bench.measure("read of 64 KiB", 500, || {
        ignore(call(libc::SYS_pread64, &[number, at, 65536, 0]))
    });
    bench.measure("write of 64 KiB", 500, || {
        ignore(call(libc::SYS_pwrite64, &[number, at, 65536, 0]))
    });
    let mut stat: libc::stat = zeroed();
    let args = [path.as_ptr() as usize, &raw mut stat as usize];
    bench.measure("stat", 5_000, || ok(call(libc::SYS_stat, &args)));
    bench.measure("open and close", 5_000, || {
        close(ok(open("/tmp/bench", libc::O_RDONLY)))
    });
    bench.measure("clock_gettime by vDSO", 20_000, || ignore(Instant::now()));
}

/// One thread or process has another go on.
fn hand_over(bench: &Bench<'_>) {
    let (reader, writer) = pipe();
    bench.measure("pipe, one byte to itself", 5_000, || {
        put(writer, b"x");
        ignore(get(reader, 1));
    });
    let (back, answer) = pipe();
    let pid = child(|| {
        close(writer);
        while !get(reader, 1).is_empty() {
            put(answer, b"y");
        }
        0
    });
    bench.measure("pipe, there and back to another process", 2_000, || {
        put(writer, b"x");
        ignore(get(back, 1));
    });
    close(writer);
    wait(pid);
    bench.futex();
}

/// From the moment that a sleep is over to the thread that slept.
fn timers(bench: &Bench<'_>) {
    const TIMES: u32 = 2_000;
    // Linux adds 50 us to each sleep unless told not to.
    let slack = [libc::PR_SET_TIMERSLACK as usize, 1];
    ok(call(libc::SYS_prctl, &slack));
    let mut late = Duration::ZERO;
    bench.figure("timer, from its end to who slept", TIMES, || {
        for _ in 0..TIMES {
            let end = quick_now(libc::CLOCK_MONOTONIC) + Duration::from_micros(200);
            let time = timespec(end);
            let clock = libc::CLOCK_MONOTONIC as usize;
            let args = [
                clock,
                libc::TIMER_ABSTIME as usize,
                &raw const time as usize,
                0,
            ];
            ok(call(libc::SYS_clock_nanosleep, &args));
            late += quick_now(libc::CLOCK_MONOTONIC) - end;
        }
        late
    });
}

fn processes(bench: &Bench<'_>) {
    catch_signal(libc::SIGUSR1);
    let me = getpid();
    bench.measure("signal to itself", 5_000, || ok(kill(me, libc::SIGUSR1)));
    bench.measure("map, touch and unmap a page", 5_000, || {
        let page = map(4096) as usize;
        poke(page, 1);
        ok(munmap(page, 4096));
    });
    bench.measure("fork, exit and wait", 300, || ignore(wait(child(|| 0))));
    bench.measure("start a thread and join it", 300, || {
        std::thread::spawn(|| ()).join().expect("it does not panic")
    });
    bench.measure("start a program", 50, || {
        let status = std::process::Command::new("/proc/self/exe")
            .args(["helper", "exit", "0"])
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    });
}

/// Random blocks of a disk, if there is one, for one reader and for 32 at a time.
fn disk(bench: &Bench<'_>) {
    const BLOCK: u64 = 4096;
    const READS: u32 = 4_096;
    let Ok(fd) = open("/dev/vda", libc::O_RDONLY | libc::O_DIRECT) else {
        return;
    };
    // SAFETY: it takes no addresses.
    let size = ok(unsafe { libc::lseek(fd, 0, libc::SEEK_END) }) as u64;
    for readers in [1, 32] {
        let read = |reader: u32| {
            let to = map(BLOCK as usize) as usize;
            let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(reader);
            for _ in 0..READS / readers {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = random % (size / BLOCK) * BLOCK;
                let args = [fd as usize, to, BLOCK as usize, at as usize];
                assert_eq!(ok(call(libc::SYS_pread64, &args)), BLOCK as usize);
            }
        };
        let name = format!("disk, random 4 KiB, {readers} at a time");
        bench.figure(&name, READS, || {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for reader in 0..readers {
                    scope.spawn(move || read(reader));
                }
            });
            start.elapsed()
        });
    }
    close(fd);
}

/// What is to be measured, by a part of its name.
struct Bench<'a>(&'a str);

impl Bench<'_> {
    /// Measures `body`, which is done so many times after some that do not count.
    fn measure<T>(&self, name: &str, times: u32, mut body: impl FnMut() -> T) {
        self.figure(name, times, || {
            for _ in 0..times / 10 {
                body();
            }
            let start = Instant::now();
            for _ in 0..times {
                body();
            }
            start.elapsed()
        });
    }

    /// Prints the part of the time that `take` gives which one out of `times` took.
    fn figure(&self, name: &str, times: u32, take: impl FnOnce() -> Duration) {
        if name.contains(self.0) {
            let each = take().as_nanos() / u128::from(times);
            println!("{name:<42} {each:>12} ns");
        }
    }

    /// Two threads wake each other by turns.
    fn futex(&self) {
        const TIMES: u32 = 2_000;
        static TURN: AtomicU32 = AtomicU32::new(0);
        // Waits until the turn is `mine`, and gives it to the other.
        let take_turn = |mine: u32| {
            let at = TURN.as_ptr() as usize;
            let (wait, wake) = (
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            );
            while TURN.load(Ordering::Acquire) != mine {
                let args = [at, wait as usize, 1 - mine as usize, 0];
                ignore(call(libc::SYS_futex, &args));
            }
            TURN.store(1 - mine, Ordering::Release);
            ok(call(libc::SYS_futex, &[at, wake as usize, 1]));
        };
        self.figure("futex, there and back to another thread", TIMES, || {
            TURN.store(0, Ordering::Release);
            let start = Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| (0..TIMES).for_each(|_| take_turn(1)));
                (0..TIMES).for_each(|_| take_turn(0));
            });
            start.elapsed()
        });
    }
}
