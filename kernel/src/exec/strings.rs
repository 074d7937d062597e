//! Arguments and environment: from where the caller has them to the top of the new stack.
//!
//! They are gone through twice: once to count, so that limits are checked before anything is made, and once to copy. Another
//! thread of the caller may change them in between; then the copy does not fit what was counted, which is an error.

use alloc::sync::Arc;
use alloc::vec::Vec;

use fs::Errno;

use crate::mm::AddressSpace;
use crate::usermem;

/// The longest single string, with its final zero (`MAX_ARG_STRLEN`).
const STRING_MAX: usize = 32 * 4096;
/// What the strings may take at least, whatever the stack limit says.
const TOTAL_MIN: u64 = 32 * 4096;
/// What they may take at most.
const TOTAL_MAX: u64 = 6 << 20;
const PAGE: u64 = 4096;

/// A vector of strings.
#[derive(Debug)]
pub enum Vector {
    /// In the caller's memory: an array of pointers that ends with a null pointer. A null array is empty.
    User(u64),
    /// The kernel's own.
    Kernel(Vec<Vec<u8>>),
}

/// All strings of a new program, in order: what the kernel puts first, then the caller's arguments, then the
/// environment.
#[derive(Debug)]
pub struct Strings {
    /// Arguments that scripts put before the caller's.
    pub leading: Vec<Vec<u8>>,
    /// How many of the caller's arguments scripts have taken the place of.
    pub skip: usize,
    /// The caller's arguments.
    pub args: Vector,
    /// The environment.
    pub env: Vector,
}

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Arguments, the leading ones included.
    pub argc: usize,
    /// Environment strings.
    pub envc: usize,
    /// Bytes of all strings with their final zeros.
    pub bytes: u64,
}

/// Reads a string of the caller's piece by piece; the pieces are without the final zero. Gives its length with it.
fn read_string(
    mut at: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), Errno>,
) -> Result<usize, Errno> {
    let mut buffer = [0; 256];
    let mut len = 0;
    loop {
        // A piece never crosses a page, so reading past the string's end cannot fault.
        let piece = &mut buffer[..(PAGE - at % PAGE).min(256) as usize];
        usermem::read_bytes(at, piece)?;
        let end = piece.iter().position(|byte| *byte == 0);
        let piece = &piece[..end.unwrap_or(piece.len())];
        len += piece.len();
        if len >= STRING_MAX {
            return Err(Errno::E2BIG);
        }
        each(piece)?;
        if end.is_some() {
            return Ok(len + 1);
        }
        at = at.checked_add(piece.len() as u64).ok_or(Errno::EFAULT)?;
    }
}

impl Vector {
    /// Address of string `index` in the caller's memory; `None` at the end.
    fn pointer(array: u64, index: usize) -> Result<Option<u64>, Errno> {
        if array == 0 {
            return Ok(None);
        }
        let at = array.checked_add(index as u64 * 8).ok_or(Errno::EFAULT)?;
        Ok(Some(usermem::read::<u64>(at)?).filter(|pointer| *pointer != 0))
    }

    /// Counts strings and bytes from string `skip` on; gives up beyond `limit` bytes, a pointer counting as eight.
    fn count(&self, skip: usize, limit: u64) -> Result<(usize, u64), Errno> {
        let (mut count, mut bytes) = (0, 0);
        match self {
            Vector::Kernel(strings) => {
                for string in strings.iter().skip(skip) {
                    count += 1;
                    bytes += string.len() as u64 + 1;
                }
            }
            Vector::User(array) => {
                while let Some(pointer) = Self::pointer(*array, skip + count)? {
                    count += 1;
                    bytes += read_string(pointer, |_| Ok(()))? as u64;
                    if bytes + count as u64 * 8 > limit {
                        return Err(Errno::E2BIG);
                    }
                }
            }
        }
        Ok((count, bytes))
    }

    fn is_empty(&self) -> Result<bool, Errno> {
        match self {
            Vector::Kernel(strings) => Ok(strings.is_empty()),
            Vector::User(array) => Ok(Self::pointer(*array, 0)?.is_none()),
        }
    }
}

