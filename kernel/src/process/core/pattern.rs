//! Where core files go: `/proc/sys/kernel/core_pattern`.

use alloc::vec::Vec;

use executor::sync::SpinLock;
use fs::{Errno, Tunable};

use crate::process::Thread;
use crate::{timekeeping, uts};

/// Longest pattern, with Linux's final zero.
const MAX: usize = 128;

static PATTERN: SpinLock<Pattern> = SpinLock::new(Pattern {
    bytes: {
        let mut bytes = [0; MAX];
        let (name, _) = bytes.split_at_mut(4);
        name.copy_from_slice(b"core");
        bytes
    },
    len: 4,
});

/// `core_uses_pid`: a dot and the number follow a pattern that does not have it.
pub static USES_PID: Tunable = Tunable::new(0, 0, 1);
/// `suid_dumpable`: what `PR_GET_DUMPABLE` is for a program that gained privileges.
pub static SUID_DUMPABLE: Tunable = Tunable::new(0, 0, 2);

struct Pattern {
    bytes: [u8; MAX],
    len: usize,
}

/// The pattern.
pub fn get() -> Vec<u8> {
    let pattern = PATTERN.lock();
    let (bytes, len) = (pattern.bytes, pattern.len);
    drop(pattern);
    bytes[..len].to_vec()
}

/// Sets the pattern.
///
/// # Errors
/// `EINVAL` for what is too long, or names a program to be run, which is not there.
pub fn set(text: &[u8]) -> Result<(), Errno> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.len() >= MAX || text.first() == Some(&b'|') {
        return Err(Errno::EINVAL);
    }
    let mut pattern = PATTERN.lock();
    pattern.bytes[..text.len()].copy_from_slice(text);
    pattern.len = text.len();
    Ok(())
}

/// The path for the core file of `thread`, which `signo` ends.
pub(super) fn path(thread: &Thread, signo: i32) -> Vec<u8> {
    let process = thread.process();
    let cred = thread.cred();
    let comm = thread.comm();
    // A name must not lead elsewhere.
    let name: Vec<u8> = comm
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .iter()
        .map(|byte| if *byte == b'/' { b'!' } else { *byte })
        .collect();
    let number = |value: i64| alloc::format!("{value}").into_bytes();
    let mut has_pid = false;
    let mut path = expand(&get(), |letter| match letter {
        b'p' | b'P' => {
            has_pid = true;
            Some(number(i64::from(process.pid)))
        }
        b'i' | b'I' => Some(number(i64::from(thread.tid()))),
        b'u' => Some(number(i64::from(cred.uid))),
        b'g' => Some(number(i64::from(cred.gid))),
        b'd' => Some(number(i64::from(process.image.lock().dumpable))),
        b's' => Some(number(i64::from(signo))),
        b't' => Some(number(timekeeping::realtime_ns() / 1_000_000_000)),
        b'c' => Some(number(
            process.limit(crate::process::rlimit::Resource::Core) as i64,
        )),
        b'h' => Some(uts::HOSTNAME.get().to_vec()),
        b'e' | b'f' => Some(name.clone()),
        _ => None,
    });
    if !has_pid && USES_PID.get() != 0 {
        path.push(b'.');
        path.extend(number(i64::from(process.pid)));
    }
    path
}

/// Replaces each `%` and letter by what `of` says: nothing for what it does not know.
fn expand(pattern: &[u8], mut of: impl FnMut(u8) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut path = Vec::new();
    let mut bytes = pattern.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'%' => match bytes.next() {
                Some(b'%') => path.push(b'%'),
                Some(&letter) => path.extend(of(letter).unwrap_or_default()),
                None => {}
            },
            byte => path.push(byte),
        }
    }
    path
}
