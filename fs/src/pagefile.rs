//! Regular files that live in their page cache: the operations of an open file on tmpfs and its relatives.

use alloc::sync::Arc;

use crate::file::{File, FileOps, Whence, generic_seek, oflag};
use crate::inode::{NewNode, touch_atime};
use crate::iobuf::{LimitedSource, Sink, Source};
use crate::mapping::{MAX_FILE_SIZE, Mapping};
use crate::{Errno, Result, seal};

/// `fallocate` modes.
#[allow(missing_docs, reason = "the names are those of fallocate(2)")]
pub mod falloc {
    pub const KEEP_SIZE: u32 = 1;
    pub const PUNCH_HOLE: u32 = 2;
    pub const COLLAPSE_RANGE: u32 = 8;
    pub const ZERO_RANGE: u32 = 16;
    pub const INSERT_RANGE: u32 = 32;
    pub const UNSHARE_RANGE: u32 = 64;
}

/// The operations of a regular file whose inode has a [`Mapping`].
#[derive(Debug)]
pub struct PageFile;

fn mapping(file: &File) -> Result<&Arc<Mapping>> {
    file.inode().mapping().ok_or(Errno::EINVAL)
}

impl FileOps for PageFile {
    fn splices(&self) -> bool {
        true
    }

    fn read(&self, file: &File, pos: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let done = mapping(file)?.read(*pos, buf)?;
        *pos += done as u64;
        touch_atime(&file.path().mount, file.inode());
        Ok(done)
    }

    fn write(&self, file: &File, pos: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let mapping = mapping(file)?;
        if buf.remaining() == 0 {
            return Ok(0);
        }
        let append = file.flags() & oflag::O_APPEND != 0;
        let at = if append { None } else { Some(*pos) };
        let seals = mapping.seals() & (seal::WRITE | seal::FUTURE_WRITE | seal::GROW);
        let (end, done) = if seals == 0 {
            file.strip_privileges()?;
            mapping.write(at, buf)?
        } else {
            if seals & (seal::WRITE | seal::FUTURE_WRITE) != 0 {
                return Err(Errno::EPERM);
            }
            let size = mapping.size();
            let room = size.saturating_sub(at.unwrap_or(size));
            if seals & seal::GROW != 0 && room < buf.remaining() as u64 {
                if room == 0 {
                    return Err(Errno::EPERM);
                }
                mapping.write(at, &mut LimitedSource::new(buf, room as usize))?
            } else {
                mapping.write(at, buf)?
            }
        };
        *pos = end;
        file.inode().touch_modified();
        Ok(done)
    }

    fn seek(&self, file: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        let to = match whence {
            Whence::Data | Whence::Hole => mapping(file)?.seek(offset, whence)?,
            _ => generic_seek(pos, file.inode().size(), offset, whence)?,
        };
        if to > MAX_FILE_SIZE {
            Err(Errno::EINVAL)
        } else {
            Ok(to)
        }
    }

    fn mmap(&self, file: &File) -> Result<Arc<Mapping>> {
        touch_atime(&file.path().mount, file.inode());
        mapping(file).cloned()
    }

    fn check_flags(&self, _: &File, flags: u32) -> Result<()> {
        // There is no device that a transfer could go to directly.
        if flags & oflag::O_DIRECT != 0 {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        }
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }

    fn fallocate(&self, file: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        let mapping = mapping(file)?;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let seals = mapping.seals();
        match mode {
            0 | falloc::KEEP_SIZE => {
                if seals & seal::GROW != 0 && end > mapping.size() {
                    return Err(Errno::EPERM);
                }
                mapping.allocate(offset..end, mode == falloc::KEEP_SIZE)?;
            }
            m if m == falloc::PUNCH_HOLE | falloc::KEEP_SIZE => {
                if seals & (seal::WRITE | seal::FUTURE_WRITE) != 0 {
                    return Err(Errno::EPERM);
                }
                mapping.punch(offset..end);
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        file.strip_privileges()?;
        file.inode().touch_modified();
        Ok(())
    }
}

/// Describes a new inode owned by root, for file systems that make their own.
pub fn root_owned(mode: u32) -> NewNode<'static> {
    NewNode {
        mode,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: None,
    }
}
