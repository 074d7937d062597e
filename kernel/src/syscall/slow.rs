//! Reads, writes and syncs of files that take their time: the asynchronous part of the calls in [`super::rw`] and of
//! `fsync(2)`.
//!
//! As on Linux, signals do not end a transfer of a disk.

use alloc::sync::Arc;
use alloc::vec::Vec;

use fs::file::SlowIo;
use fs::{Errno, File, Result, Sink, Source};

use super::{Call, rw};
use crate::usermem::{IoVec, UserRange, UserSink, UserSource};

/// Whether a call moves bytes from or to the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// The parts of the caller's memory, and the position, `None` for the file's own.
fn arguments(call: &Call<'_>) -> Result<(Direction, Vec<IoVec>, Option<u64>)> {
    let number = call.number();
    let direction = match number {
        0 | 17 | 19 | 295 | 327 => Direction::Read,
        _ => Direction::Write,
    };
    let parts = match number {
        0 | 1 | 17 | 18 => rw::one(call)?.to_vec(),
        _ => rw::many(call)?,
    };
    let own = matches!(number, 0 | 1 | 19 | 20) || number >= 327 && call.arg(3) == u64::MAX;
    let at = if own { None } else { Some(rw::offset(call)?) };
    Ok((direction, parts, at))
}

/// Brings a `read(2)`, `write(2)` or relative to its end.
pub async fn transfer(call: &mut Call<'_>) -> Result<u64> {
    let file = call.thread.file(call.int(0))?;
    let slow = file.ops().slow().ok_or(Errno::EINVAL)?;
    let (direction, parts, at) = arguments(call)?;
    let start = at.unwrap_or_else(|| file.pos());
    let total = UserRange::new(&parts)?.remaining();
    let mut done = 0;
    let outcome = loop {
        if done == total || done > 0 && call.thread.fatal_signal_pending() {
            break Ok(());
        }
        let (pos, want) = (start + done as u64, (total - done).min(slow.chunk()));
        let step = match direction {
            Direction::Read => read(&file, slow, &parts, done, pos, want).await,
            Direction::Write => write(&file, slow, &parts, done, pos, want).await,
        };
        match step {
            Ok(0) => break Ok(()),
            Ok(moved) => done += moved,
            Err(error) => break Err(error),
        }
    };
    if at.is_none() {
        file.set_pos(start + done as u64);
    }
    match outcome {
        Err(error) if done == 0 => Err(error),
        _ => Ok(done as u64),
    }
}

/// Brings an `fsync(2)` or `fdatasync(2)` to its end.
pub async fn sync(call: &mut Call<'_>) -> Result<u64> {
    let file = call.thread.file(call.int(0))?;
    let slow = file.ops().slow().ok_or(Errno::EINVAL)?;
    slow.sync(&file).await.map(|()| 0)
}

async fn read(
    file: &Arc<File>,
    slow: &dyn SlowIo,
    parts: &[IoVec],
    done: usize,
    pos: u64,
    want: usize,
) -> Result<usize> {
    let bytes = slow.read_at(file, pos, want).await?;
    let mut rest = (*bytes).as_ref();
    let got = rest.len();
    let mut range = UserRange::new(parts)?;
    range.advance(done);
    while !rest.is_empty() {
        let moved = UserSink(&mut range).put(rest);
        rest = &rest[moved..];
        if !rest.is_empty() && range.resolve(true).is_err() {
            break;
        }
    }
    match got - rest.len() {
        0 if got > 0 => Err(Errno::EFAULT),
        moved => Ok(moved),
    }
}

async fn write(
    file: &Arc<File>,
    slow: &dyn SlowIo,
    parts: &[IoVec],
    done: usize,
    pos: u64,
    want: usize,
) -> Result<usize> {
    let bytes = gather(parts, done, want)?;
    slow.write_at(file, pos, bytes).await
}

/// Copies `want` bytes of the caller's, or as many as there are before an address that is wrong.
fn gather(parts: &[IoVec], done: usize, want: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(want).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(want, 0);
    let mut range = UserRange::new(parts)?;
    range.advance(done);
    let mut filled = 0;
    while filled < want {
        filled += UserSource(&mut range).take(&mut bytes[filled..]);
        if filled < want && range.resolve(false).is_err() {
            break;
        }
    }
    bytes.truncate(filled);
    match filled {
        0 => Err(Errno::EFAULT),
        _ => Ok(bytes),
    }
}
