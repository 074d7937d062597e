//! Archives that the boot loader hands over: newc cpio, plain or gzip, several behind one another.
//!
//! Bytes flow through: [`gzip`] gives its output piece by piece to [`Parser`], which hands names and contents to a [`Receiver`] as they come.
//! So an archive of any size unpacks in the memory that its files take. [`unpack`] puts it all together.

pub mod gzip;
mod parser;
mod unpack;

use core::fmt;

use alloc::vec::Vec;

use crate::Errno;
use crate::namei::Walk;

pub use parser::{Header, Parser, Receiver};
pub use unpack::{Report, Unpacker};

/// Why an archive could not be unpacked. What came before the fault is unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// At this offset neither an archive nor a compressed one begins.
    NotAnArchive {
        /// Where in the image.
        offset: u64,
    },
    /// A header is not that of a newc archive.
    BadHeader {
        /// Where in the archive.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The archive ends in the middle of an entry, or without a trailer.
    Truncated {
        /// How long the archive is.
        offset: u64,
    },
    /// The compressed data is damaged.
    Gzip(gzip::Error),
    /// A file could not be written.
    Write {
        /// Its name.
        name: Vec<u8>,
        /// Why.
        error: Errno,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotAnArchive { offset } => {
                write!(f, "no cpio or gzip archive at offset {offset}")
            }
            Error::BadHeader { offset, reason } => {
                write!(f, "bad cpio header at offset {offset}: {reason}")
            }
            Error::Truncated { offset } => write!(f, "cpio archive ends early, at offset {offset}"),
            Error::Gzip(error) => write!(f, "gzip: {error}"),
            Error::Write { name, error } => {
                write!(f, "cannot write {}: {error}", name.escape_ascii())
            }
        }
    }
}

impl core::error::Error for Error {}

/// Unpacks the archives in `image`, as Linux unpacks an initramfs, with the rights and from the root of `walk`.
///
/// Entries that cannot be made (a missing directory, say) are skipped and told in the report.
///
/// # Errors
/// See [`Error`].
pub fn unpack(image: &[u8], walk: &Walk<'_>) -> Result<Report, Error> {
    let mut unpacker = Unpacker::new(walk);
    feed_image(image, &mut unpacker)?;
    Ok(unpacker.finish())
}

/// Hands the archives in `image` to `receiver`.
pub(crate) fn feed_image(image: &[u8], receiver: &mut dyn Receiver) -> Result<(), Error> {
    let mut rest = image;
    let mut found = false;
    loop {
        let zeros = rest.iter().take_while(|&&b| b == 0).count();
        rest = &rest[zeros..];
        let offset = (image.len() - rest.len()) as u64;
        if rest.is_empty() {
            return if found {
                Ok(())
            } else {
                Err(Error::NotAnArchive { offset: 0 })
            };
        }
        found = true;
        let mut parser = Parser::new(receiver);
        if rest[0] == b'0' {
            let used = parser.feed(rest)?;
            parser.finish()?;
            rest = &rest[used..];
        } else if gzip::is_gzip(rest) {
            // Each member may hold several archives and padding.
            let mut inside = Padded {
                parser,
                begun: false,
            };
            let used = gzip::inflate(rest, &mut |bytes| inside.feed(bytes))?;
            inside.finish()?;
            rest = &rest[used..];
        } else {
            return Err(Error::NotAnArchive { offset });
        }
    }
}

/// Archives with zeros between them, in pieces.
struct Padded<'r> {
    parser: Parser<'r>,
    begun: bool,
}

impl Padded<'_> {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if !self.begun {
                let zeros = bytes.iter().take_while(|&&b| b == 0).count();
                bytes = &bytes[zeros..];
                self.begun = !bytes.is_empty();
                continue;
            }
            let used = self.parser.feed(bytes)?;
            bytes = &bytes[used..];
            if self.parser.is_done() {
                self.parser.restart();
                self.begun = false;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Error> {
        if self.begun {
            self.parser.finish()
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
