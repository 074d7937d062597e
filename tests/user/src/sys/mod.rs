//! What the cases share: system calls as safe functions, checked results, children.
//!
//! Every wrapper gives the kernel's own answer, `Err` with the error number included, and no C library stands in between.
//! A name that is a libc function's has that function's arguments, with slices for pointer and length. What no wrapper
//! offers, such as pointers that are wrong on purpose, goes through [`call`].

mod abi;
mod descriptors;
mod files;
mod memory;
mod plain;
mod process;
mod sched;
mod signals;
mod sockets;
mod terminal;
mod time;
mod waiting;

pub use abi::*;
pub use descriptors::*;
pub use files::*;
pub use memory::*;
pub use plain::*;
pub use process::*;
pub use sched::*;
pub use signals::*;
pub use sockets::*;
pub use terminal::*;
pub use time::*;
pub use waiting::*;

/// What a call gives: its value or an error number.
pub type Result<T = (), E = i32> = std::result::Result<T, E>;

/// What a call gave, to be checked by [`ok`] and [`fails`]: a [`Result`], or a C function's number that is -1 on an error.
pub trait Outcome {
    /// What it gives if it succeeds.
    type Value: std::fmt::Debug;
    /// As a result.
    fn outcome(self) -> Result<Self::Value>;
}

impl<T: std::fmt::Debug> Outcome for Result<T> {
    type Value = T;
    fn outcome(self) -> Result<T> {
        self
    }
}

macro_rules! numbers {
    ($($type:ty),*) => { $(impl Outcome for $type {
        type Value = $type;
        fn outcome(self) -> Result<$type> {
            if self == -1 { Err(errno()) } else { Ok(self) }
        }
    })* };
}
numbers!(i32, i64, isize);

/// The error number of the C library's last call.
pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The result of a call that has to succeed.
#[track_caller]
pub fn ok<T: Outcome>(result: T) -> T::Value {
    match result.outcome() {
        Ok(value) => value,
        Err(error) => panic!("failed: {}", text_of(error)),
    }
}

/// Checks that a call failed with this error.
#[track_caller]
pub fn fails<T: Outcome>(result: T, expected: i32) {
    match result.outcome() {
        Ok(value) => panic!("gave {value:?}, not {}", text_of(expected)),
        Err(error) => assert!(
            error == expected,
            "failed: {}, not {}",
            text_of(error),
            text_of(expected)
        ),
    }
}

fn text_of(error: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(error)
}

/// A C string.
pub fn c(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).expect("no zero inside")
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

/// Does nothing with a value that was only to be made.
pub fn ignore<T>(_: T) {}
