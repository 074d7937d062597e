//! The one place that enters the kernel, and how Rust values become the words of a call.

use super::{Plain, Result, c};
use std::ffi::{CStr, CString};

/// A system call without the C library in between.
///
/// Safe, though a call may do anything to this process: whatever memory the words name is what the case is about, and a case
/// that takes away what it stands on breaks itself alone.
pub fn call(number: i64, args: &[usize]) -> Result<usize> {
    let arg = |i: usize| args.get(i).copied().unwrap_or(0);
    let result: isize;
    // SAFETY: the instruction changes no register but those named, and no memory but what the caller has named by an address,
    // which so is known to be reached from outside.
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

/// The words of a call that is being put together.
#[derive(Default)]
pub struct Words {
    words: [usize; 6],
    /// How many there are already.
    count: usize,
    /// Paths, which have to live until the call.
    held: Vec<CString>,
}

impl Words {
    fn add(&mut self, word: usize) {
        self.words[self.count] = word;
        self.count += 1;
    }

    /// Makes the call.
    pub fn call(self, number: i64) -> Result<usize> {
        call(number, &self.words)
    }
}

/// What can be given to a call: one word, or two for a slice.
pub trait Argument {
    /// Adds its words.
    fn push(self, to: &mut Words);
}

/// What a call's word can stand for.
pub trait Answer {
    /// Reads it.
    fn of(word: usize) -> Self;
}

macro_rules! integers {
    ($($type:ty),*) => { $(
        impl Argument for $type {
            fn push(self, to: &mut Words) {
                to.add(self as usize);
            }
        }
        impl Answer for $type {
            fn of(word: usize) -> $type {
                word as $type
            }
        }
    )* };
}
integers!(i32, u32, i64, u64, usize);

impl Answer for () {
    fn of(_: usize) {}
}

impl<T: Plain> Argument for &T {
    fn push(self, to: &mut Words) {
        to.add(std::ptr::from_ref(self) as usize);
    }
}

impl<T: Plain> Argument for &mut T {
    fn push(self, to: &mut Words) {
        to.add(std::ptr::from_mut(self) as usize);
    }
}

/// No pointer is a null pointer.
impl<T: Argument> Argument for Option<T> {
    fn push(self, to: &mut Words) {
        match self {
            Some(value) => value.push(to),
            None => to.add(0),
        }
    }
}

impl<T: Plain> Argument for &[T] {
    fn push(self, to: &mut Words) {
        to.add(self.as_ptr() as usize);
        to.add(self.len());
    }
}

impl<T: Plain> Argument for &mut [T] {
    fn push(self, to: &mut Words) {
        to.add(self.as_mut_ptr() as usize);
        to.add(self.len());
    }
}

impl Argument for &CStr {
    fn push(self, to: &mut Words) {
        to.add(self.as_ptr() as usize);
    }
}

impl Argument for &str {
    fn push(self, to: &mut Words) {
        let text = c(self);
        to.add(text.as_ptr() as usize);
        to.held.push(text);
    }
}

/// Declares functions that pass their arguments to a system call one after the other.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $answer:ty)? = $number:ident;)*) => { $(
        $(#[$doc])*
        pub fn $name($($arg: $type),*) -> $crate::sys::Result<$crate::sys::calls!(@ $($answer)?)> {
            #[allow(unused_mut, reason = "some calls have no arguments")]
            let mut words = $crate::sys::Words::default();
            $($crate::sys::Argument::push($arg, &mut words);)*
            words.call(libc::$number).map($crate::sys::Answer::of)
        }
    )* };
    (@) => { () };
    (@ $answer:ty) => { $answer };
}
pub(crate) use calls;
