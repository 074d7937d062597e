//! System V IPC.

mod msg;
mod sem;
mod shm;

use super::{cases, parts};

parts![msg, sem, shm];

const PRIVATE: i32 = 0;
const CREAT: i32 = 0o1000;
const EXCL: i32 = 0o2000;
const NOWAIT: i32 = 0o4000;

const RMID: i32 = 0;
const SET: i32 = 1;
const STAT: i32 = 2;

/// Words of `struct ipc64_perm`, with which every object's structure begins.
const PERM: usize = 6;

/// A key that no other case uses: cases run in one system, one after the other.
fn key(of: i32) -> i32 {
    0x5741_0000 + of
}

/// Owner, creator and mode in an object's structure.
fn owners(words: &[u64]) -> (u32, u32, u32) {
    let high = |word: u64| (word >> 32) as u32;
    (high(words[0]), high(words[1]), high(words[2]))
}

/// Gives an object's structure another owner and mode.
fn set_owner(words: &mut [u64], uid: u32, mode: u32) {
    words[0] = words[0] & 0xffff_ffff | u64::from(uid) << 32;
    words[2] = words[2] & 0xffff_ffff | u64::from(mode) << 32;
}

/// The line of `/proc/sysvipc/WHAT` about object `id`, in words.
fn shown(what: &str, id: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/sysvipc/{what}")).expect("it is there");
    let lines = text.lines().map(|line| line.split_whitespace());
    let mut lines = lines.map(|words| words.map(String::from).collect::<Vec<_>>());
    lines.find(|words| words[1] == id.to_string())
}
