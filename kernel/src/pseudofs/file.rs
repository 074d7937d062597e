//! Open text files.

use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::sync::SpinLock;
use fs::file::{SlowIo, Whence};
use fs::{Errno, File, FileOps, PollEvents, PollTable, Result, Sink, Source};

use super::{Out, Text};

/// Most bytes that one write may bring.
const WRITE_MAX: usize = 4096;

/// An open text file: what was made by the read at its beginning is what the later reads go on with.
pub(super) struct OpenText {
    text: Arc<dyn Text>,
    made: SpinLock<Option<Arc<[u8]>>>,
}

impl OpenText {
    pub(super) fn new(text: Arc<dyn Text>) -> Self {
        OpenText {
            text,
            made: SpinLock::new(None),
        }
    }

    /// The text to read from, made anew at the beginning of the file.
    fn text_at(&self, pos: u64) -> Result<Arc<[u8]>> {
        let kept = self.made.lock().clone();
        if let Some(kept) = kept.filter(|_| pos > 0) {
            return Ok(kept);
        }
        let mut out = Out::default();
        self.text.show(&mut out)?;
        let made: Arc<[u8]> = out.into_bytes().into();
        let old = self.made.lock().replace(made.clone());
        drop(old);
        Ok(made)
    }
}

impl FileOps for OpenText {
    fn splices(&self) -> bool {
        true
    }

    fn read(&self, _: &File, pos: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let text = self.text_at(*pos)?;
        let rest = usize::try_from(*pos)
            .ok()
            .and_then(|at| text.get(at..))
            .unwrap_or(&[]);
        let want = rest.len().min(buf.remaining());
        let n = buf.put(&rest[..want]);
        if n == 0 && want > 0 {
            return Err(Errno::EFAULT);
        }
        *pos += n as u64;
        Ok(n)
    }

    fn write(&self, _: &File, pos: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let len = buf.remaining().min(WRITE_MAX);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(len, 0);
        if buf.take(&mut bytes) < len {
            return Err(Errno::EFAULT);
        }
        let cred = crate::process::current().cred();
        self.text.store(&bytes, &cred)?;
        *pos += len as u64;
        Ok(len)
    }

    fn slow(&self) -> Option<&dyn SlowIo> {
        self.text.slow()
    }

    fn poll(&self, file: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        self.text.poll(file, table)
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        seek_text(pos, offset, whence)
    }
}

/// Computes a seek in a file whose text is made as it is read, and so has no end.
///
/// # Errors
/// `EINVAL` before the start, and for what asks for an end.
pub fn seek_text(pos: u64, offset: i64, whence: Whence) -> Result<u64> {
    let base = match whence {
        Whence::Set => 0,
        Whence::Current => pos,
        _ => return Err(Errno::EINVAL),
    };
    base.checked_add_signed(offset).ok_or(Errno::EINVAL)
}
