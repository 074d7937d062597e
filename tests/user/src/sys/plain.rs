//! Values that are nothing but bytes, as the kernel fills them.

/// A value that any bytes make, all of them zero among others, so that the kernel may write into it.
///
/// # Safety
/// Every pattern of its size is a valid value. Pointers in it are nothing that safe code follows.
pub unsafe trait Plain {}

/// The value whose bytes are all zero.
pub fn zeroed<T: Plain>() -> T {
    // SAFETY: any bytes make a `Plain` value.
    unsafe { std::mem::zeroed() }
}

/// What a call fills: its value, if the call succeeds.
pub fn filled<T: Plain, R>(fill: impl FnOnce(&mut T) -> super::Result<R>) -> super::Result<T> {
    let mut value = zeroed();
    fill(&mut value).map(|_| value)
}

macro_rules! plain {
    ($($type:ty),* $(,)?) => { $(
        // SAFETY: made of integers, atomic or not, arrays of them, and raw pointers.
        unsafe impl Plain for $type {}
    )* };
}
plain![
    u8,
    i8,
    u16,
    u32,
    i32,
    u64,
    i64,
    usize,
    std::sync::atomic::AtomicU32,
    std::sync::atomic::AtomicU64,
    libc::cmsghdr,
    libc::epoll_event,
    libc::flock,
    libc::iovec,
    libc::itimerspec,
    libc::itimerval,
    libc::mmsghdr,
    libc::msghdr,
    libc::pollfd,
    libc::rlimit,
    libc::rusage,
    libc::sigaction,
    libc::sigevent,
    libc::sigset_t,
    libc::siginfo_t,
    libc::signalfd_siginfo,
    libc::sockaddr_un,
    libc::stack_t,
    libc::stat,
    libc::statfs,
    libc::statx,
    libc::sysinfo,
    libc::termios,
    libc::timespec,
    libc::timeval,
    libc::timex,
    libc::tms,
    libc::ucred,
    libc::utsname,
    libc::winsize,
];

// SAFETY: an array of values that any bytes make.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
