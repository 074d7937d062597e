//! Signals: sending, handlers, masks, waiting for one.

use super::{Plain, Result, calls, filled, ok, zeroed};
use libc::{c_int, c_void, siginfo_t};
use std::sync::atomic::{AtomicUsize, Ordering};

calls! {
    /// Sends a signal to a process or a group.
    kill(pid: i32, signal: c_int) = SYS_kill;
    /// Sends a signal to a thread.
    tgkill(pid: i32, tid: i32, signal: c_int) = SYS_tgkill;
    /// Waits for a signal that has a handler.
    pause() = SYS_pause;
    /// Has SIGALRM come in so many seconds; gives how many were left of the one before.
    try_alarm(seconds: u32) -> u32 = SYS_alarm;
}

mod raw {
    use super::{SigSet, calls, siginfo_t};

    calls! {
        /// Changes what is blocked.
        rt_sigprocmask(how: i32, set: Option<&SigSet>, old: Option<&mut SigSet>, size: usize) = SYS_rt_sigprocmask;
        /// Tells what waits.
        rt_sigpending(set: &mut SigSet, size: usize) = SYS_rt_sigpending;
        /// Waits with another mask.
        rt_sigsuspend(set: &SigSet, size: usize) = SYS_rt_sigsuspend;
        /// Takes a signal.
        rt_sigtimedwait(
            set: &SigSet, info: Option<&mut siginfo_t>, timeout: Option<&libc::timespec>, size: usize,
        ) -> i32 = SYS_rt_sigtimedwait;
        /// Sends a signal with a value.
        rt_sigqueueinfo(pid: i32, signal: i32, info: &siginfo_t) = SYS_rt_sigqueueinfo;
        /// A file to read signals from.
        signalfd4(fd: i32, set: &SigSet, size: usize, flags: i32) -> i32 = SYS_signalfd4;
                /// Reads a signal.
        read_signal(fd: i32, to: &mut libc::signalfd_siginfo, len: usize) -> usize = SYS_read;
        /// Where handlers run.
        sigaltstack(new: Option<&libc::stack_t>, old: Option<&mut libc::stack_t>) = SYS_sigaltstack;
    }
}

/// A set of signals as the calls take it: signal `n` is bit `n - 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct SigSet(pub u64);

// SAFETY: a number.
unsafe impl Plain for SigSet {}

impl SigSet {
    /// The set of these.
    pub fn of(signals: &[c_int]) -> SigSet {
        SigSet(
            signals
                .iter()
                .fold(0, |set, signal| set | 1 << (signal - 1)),
        )
    }

    /// Whether a signal is in it.
    pub fn has(self, signal: c_int) -> bool {
        self.0 >> (signal - 1) & 1 == 1
    }

    /// As the C library has it.
    fn for_c(self) -> libc::sigset_t {
        let mut set: libc::sigset_t = zeroed();
        for signal in (1..=64).filter(|signal| self.has(*signal)) {
            // SAFETY: changes nothing but the set.
            unsafe { libc::sigaddset(&mut set, signal) };
        }
        set
    }
}

/// What runs on a signal: it is told the number, what the kernel knows of it, and where the thread was.
pub type Handler = fn(c_int, &siginfo_t, &mut libc::ucontext_t);

/// The handlers as addresses, by signal.
static HANDLERS: [AtomicUsize; 65] = [const { AtomicUsize::new(0) }; 65];

/// What the kernel calls.
extern "C" fn run_handler(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let address = HANDLERS[signal as usize].load(Ordering::SeqCst);
    // SAFETY: `handle_with` has put a `Handler` there before it made the kernel call this.
    let handler = unsafe { std::mem::transmute::<usize, Handler>(address) };
    // SAFETY: the kernel has written both for this call, which `SA_SIGINFO` asks for, and nobody else knows of them.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<libc::ucontext_t>()) };
    handler(signal, info, context);
}

