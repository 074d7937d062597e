//! What comes with a signal: `siginfo_t`.
//!
//! Source: Linux `include/uapi/asm-generic/siginfo.h`; sigaction(2).

use super::number::Signal;

/// `si_code`: sent by kill(2).
pub const SI_USER: i32 = 0;
/// `si_code`: sent by the kernel.
pub const SI_KERNEL: i32 = 0x80;
/// `si_code`: sent by sigqueue(3).
pub const SI_QUEUE: i32 = -1;
/// `si_code`: a POSIX timer expired.
pub const SI_TIMER: i32 = -2;
/// `si_code`: a message came to an empty queue.
pub const SI_MESGQ: i32 = -3;
/// `si_code`: sent by tkill(2) or tgkill(2).
pub const SI_TKILL: i32 = -6;

/// `si_code` of `SIGSEGV`: no mapping there.
pub const SEGV_MAPERR: i32 = 1;
/// `si_code` of `SIGSEGV`: the mapping does not allow it.
pub const SEGV_ACCERR: i32 = 2;

/// `si_code` of `SIGCHLD`: the child exited.
pub const CLD_EXITED: i32 = 1;
/// `si_code` of `SIGCHLD`: the child was killed.
pub const CLD_KILLED: i32 = 2;
/// `si_code` of `SIGCHLD`: the child was killed and dumped core.
pub const CLD_DUMPED: i32 = 3;
/// `si_code` of `SIGCHLD`: the traced child stopped.
pub const CLD_TRAPPED: i32 = 4;
/// `si_code` of `SIGCHLD`: the child stopped.
pub const CLD_STOPPED: i32 = 5;
/// `si_code` of `SIGCHLD`: the child continued.
pub const CLD_CONTINUED: i32 = 6;

/// The part of `siginfo_t` that carries something; the rest of its 128 bytes is zero.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigInfo {
    /// `si_signo`.
    pub signo: i32,
    /// `si_errno`.
    pub errno: i32,
    /// `si_code`.
    pub code: i32,
    pad: i32,
    /// The union that follows, as eight-byte words.
    pub fields: [u64; 4],
}

/// Size of `siginfo_t` as programs have it.
pub const SIGINFO_SIZE: usize = 128;

/// Two 32-bit members beside each other, the lower address first.
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl SigInfo {
    const fn new(signal: Signal, code: i32, fields: [u64; 4]) -> SigInfo {
        SigInfo {
            signo: signal.number(),
            errno: 0,
            code,
            pad: 0,
            fields,
        }
    }

    /// Sent by the kernel for no particular process's sake.
    pub const fn kernel(signal: Signal) -> SigInfo {
        Self::new(signal, SI_KERNEL, [0; 4])
    }

    /// Sent by process `pid` of user `uid` through kill(2) (`SI_USER`) or tgkill(2) (`SI_TKILL`).
    pub const fn user(signal: Signal, code: i32, pid: i32, uid: u32) -> SigInfo {
        Self::new(signal, code, [pair(pid as u32, uid), 0, 0, 0])
    }

    /// Raised by a fault at `addr`.
    pub const fn fault(signal: Signal, code: i32, addr: u64) -> SigInfo {
        Self::new(signal, code, [addr, 0, 0, 0])
    }

    /// `SIGCHLD` (or the child's exit signal): child `pid` of user `uid` changed its state. Times in clock ticks.
    pub const fn child(
        signal: Signal,
        code: i32,
        pid: i32,
        uid: u32,
        status: i32,
        utime: u64,
        stime: u64,
    ) -> SigInfo {
        Self::new(
            signal,
            code,
            [pair(pid as u32, uid), status as u32 as u64, utime, stime],
        )
    }

    /// POSIX timer `id` expired, and `overrun` times more before this was delivered.
    pub const fn timer(signal: Signal, id: i32, overrun: i32, value: u64) -> SigInfo {
        Self::new(
            signal,
            SI_TIMER,
            [pair(id as u32, overrun as u32), value, 0, 0],
        )
    }

    /// Process `pid` of user `uid` sent a message to a queue that was empty.
    pub const fn message(signal: Signal, pid: i32, uid: u32, value: u64) -> SigInfo {
        Self::new(signal, SI_MESGQ, [pair(pid as u32, uid), value, 0, 0])
    }

    /// `si_pid` of the layouts that have one.
    pub const fn pid(&self) -> i32 {
        self.fields[0] as u32 as i32
    }

    /// `si_uid` of the layouts that have one.
    pub const fn uid(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }

    /// `si_value` of the layouts that have one.
    pub const fn value(&self) -> u64 {
        self.fields[1]
    }

    /// `si_addr` of faults.
    pub const fn addr(&self) -> u64 {
        self.fields[0]
    }

    /// `si_status` of children.
    pub const fn status(&self) -> i32 {
        self.fields[1] as u32 as i32
    }

    /// Whether a program made it up, rather than the kernel.
    pub const fn from_user(&self) -> bool {
        self.code <= 0
    }

    /// The structure as programs see it.
    pub fn to_bytes(&self) -> [u8; SIGINFO_SIZE] {
        let mut bytes = [0; SIGINFO_SIZE];
        bytes[0..4].copy_from_slice(&self.signo.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.code.to_ne_bytes());
        for (i, field) in self.fields.iter().enumerate() {
            bytes[16 + 8 * i..24 + 8 * i].copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }

    /// What a program passed to rt_sigqueueinfo(2); `None` if it says something beyond what is kept.
    pub fn from_bytes(bytes: &[u8; SIGINFO_SIZE]) -> Option<SigInfo> {
        let word =
            |at: usize| i32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let mut fields = [0; 4];
        for (i, field) in fields.iter_mut().enumerate() {
            *field = u64::from_ne_bytes(
                bytes[16 + 8 * i..24 + 8 * i]
                    .try_into()
                    .expect("eight bytes"),
            );
        }
        let info = SigInfo {
            signo: word(0),
            errno: word(4),
            code: word(8),
            pad: 0,
            fields,
        };
        bytes[48..].iter().all(|b| *b == 0).then_some(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_siginfo_t() {
        let bytes = SigInfo::user(Signal::SIGTERM, SI_USER, 0x1122_3344, 1000).to_bytes();
        assert_eq!(bytes[0], 15);
        assert_eq!(bytes[16..20], 0x1122_3344i32.to_ne_bytes());
        assert_eq!(bytes[20..24], 1000u32.to_ne_bytes());
        let child = SigInfo::child(Signal::SIGCHLD, CLD_EXITED, 7, 0, 3, 11, 12).to_bytes();
        assert_eq!(child[24..28], 3i32.to_ne_bytes());
        assert_eq!(child[32..40], 11u64.to_ne_bytes());
        assert_eq!(child[40..48], 12u64.to_ne_bytes());
    }

    #[test]
    fn bytes_round_trip() {
        let info = SigInfo::timer(Signal::SIGALRM, 3, 9, 0xdead_beef_0000_0001);
        assert_eq!(SigInfo::from_bytes(&info.to_bytes()), Some(info));
        let mut odd = info.to_bytes();
        odd[100] = 1;
        assert_eq!(SigInfo::from_bytes(&odd), None);
    }
}
