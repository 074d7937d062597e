//! `eventfd(2)`: a counter that wakes who waits for it to leave zero.

use alloc::sync::Arc;
use core::fmt;

use crate::file::{File, FileOps};
use crate::iobuf::{Sink, Source};
use crate::poll::{PollEvents, PollTable};
use crate::sync::{SpinLock, WaitQueue};
use crate::{Errno, Result};

/// Reads take one from the counter, not all.
pub const EFD_SEMAPHORE: u32 = 1;

/// The object behind an eventfd.
pub struct EventFd {
    count: SpinLock<u64>,
    semaphore: bool,
    readers: Arc<WaitQueue>,
    writers: Arc<WaitQueue>,
}

impl EventFd {
    /// Makes a counter that starts at `initial`.
    pub fn new(initial: u32, semaphore: bool) -> EventFd {
        EventFd {
            count: SpinLock::new(initial.into()),
            semaphore,
            readers: Arc::new(WaitQueue::new()),
            writers: Arc::new(WaitQueue::new()),
        }
    }

    /// Adds `value` from inside the kernel and wakes the readers; past the largest value the counter stays there, and polls as
    /// an error.
    ///
    /// # Context
    /// Task.
    pub fn signal(&self, value: u64) {
        self.count
            .with(|count| *count = count.saturating_add(value));
        self.readers.wake_all();
    }

    /// Moves the counter, or 1 of a semaphore's, to `buf`.
    ///
    /// # Errors
    /// `EAGAIN` while the counter is zero; `EINVAL` if `buf` takes less than 8 bytes; `EFAULT`, the counter unchanged.
    pub fn read(&self, buf: &mut dyn Sink) -> Result<usize> {
        if buf.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        self.count.with(|count| {
            if *count == 0 {
                return Err(Errno::EAGAIN);
            }
            let taken = if self.semaphore { 1 } else { *count };
            if buf.put(&taken.to_ne_bytes()) < 8 {
                return Err(Errno::EFAULT);
            }
            *count -= taken;
            Ok(())
        })?;
        self.writers.wake_all();
        Ok(8)
    }

    /// Adds the number in `buf` to the counter.
    ///
    /// # Errors
    /// `EAGAIN` while the sum would pass 2^64 - 2; `EINVAL` for less than 8 bytes or the number 2^64 - 1; `EFAULT`.
    pub fn write(&self, buf: &mut dyn Source) -> Result<usize> {
        if buf.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; 8];
        if buf.take(&mut bytes) < 8 {
            return Err(Errno::EFAULT);
        }
        let added = u64::from_ne_bytes(bytes);
        if added == u64::MAX {
            return Err(Errno::EINVAL);
        }
        self.count.with(|count| match count.checked_add(added) {
            Some(sum) if sum < u64::MAX => {
                *count = sum;
                Ok(())
            }
            _ => Err(Errno::EAGAIN),
        })?;
        if added > 0 {
            self.readers.wake_all();
        }
        Ok(8)
    }

    /// Returns what holds now: `IN` above zero, `OUT` if one more can be added, `ERR` after an overflow.
    pub fn poll(&self, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register_rw(&self.readers, &self.writers);
        }
        let count = self.count.with(|count| *count);
        let mut events = PollEvents::empty();
        events.set(PollEvents::IN, count > 0);
        events.set(PollEvents::ERR, count == u64::MAX);
        events.set(PollEvents::OUT, count < u64::MAX - 1);
        events
    }
}

impl FileOps for EventFd {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        EventFd::read(self, buf)
    }

    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        EventFd::write(self, buf)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        EventFd::poll(self, table)
    }

    fn show_fdinfo(&self, _: &File, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "eventfd-count: {:16x}", self.count.with(|c| *c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iobuf::{SliceSink, SliceSource};
    use crate::poll::Waiters;
    use crate::test_util::CountingWaker;
    use core::pin::pin;
    use proptest::prelude::*;

    fn read(efd: &EventFd) -> Result<u64> {
        let mut buf = [0; 8];
        efd.read(&mut SliceSink::new(&mut buf))?;
        Ok(u64::from_ne_bytes(buf))
    }

    fn write(efd: &EventFd, value: u64) -> Result<usize> {
        efd.write(&mut SliceSource::new(&value.to_ne_bytes()))
    }

    #[test]
    fn read_takes_all_and_semaphore_takes_one() {
        let efd = EventFd::new(3, false);
        assert_eq!(write(&efd, 4), Ok(8));
        assert_eq!(read(&efd), Ok(7));
        assert_eq!(read(&efd), Err(Errno::EAGAIN));
        let sem = EventFd::new(2, true);
        assert_eq!((read(&sem), read(&sem)), (Ok(1), Ok(1)));
        assert_eq!(read(&sem), Err(Errno::EAGAIN));
    }

    #[test]
    fn edges_are_linux_ones() {
        let efd = EventFd::new(0, false);
        assert_eq!(write(&efd, u64::MAX), Err(Errno::EINVAL));
        assert_eq!(write(&efd, u64::MAX - 1), Ok(8));
        assert_eq!(efd.poll(None), PollEvents::IN);
        assert_eq!(write(&efd, 1), Err(Errno::EAGAIN));
        assert_eq!(write(&efd, 0), Ok(8));
        efd.signal(1);
        assert_eq!(efd.poll(None), PollEvents::IN | PollEvents::ERR);
        assert_eq!(read(&efd), Ok(u64::MAX));
        assert_eq!(efd.poll(None), PollEvents::OUT);
        assert_eq!(
            efd.read(&mut SliceSink::new(&mut [0; 7])),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            efd.write(&mut SliceSource::new(&[0; 7])),
            Err(Errno::EINVAL)
        );
    }

    #[test]
    fn a_fault_leaves_the_counter() {
        struct Faults;
        impl Sink for Faults {
            fn remaining(&self) -> usize {
                8
            }
            fn put(&mut self, _: &[u8]) -> usize {
                3
            }
            fn faulted(&self) -> bool {
                true
            }
        }
        let efd = EventFd::new(5, false);
        assert_eq!(efd.read(&mut Faults), Err(Errno::EFAULT));
        assert_eq!(read(&efd), Ok(5));
    }

    #[test]
    fn wakes_the_side_that_can_go_on() {
        let efd = EventFd::new(0, false);
        let (reader, writer) = (CountingWaker::new(), CountingWaker::new());
        let (mut r, mut w) = (pin!(Waiters::new()), pin!(Waiters::new()));
        efd.poll(Some(&mut PollTable::new(
            r.as_mut(),
            reader.waker(),
            PollEvents::IN,
        )));
        efd.poll(Some(&mut PollTable::new(
            w.as_mut(),
            writer.waker(),
            PollEvents::OUT,
        )));
        write(&efd, 1).unwrap();
        assert_eq!((reader.count(), writer.count()), (1, 0));
        read(&efd).unwrap();
        assert_eq!((reader.count(), writer.count()), (1, 1));
    }

    proptest! {
        #[test]
        fn behaves_as_a_counter(ops in prop::collection::vec((any::<bool>(), 0..5_u64), 0..100), semaphore: bool) {
            let efd = EventFd::new(0, semaphore);
            let mut model = 0_u64;
            for (is_read, value) in ops {
                if is_read {
                    let want = if semaphore { model.min(1) } else { model };
                    prop_assert_eq!(read(&efd).unwrap_or(0), want);
                    model -= want;
                } else {
                    write(&efd, value).unwrap();
                    model += value;
                }
            }
        }
    }
}
