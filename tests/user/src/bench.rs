//! Small measurements: the time that one operation takes, in nanoseconds. Under `-icount` that is instructions.

use std::process::ExitCode;
use std::time::Instant;

use crate::sys::*;

/// Runs every measurement and prints one line each.
pub fn main() -> ExitCode {
    let fd = file("/tmp/bench", &[7; 65536]);
    let mut block = vec![0_u8; 65536];
    let at = block.as_mut_ptr() as usize;
    let path = c("/tmp/bench");
    let number = fd as usize;
    measure("null system call", 20_000, || {
        ignore(call(libc::SYS_getppid, &[]))
    });
    measure("read of one byte", 20_000, || {
        ignore(call(libc::SYS_pread64, &[number, at, 1, 0]))
    });
    measure("read of 64 KiB", 500, || {
        ignore(call(libc::SYS_pread64, &[number, at, 65536, 0]))
    });
    measure("write of 64 KiB", 500, || {
        ignore(call(libc::SYS_pwrite64, &[number, at, 65536, 0]))
    });
    let mut stat: libc::stat = zeroed();
    let args = [path.as_ptr() as usize, &raw mut stat as usize];
    measure("stat", 5_000, || ok(call(libc::SYS_stat, &args)));
    measure("open and close", 5_000, || {
        close(ok(open("/tmp/bench", libc::O_RDONLY)))
    });
    measure("clock_gettime by vDSO", 20_000, || ignore(Instant::now()));
    let (reader, writer) = pipe();
    measure("pipe, one byte to itself", 5_000, || {
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
    measure("pipe, there and back to another process", 2_000, || {
        put(writer, b"x");
        ignore(get(back, 1));
    });
    close(writer);
    wait(pid);
    catch_signal(libc::SIGUSR1);
    let me = getpid();
    measure("signal to itself", 5_000, || ok(kill(me, libc::SIGUSR1)));
    measure("map, touch and unmap a page", 5_000, || {
        let page = map(4096) as usize;
        poke(page, 1);
        ok(munmap(page, 4096));
    });
    measure("fork, exit and wait", 300, || ignore(wait(child(|| 0))));
    measure("start a thread and join it", 300, || {
        std::thread::spawn(|| ()).join().expect("it does not panic")
    });
    measure("start a program", 50, || {
        let status = std::process::Command::new("/proc/self/exe")
            .args(["helper", "exit", "0"])
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    });
    ExitCode::SUCCESS
}

fn measure<T>(name: &str, times: u32, mut body: impl FnMut() -> T) {
    for _ in 0..times / 10 {
        body();
    }
    let start = Instant::now();
    for _ in 0..times {
        body();
    }
    println!(
        "{name:<42} {:>12} ns",
        start.elapsed().as_nanos() / u128::from(times)
    );
}
