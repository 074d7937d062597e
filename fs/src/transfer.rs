//! Bytes on their way from one file to another that no program sees: what `sendfile` and `copy_file_range` move.
//!
//! What the page cache has is handed over as its pages, so that each byte is copied once, into the target. Anything else
//! goes through a page in between.

use alloc::vec::Vec;

use crate::file::{File, Whence};
use crate::inode::touch_atime;
use crate::iobuf::Source;
use crate::notify::NotifyEvents;
use crate::page::{PAGE_SIZE, Page};
use crate::pagefile::PageFile;
use crate::splice::PageSink;
use crate::{Errno, Result};

/// Pages that travel at a time; while they do, a file that is cut does not give them back.
const PAGES: usize = 16;

/// Bytes that were read from a file: a [`Source`] for another one's write.
#[derive(Debug)]
pub struct Parcel {
    pages: Vec<Page>,
    /// Offset in the first page of the next byte; may lie in a later one.
    start: usize,
    len: usize,
}

impl Parcel {
    /// Takes up to `len` bytes, at most 64 KiB, out of `from` at `at`, or else at its own position, which moves on. None are
    /// the end of the file.
    ///
    /// The bytes are still the file's own pages where it lives in its page cache, so they must not be written back to it: see
    /// [`copy`](Parcel::copy).
    ///
    /// # Errors
    /// `ENOMEM`, and those of [`File::read`] and [`File::pread`].
    pub fn read(from: &File, at: Option<u64>, len: usize) -> Result<Parcel> {
        match Self::cached(from, at, len)? {
            Some(parcel) => Ok(parcel),
            None => Self::copy(from, at, len),
        }
    }

    /// As [`read`](Parcel::read), but up to 4 KiB, in a page of their own.
    ///
    /// # Errors
    /// `ENOMEM`, and those of [`File::read`] and [`File::pread`].
    pub fn copy(from: &File, at: Option<u64>, len: usize) -> Result<Parcel> {
        let page = Page::alloc().ok_or(Errno::ENOMEM)?;
        let mut pages = Vec::new();
        pages.try_reserve_exact(1).map_err(|_| Errno::ENOMEM)?;
        let mut sink = PageSink::new(&page, len.min(PAGE_SIZE));
        let len = match at {
            Some(at) => from.pread(at, &mut sink)?,
            None => from.read(&mut sink)?,
        };
        pages.push(page);
        Ok(Parcel {
            pages,
            start: 0,
            len,
        })
    }

    /// The pages of a file that lives in its page cache, up to the first hole; `None` where there are none.
    fn cached(from: &File, at: Option<u64>, len: usize) -> Result<Option<Parcel>> {
        let mapping = match from.inode().mapping() {
            Some(mapping) if from.readable() && from.ops_as::<PageFile>().is_some() => mapping,
            _ => return Ok(None),
        };
        let pos = at.unwrap_or_else(|| from.pos());
        let start = (pos % PAGE_SIZE as u64) as usize;
        let left = mapping.size().saturating_sub(pos);
        let left = left.min(len.min(PAGES * PAGE_SIZE - start) as u64) as usize;
        let first = pos / PAGE_SIZE as u64;
        let count = (start + left).div_ceil(PAGE_SIZE);
        let mut pages = Vec::new();
        pages.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        if left > 0 {
            mapping.for_each_page(first..first + count as u64, &mut |index, page| {
                if index == first + pages.len() as u64 {
                    pages.push(page.clone());
                }
            });
        }
        if pages.is_empty() {
            return Ok(None);
        }
        let len = left.min(pages.len() * PAGE_SIZE - start);
        if at.is_none() {
            from.seek((pos + len as u64) as i64, Whence::Set)?;
        }
        touch_atime(&from.path().mount, from.inode());
        from.tell(&Ok(len), NotifyEvents::ACCESS);
        Ok(Some(Parcel { pages, start, len }))
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Source for Parcel {
    fn remaining(&self) -> usize {
        self.len
    }

    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let want = bytes.len().min(self.len);
        let mut done = 0;
        while done < want {
            let Some(page) = self.pages.get(self.start / PAGE_SIZE) else {
                break;
            };
            let offset = self.start % PAGE_SIZE;
            let step = (PAGE_SIZE - offset).min(want - done);
            page.read_at(offset, &mut bytes[done..done + step]);
            self.start += step;
            done += step;
        }
        self.len -= done;
        done
    }

    fn skip(&mut self, len: usize) -> usize {
        let done = len.min(self.len);
        self.start += done;
        self.len -= done;
        done
    }
}

#[cfg(test)]
mod tests;
