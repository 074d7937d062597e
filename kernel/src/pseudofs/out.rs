//! The text of a file while it is made.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Text, or any bytes, to be read.
#[derive(Default, Debug)]
pub struct Out(Vec<u8>);

impl Out {
    /// Adds bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Adds formatted text. Writing to memory does not fail.
    pub fn print(&mut self, args: fmt::Arguments<'_>) {
        let _ = fmt::write(self, args);
    }

    /// Adds what `fill` puts into a string.
    pub fn string(&mut self, fill: impl FnOnce(&mut String)) {
        let mut text = String::new();
        fill(&mut text);
        self.bytes(text.as_bytes());
    }

    /// Bytes added so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that was added.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// `print!` for an [`Out`].
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { $out.print(format_args!($($arg)*)) };
}
pub(crate) use put;