/// The registers of a context, and behind the 23 of them the address of the floating-point state.
pub fn context_words(context: &mut libc::ucontext_t) -> &mut [u64; 24] {
    const { assert!(size_of::<libc::mcontext_t>() >= 24 * 8) };
    // SAFETY: the structure is as large, aligned to words, and made of them.
    unsafe { &mut *(&raw mut context.uc_mcontext).cast::<[u64; 24]>() }
}

/// Changes what a signal does, or tells it.
pub fn sigaction(
    signal: c_int,
    new: Option<&libc::sigaction>,
    old: Option<&mut libc::sigaction>,
) -> Result {
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    let old = old.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: each is null or points to a structure. What a handler may do is for the one who wrote it.
    match unsafe { libc::sigaction(signal, new, old) } {
        0 => Ok(()),
        _ => Err(super::errno()),
    }
}

/// Runs a handler on a signal, with `SA_SIGINFO` and these flags, and `mask` blocked meanwhile.
pub fn try_handle_with(signal: c_int, handler: Handler, flags: c_int, mask: &[c_int]) -> Result {
    let mut action: libc::sigaction = zeroed();
    HANDLERS[signal as usize].store(handler as usize, Ordering::SeqCst);
    action.sa_sigaction = run_handler as *const () as usize;
    action.sa_flags = flags | libc::SA_SIGINFO;
    action.sa_mask = SigSet::of(mask).for_c();
    sigaction(signal, Some(&action), None)
}

/// The same, and it has to succeed.
#[track_caller]
pub fn handle_with(signal: c_int, handler: Handler, flags: c_int, mask: &[c_int]) {
    ok(try_handle_with(signal, handler, flags, mask));
}

fn set_disposition(signal: c_int, disposition: usize) {
    let mut action: libc::sigaction = zeroed();
    action.sa_sigaction = disposition;
    ok(sigaction(signal, Some(&action), None));
}

/// Has a signal do nothing.
pub fn ignore_signal(signal: c_int) {
    set_disposition(signal, libc::SIG_IGN);
}

/// Has a signal do what it does by default.
pub fn default_signal(signal: c_int) {
    set_disposition(signal, libc::SIG_DFL);
}

/// Has a signal interrupt what waits, and nothing more.
pub fn catch_signal(signal: c_int) {
    handle_with(signal, |_, _, _| (), 0, &[]);
}

/// Sends a signal to this process, which gets it before this returns unless it is blocked.
#[track_caller]
pub fn raise(signal: c_int) {
    ok(kill(super::getpid(), signal));
}

/// Changes what is blocked, and gives what it was.
pub fn sigprocmask(how: c_int, set: Option<SigSet>) -> Result<SigSet> {
    filled(|old| raw::rt_sigprocmask(how, set.as_ref(), Some(old), 8))
}

/// Blocks signals, and gives the set of them.
#[track_caller]
pub fn block(signals: &[c_int]) -> SigSet {
    let set = SigSet::of(signals);
    ok(sigprocmask(libc::SIG_BLOCK, Some(set)));
    set
}

/// Blocks signals no longer.
#[track_caller]
pub fn unblock(signals: &[c_int]) {
    ok(sigprocmask(libc::SIG_UNBLOCK, Some(SigSet::of(signals))));
}

/// Which signals are blocked.
pub fn blocked() -> SigSet {
    ok(sigprocmask(libc::SIG_BLOCK, None))
}

/// Whether a signal waits to be unblocked.
pub fn pending(signal: c_int) -> bool {
    let set: SigSet = ok(filled(|set| raw::rt_sigpending(set, 8)));
    set.has(signal)
}

/// Waits for a handler to run, with another mask.
pub fn sigsuspend(set: SigSet) -> Result {
    raw::rt_sigsuspend(&set, 8)
}

/// Takes one of these signals, which are blocked, and waits for it if need be.
pub fn sigwaitinfo(set: SigSet) -> Result<siginfo_t> {
    filled(|info| raw::rt_sigtimedwait(&set, Some(info), None, 8))
}

