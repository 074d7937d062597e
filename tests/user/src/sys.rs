//! What the cases share: raw system calls, checked results, children.

use std::ffi::CString;

/// A result of a C function that is -1 on an error.
pub trait Return: Copy + PartialEq + std::fmt::Debug {
    /// Whether it stands for an error.
    fn is_error(self) -> bool;
}

macro_rules! returns {
    ($($type:ty),*) => { $(impl Return for $type {
        fn is_error(self) -> bool {
            self == -1
        }
    })* };
}
returns!(i32, i64, isize);

/// The error number of the last call.
pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The result of a call that has to succeed.
#[track_caller]
pub fn ok<T: Return>(result: T) -> T {
    let error = errno();
    assert!(
        !result.is_error(),
        "failed: {}",
        std::io::Error::from_raw_os_error(error)
    );
    result
}

/// Checks that a call failed with this error.
#[track_caller]
pub fn fails<T: Return>(result: T, expected: i32) {
    let error = errno();
    assert!(
        result.is_error(),
        "gave {result:?}, not {}",
        std::io::Error::from_raw_os_error(expected)
    );
    assert!(
        error == expected,
        "failed: {}, not {}",
        std::io::Error::from_raw_os_error(error),
        std::io::Error::from_raw_os_error(expected)
    );
}

/// A system call without the C library in between.
pub fn call(number: i64, args: &[usize]) -> Result<usize, i32> {
    let arg = |i: usize| args.get(i).copied().unwrap_or(0);
    let result: isize;
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arg(0), in("rsi") arg(1), in("rdx") arg(2),
            in("r10") arg(3), in("r8") arg(4), in("r9") arg(5),
            lateout("rcx") _, lateout("r11") _,
        );
    }
    if (-4095..0).contains(&result) {
        Err(-result as i32)
    } else {
        Ok(result as usize)
    }
}

/// A C string.
pub fn c(text: &str) -> CString {
    CString::new(text).expect("no zero inside")
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

/// Forks; the child runs `body` and exits with what it gives.
pub fn child(body: impl FnOnce() -> i32) -> i32 {
    let pid = ok(unsafe { libc::fork() });
    if pid == 0 {
        let code = body();
        unsafe { libc::_exit(code) };
    }
    pid
}

/// Waits for a child to end.
#[track_caller]
pub fn wait(pid: i32) -> Ended {
    let mut status = 0;
    loop {
        let got = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if got == -1 && errno() == libc::EINTR {
            continue;
        }
        assert_eq!(ok(got), pid);
        break;
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
    let pid = child(|| {
        body();
        0
    });
    assert_eq!(wait(pid), Ended::Exit(0));
}

/// Runs `body` in a child and gives how it ended.
pub fn end_of(body: impl FnOnce()) -> Ended {
    wait(child(|| {
        body();
        0
    }))
}

/// Gives up root for an ordinary user.
pub fn become_user() {
    ok(unsafe { libc::setgroups(0, std::ptr::null()) });
    ok(unsafe { libc::setresgid(1000, 1000, 1000) });
    ok(unsafe { libc::setresuid(1000, 1000, 1000) });
}

/// A pipe: its reading and its writing end.
pub fn pipe() -> (i32, i32) {
    let mut ends = [0; 2];
    ok(unsafe { libc::pipe2(ends.as_mut_ptr(), 0) });
    (ends[0], ends[1])
}

/// Opens a file.
pub fn open(path: &str, flags: i32) -> i32 {
    unsafe { libc::open(c(path).as_ptr(), flags, 0o644) }
}

/// A new file with contents, open for reading and writing at its start.
pub fn file(path: &str, contents: &[u8]) -> i32 {
    std::fs::write(path, contents).expect("the directory is writable");
    ok(open(path, libc::O_RDWR))
}

/// Writes all of `data`.
#[track_caller]
pub fn put(fd: i32, data: &[u8]) {
    assert_eq!(
        ok(unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) }),
        data.len() as isize
    );
}

/// Reads once, up to `len` bytes.
#[track_caller]
pub fn get(fd: i32, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    let got = ok(unsafe { libc::read(fd, data.as_mut_ptr().cast(), len) });
    data.truncate(got as usize);
    data
}

/// Closes a file.
pub fn close(fd: i32) {
    ok(unsafe { libc::close(fd) });
}

/// Sleeps.
pub fn sleep_ms(ms: u64) {
    std::thread::sleep(std::time::Duration::from_millis(ms));
}

/// A private anonymous mapping that can be read and written.
pub fn map(len: usize) -> *mut u8 {
    map_with(
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    )
}

/// An anonymous mapping.
pub fn map_with(len: usize, prot: i32, flags: i32) -> *mut u8 {
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    assert_ne!(
        at,
        libc::MAP_FAILED,
        "mmap: {}",
        std::io::Error::last_os_error()
    );
    at.cast()
}

/// The value of `Name:` in a file of `/proc/self`-like lines.
pub fn proc_field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        Some(
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .to_string(),
        )
    })
}

/// Closes every descriptor from this one on.
pub fn close_from(first: i32) {
    call(
        libc::SYS_close_range,
        &[first as usize, u32::MAX as usize, 0],
    )
    .expect("closing works");
}

/// Does nothing with a value that was only to be made.
pub fn ignore<T>(_: T) {}

/// Undoes what the standard library does to signals before `main`: it ignores SIGPIPE, and catches SIGSEGV and SIGBUS on a
/// stack of their own.
pub fn forget_the_runtime() {
    for signal in [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS] {
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let none = libc::stack_t {
        ss_sp: std::ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    ok(unsafe { libc::sigaltstack(&raw const none, std::ptr::null_mut()) });
}
