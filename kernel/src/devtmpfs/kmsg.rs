//! `/dev/kmsg`: the kernel's log, a record at a time.
//!
//! Source: Linux's Documentation/ABI/testing/dev-kmsg.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use fs::device::{self, Device, DeviceKind, Opened};
use fs::file::Whence;
use fs::file::oflag::{O_ACCMODE, O_WRONLY};
use fs::{Cap, Errno, File, FileOps, Inode, PollEvents, PollTable, Result, Sink, Source};

use super::{add, memory};
use crate::printk::format::Kmsg;
use crate::printk::{self, LOG, Read, TEXT_LEN};
use crate::process::current;

const MINOR: u32 = 11;

/// Longest line that a program may log.
const LINE_MAX: usize = 1024 - 32;
/// Facility `user`, for lines that do not say.
const FACILITY_USER: u32 = 1;
/// Level `warning`, for lines that do not say.
const DEFAULT_LEVEL: u32 = 4;
/// Longest record as text: each byte may become four, and a head.
const RECORD_MAX: usize = TEXT_LEN * 4 + 64;

/// The device.
struct KmsgDevice;

/// An open log: the number of the record to read next.
struct Reader {
    next: AtomicU64,
}

impl Device for KmsgDevice {
    fn open(&self, _: u64, _: &Arc<Inode>, flags: u32) -> Result<Opened> {
        if flags & O_ACCMODE != O_WRONLY {
            let cred = current().cred();
            if !cred.capable(Cap::Syslog) && !cred.capable(Cap::SysAdmin) {
                return Err(Errno::EPERM);
            }
        }
        Ok(Opened::seekable(Arc::new(Reader {
            next: AtomicU64::new(LOG.first_seq()),
        })))
    }
}

/// A buffer for one record's text.
struct Buffer {
    bytes: [u8; RECORD_MAX],
    len: usize,
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self
            .bytes
            .get_mut(self.len..self.len + text.len())
            .ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

impl FileOps for Reader {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let seq = self.next.load(Ordering::Relaxed);
        if seq >= LOG.next_seq() {
            return Err(Errno::EAGAIN);
        }
        let mut text = [0; TEXT_LEN];
        let record = match LOG.read(seq, &mut text) {
            Read::Record(record) => record,
            Read::NotYet => return Err(Errno::EAGAIN),
            Read::Lost(first) => {
                self.next.store(first, Ordering::Relaxed);
                return Err(Errno::EPIPE);
            }
        };
        let mut out = Buffer {
            bytes: [0; RECORD_MAX],
            len: 0,
        };
        write!(out, "{}", Kmsg(record, &text[..record.len])).map_err(|_| Errno::EINVAL)?;
        if buf.remaining() < out.len {
            return Err(Errno::EINVAL);
        }
        if buf.put(&out.bytes[..out.len]) < out.len {
            return Err(Errno::EFAULT);
        }
        self.next.store(seq + 1, Ordering::Relaxed);
        Ok(out.len)
    }

    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let len = buf.remaining();
        if len > LINE_MAX {
            return Err(Errno::EINVAL);
        }
        let mut line = Vec::new();
        line.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        line.resize(len, 0);
        if buf.take(&mut line) < len {
            return Err(Errno::EFAULT);
        }
        let (priority, text) = split_priority(&line);
        printk::write(priority, format_args!("{}", Lossy(text)));
        Ok(len)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&printk::readers());
        }
        let seq = self.next.load(Ordering::Relaxed);
        if seq < LOG.first_seq() {
            PollEvents::READ | PollEvents::ERR | PollEvents::PRI
        } else if seq < LOG.next_seq() {
            PollEvents::READ
        } else {
            PollEvents::empty()
        }
    }

    fn seek(&self, _: &File, _: u64, offset: i64, whence: Whence) -> Result<u64> {
        if offset != 0 {
            return Err(Errno::ESPIPE);
        }
        let to = match whence {
            Whence::Set => LOG.first_seq(),
            Whence::End => LOG.next_seq(),
            Whence::Data => printk::cleared_seq(),
            _ => return Err(Errno::EINVAL),
        };
        self.next.store(to, Ordering::Relaxed);
        Ok(0)
    }
}

/// Takes `<priority>` off the front of a line.
fn split_priority(line: &[u8]) -> (u32, &[u8]) {
    let default = (FACILITY_USER << 3 | DEFAULT_LEVEL, line);
    let Some(rest) = line.strip_prefix(b"<") else {
        return default;
    };
    let Some(end) = rest.iter().position(|&b| b == b'>') else {
        return default;
    };
    let number = core::str::from_utf8(&rest[..end])
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    match number {
        Some(number) if number >> 3 != 0 => (number, &rest[end + 1..]),
        Some(level) => (FACILITY_USER << 3 | level, &rest[end + 1..]),
        None => default,
    }
}

/// Bytes as text, what is no UTF-8 replaced.
struct Lossy<'a>(&'a [u8]);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// Registers the device and makes its node.
pub(super) fn init() -> Result<()> {
    device::register(
        DeviceKind::Char,
        "mem",
        (memory::MAJOR, MINOR),
        1,
        Arc::new(KmsgDevice),
    )?;
    add("kmsg", 0o644, (memory::MAJOR, MINOR))
}