/// The same, but not for longer than this.
pub fn sigtimedwait(set: SigSet, timeout: std::time::Duration) -> Result<siginfo_t> {
    let timeout = super::timespec(timeout);
    filled(|info| raw::rt_sigtimedwait(&set, Some(info), Some(&timeout), 8))
}

/// Takes one of these signals and gives its number.
#[track_caller]
pub fn sigwait(set: SigSet) -> c_int {
    ok(sigwaitinfo(set)).si_signo
}

/// Sends a signal with a value.
pub fn sigqueue(pid: i32, signal: c_int, value: usize) -> Result {
    /// What `siginfo_t` is for such a signal.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Queued {
        signal: c_int,
        error: c_int,
        code: c_int,
        pad: c_int,
        pid: i32,
        uid: u32,
        value: usize,
        rest: [u64; 12],
    }
    let queued = Queued {
        signal,
        error: 0,
        code: libc::SI_QUEUE,
        pad: 0,
        pid: super::getpid(),
        uid: super::getuid(),
        value,
        rest: [0; 12],
    };
    const { assert!(size_of::<Queued>() == size_of::<siginfo_t>()) };
    // SAFETY: both are plain bytes, as many.
    let info: siginfo_t = unsafe { std::mem::transmute(queued) };
    raw::rt_sigqueueinfo(pid, signal, &info)
}

/// What the kernel tells of a signal, where `siginfo_t` has a union.
pub trait Told {
    /// The process that sent it, or the child it is about.
    fn pid(&self) -> i32;
    /// The user who sent it.
    fn uid(&self) -> u32;
    /// How the child ended.
    fn status(&self) -> c_int;
    /// The address that faulted.
    fn address(&self) -> usize;
    /// The value that came with it.
    fn value(&self) -> usize;
}

impl Told for siginfo_t {
    fn pid(&self) -> i32 {
        // SAFETY: any bytes make a number.
        unsafe { self.si_pid() }
    }

    fn uid(&self) -> u32 {
        // SAFETY: any bytes make a number.
        unsafe { self.si_uid() }
    }

    fn status(&self) -> c_int {
        // SAFETY: any bytes make a number.
        unsafe { self.si_status() }
    }

    fn address(&self) -> usize {
        // SAFETY: any bytes make an address, which is not followed.
        unsafe { self.si_addr() as usize }
    }

    fn value(&self) -> usize {
        // SAFETY: any bytes make an address, which is not followed.
        unsafe { self.si_value().sival_ptr as usize }
    }
}

/// A new file to read signals from, or other signals for one that there is.
pub fn signalfd(fd: i32, set: SigSet, flags: i32) -> Result<i32> {
    raw::signalfd4(fd, &set, 8, flags)
}

/// Reads a signal from such a file.
pub fn read_signal(fd: i32) -> Result<libc::signalfd_siginfo> {
    filled(|info| raw::read_signal(fd, info, size_of::<libc::signalfd_siginfo>()))
}

/// Sets where handlers with `SA_ONSTACK` run.
pub fn sigaltstack(stack: &libc::stack_t) -> Result {
    raw::sigaltstack(Some(stack), None)
}

/// Where handlers with `SA_ONSTACK` run.
pub fn alternate_stack_now() -> libc::stack_t {
    ok(filled(|stack| raw::sigaltstack(None, Some(stack))))
}

/// Has SIGALRM come in so many seconds, or no more for 0.
pub fn alarm(seconds: u32) -> u32 {
    ok(try_alarm(seconds))
}

/// Undoes what the standard library does to signals before `main`: it ignores SIGPIPE, and catches SIGSEGV and SIGBUS on a
/// stack of their own.
pub fn forget_the_runtime() {
    for signal in [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS] {
        default_signal(signal);
    }
    let none = libc::stack_t {
        ss_sp: std::ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    ok(sigaltstack(&none));
}
