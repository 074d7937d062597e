//! The newc format.
//!
//! An entry is a header of 110 bytes (a magic and thirteen numbers in hexadecimal), a name with a zero behind it, padding to four
//! bytes, the contents, padding to four bytes. The name `TRAILER!!!` ends the archive.
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use alloc::vec::Vec;

use super::Error;
use crate::namei::PATH_MAX;

const HEADER: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";

/// The attributes of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of stat(2)")]
pub struct Header {
    pub ino: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub mtime: u32,
    pub size: u32,
    /// Device that held the file; with `ino` it tells hard links.
    pub dev: (u32, u32),
    /// Number of a device node.
    pub rdev: (u32, u32),
}

/// Takes the entries of an archive as they come.
pub trait Receiver {
    /// An entry begins; `header.size` bytes of contents follow.
    fn begin(&mut self, header: &Header, name: &[u8]) -> Result<(), Error>;
    /// A piece of its contents.
    fn contents(&mut self, bytes: &[u8]) -> Result<(), Error>;
    /// The entry is complete.
    fn end(&mut self) -> Result<(), Error>;
    /// The archive is complete: hard links do not cross from here.
    fn trailer(&mut self) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    /// So many bytes of name.
    Name(usize),
    /// So many bytes of padding behind the name.
    NamePadding(usize),
    /// So many bytes of contents, and then of padding.
    Contents(u32, usize),
    Padding(usize),
    Done,
}

/// Reads an archive piece by piece.
pub struct Parser<'r> {
    receiver: &'r mut dyn Receiver,
    state: State,
    /// What there is of a header or name.
    part: Vec<u8>,
    header: Header,
    /// Bytes read so far.
    offset: u64,
}

/// Returns how many bytes lead from `offset` to the next multiple of four.
fn padding(offset: u64) -> usize {
    (offset.wrapping_neg() % 4) as usize
}

impl<'r> Parser<'r> {
    /// Makes a parser at the start of an archive.
    pub fn new(receiver: &'r mut dyn Receiver) -> Parser<'r> {
        Parser {
            receiver,
            state: State::Header,
            part: Vec::new(),
            header: Header::default(),
            offset: 0,
        }
    }

    /// Tells whether the trailer was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Begins anew behind a trailer.
    pub(super) fn restart(&mut self) {
        self.state = State::Header;
        self.offset = 0;
    }

    /// Checks that the archive was complete.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn finish(&self) -> Result<(), Error> {
        if self.is_done() {
            Ok(())
        } else {
            Err(Error::Truncated {
                offset: self.offset,
            })
        }
    }

    /// Reads from `bytes` and returns how many: all, or those up to the end of the archive.
    ///
    /// # Errors
    /// [`Error::BadHeader`], and the receiver's.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let mut rest = bytes;
        while !rest.is_empty() && self.state != State::Done {
            let used = self.step(rest)?;
            self.offset += used as u64;
            rest = &rest[used..];
            self.advance()?;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Takes what the present state can use of `bytes`, which is never empty.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let (want, keep) = match self.state {
            State::Header => (HEADER - self.part.len(), true),
            State::Name(left) => (left, true),
            State::Contents(left, _) => (left as usize, false),
            State::NamePadding(left) | State::Padding(left) => (left, false),
            State::Done => (0, false),
        };
        let used = want.min(bytes.len());
        if keep {
            self.part.extend_from_slice(&bytes[..used]);
        }
        match &mut self.state {
            State::Name(left) | State::NamePadding(left) | State::Padding(left) => *left -= used,
            State::Contents(left, _) => {
                *left -= used as u32;
                self.receiver.contents(&bytes[..used])?;
            }
            State::Header | State::Done => {}
        }
        Ok(used)
    }

    /// Goes on to the next state while the present one is complete.
    fn advance(&mut self) -> Result<(), Error> {
        loop {
            match self.state {
                State::Header if self.part.len() == HEADER => self.parse_header()?,
                State::Name(0) => self.take_name()?,
                State::NamePadding(0) => {
                    let size = self.header.size;
                    let end = self.offset + u64::from(size);
                    self.state = State::Contents(size, padding(end));
                }
                State::Contents(0, padding) => {
                    self.receiver.end()?;
                    self.state = State::Padding(padding);
                }
                State::Padding(0) => self.state = State::Header,
                _ => return Ok(()),
            }
            if self.state == State::Done {
                return Ok(());
            }
        }
    }

    fn bad(&self, reason: &'static str) -> Error {
        Error::BadHeader {
            offset: self.offset - HEADER as u64,
            reason,
        }
    }

    fn parse_header(&mut self) -> Result<(), Error> {
        match &self.part[..6] {
            b"070701" | b"070702" => {}
            b"070707" => return Err(self.bad("incorrect cpio method used: use -H newc option")),
            _ => return Err(self.bad("no cpio magic")),
        }
        let mut numbers = [0; 13];
        for (number, digits) in numbers.iter_mut().zip(self.part[6..].as_chunks::<8>().0) {
            *number = hex(digits).ok_or_else(|| self.bad("a number is not hexadecimal"))?;
        }
        let [
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            size,
            major,
            minor,
            rmajor,
            rminor,
            name,
            _check,
        ] = numbers;
        if name == 0 || name as usize > PATH_MAX {
            return Err(self.bad("the name's length is not within 1 and 4096"));
        }
        let (dev, rdev) = ((major, minor), (rmajor, rminor));
        self.header = Header {
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            size,
            dev,
            rdev,
        };
        self.part.clear();
        self.state = State::Name(name as usize);
        Ok(())
    }

    fn take_name(&mut self) -> Result<(), Error> {
        let part = core::mem::take(&mut self.part);
        let Some((0, name)) = part.split_last() else {
            let offset = self.offset;
            return Err(Error::BadHeader {
                offset,
                reason: "a name does not end in zero",
            });
        };
        let length = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        if &name[..length] == TRAILER {
            self.receiver.trailer();
            self.state = State::Done;
            return Ok(());
        }
        self.receiver.begin(&self.header, &name[..length])?;
        self.state = State::NamePadding(padding(self.offset));
        Ok(())
    }
}

/// Parses eight hexadecimal digits.
fn hex(digits: &[u8; 8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |number, &digit| {
        Some(number << 4 | (digit as char).to_digit(16)?)
    })
}
