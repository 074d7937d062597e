//! `/proc/kmsg`: the log for a daemon, which takes what it reads.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use fs::{Cap, Errno, File, FileOps, PollEvents, PollTable, Result, Sink};

use crate::printk::{self, LOG, Read, TEXT_LEN};
use crate::process::current;
use crate::pseudofs::{Out, Special, put};

/// The file.
pub struct Kmsg;

/// The record that is to be read next, by whoever reads.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Special for Kmsg {
    fn open(&self, _: u32) -> Result<Arc<dyn FileOps>> {
        if current().cred().capable(Cap::Syslog) {
            Ok(Arc::new(Kmsg))
        } else {
            Err(Errno::EPERM)
        }
    }
}

impl FileOps for Kmsg {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let mut done = 0;
        let mut text = [0; TEXT_LEN];
        while buf.remaining() > 0 {
            let seq = NEXT.load(Ordering::Relaxed);
            if seq >= LOG.next_seq() {
                break;
            }
            match LOG.read(seq, &mut text) {
                Read::NotYet => break,
                Read::Lost(first) => NEXT.store(first, Ordering::Relaxed),
                Read::Record(record) => {
                    let mut line = Out::default();
                    let micros = record.time_ns / 1000;
                    put!(
                        line,
                        "<{}>[{:5}.{:06}] ",
                        record.priority,
                        micros / 1_000_000,
                        micros % 1_000_000
                    );
                    line.bytes(&text[..record.len]);
                    line.bytes(b"\n");
                    let line = line.into_bytes();
                    if line.len() > buf.remaining() {
                        break;
                    }
                    let took = buf.put(&line);
                    if took < line.len() {
                        return if done > 0 {
                            Ok(done)
                        } else {
                            Err(Errno::EFAULT)
                        };
                    }
                    done += took;
                    NEXT.store(seq + 1, Ordering::Relaxed);
                }
            }
        }
        if done > 0 {
            Ok(done)
        } else {
            Err(Errno::EAGAIN)
        }
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&printk::readers());
        }
        let waiting = NEXT.load(Ordering::Relaxed) < LOG.next_seq();
        if waiting {
            PollEvents::READ
        } else {
            PollEvents::empty()
        }
    }
}