impl Strings {
    /// Counts all strings; `stack_limit` is `RLIMIT_STACK`.
    ///
    /// # Errors
    /// `E2BIG`; `EFAULT`.
    pub fn count(&self, stack_limit: u64) -> Result<Counted, Errno> {
        let limit = (stack_limit / 4).clamp(TOTAL_MIN, TOTAL_MAX);
        let (args, arg_bytes) = self.args.count(self.skip, limit)?;
        let (envc, env_bytes) = self.env.count(0, limit)?;
        let leading: u64 = self
            .leading
            .iter()
            .map(|string| string.len() as u64 + 1)
            .sum();
        let argc = args + self.leading.len();
        let bytes = leading + arg_bytes + env_bytes;
        if bytes + (argc.max(1) + envc) as u64 * 8 > limit {
            return Err(Errno::E2BIG);
        }
        Ok(Counted { argc, envc, bytes })
    }

    /// A program that is given no argument at all gets an empty name.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn ensure_name(&mut self) -> Result<(), Errno> {
        if self.leading.is_empty() && self.args.is_empty()? {
            self.leading.push(Vec::new());
        }
        Ok(())
    }

    /// Copies all strings to `at` in `space`, and hands `note` the address of each; environment strings come after the
    /// arguments. Gives the address where the environment begins.
    ///
    /// # Errors
    /// `EFAULT` if they cannot be read or written, or have grown since they were counted.
    pub fn copy(
        &self,
        space: &Arc<AddressSpace>,
        at: u64,
        counted: Counted,
        mut note: impl FnMut(u64) -> Result<(), Errno>,
    ) -> Result<u64, Errno> {
        let mut out = Writer::new(space, at, at + counted.bytes);
        for string in &self.leading {
            note(out.position())?;
            out.put_string(string)?;
        }
        Self::copy_vector(
            &self.args,
            self.skip,
            counted.argc - self.leading.len(),
            &mut out,
            &mut note,
        )?;
        let env_start = out.position();
        Self::copy_vector(&self.env, 0, counted.envc, &mut out, &mut note)?;
        out.flush()?;
        Ok(env_start)
    }

    fn copy_vector(
        vector: &Vector,
        skip: usize,
        count: usize,
        out: &mut Writer<'_>,
        note: &mut impl FnMut(u64) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        for index in skip..skip + count {
            note(out.position())?;
            match vector {
                Vector::Kernel(strings) => out.put_string(&strings[index])?,
                Vector::User(array) => {
                    let pointer = Vector::pointer(*array, index)?.ok_or(Errno::EFAULT)?;
                    read_string(pointer, |piece| out.put(piece))?;
                    out.put(&[0])?;
                }
            }
        }
        Ok(())
    }
}

/// Writes to an address space that is not loaded, through a small buffer.
pub(super) struct Writer<'a> {
    space: &'a Arc<AddressSpace>,
    at: u64,
    end: u64,
    buffer: [u8; 512],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Writes from `at` on, and never to `end`.
    pub fn new(space: &'a Arc<AddressSpace>, at: u64, end: u64) -> Self {
        Writer {
            space,
            at,
            end,
            buffer: [0; 512],
            len: 0,
        }
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.at + self.len as u64
    }

    /// Writes `bytes`.
    ///
    /// # Errors
    /// `EFAULT` if they do not fit, or memory is short.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        if bytes.len() as u64 > self.end - self.position() {
            return Err(Errno::EFAULT);
        }
        while !bytes.is_empty() {
            if self.len == self.buffer.len() {
                self.flush()?;
            }
            let step = bytes.len().min(self.buffer.len() - self.len);
            self.buffer[self.len..self.len + step].copy_from_slice(&bytes[..step]);
            self.len += step;
            bytes = &bytes[step..];
        }
        Ok(())
    }

    fn put_string(&mut self, string: &[u8]) -> Result<(), Errno> {
        self.put(string)?;
        self.put(&[0])
    }

    /// Writes a word.
    ///
    /// # Errors
    /// As [`Writer::put`].
    pub fn put_word(&mut self, word: u64) -> Result<(), Errno> {
        self.put(&word.to_ne_bytes())
    }

    /// Writes what is in the buffer.
    ///
    /// # Errors
    /// `EFAULT` if memory is short.
    pub fn flush(&mut self) -> Result<(), Errno> {
        if self
            .space
            .write_memory(self.at, &self.buffer[..self.len], true)
            != self.len
        {
            return Err(Errno::EFAULT);
        }
        self.at += self.len as u64;
        self.len = 0;
        Ok(())
    }
}
