//! Where bytes go to and come from: [`Sink`] and [`Source`].
//!
//! A file operation copies through these, whether the other end is user memory, a kernel buffer or
//! another file. A copy never waits and never faults in a page: an implementation that meets one
//! that is missing stops, remembers the address, and answers [`Sink::faulted`]. So operations may copy while
//! they hold spin locks; the outermost layer resolves the fault and calls again.

use alloc::vec::Vec;

/// One page of zeros, for holes and `/dev/zero`.
static ZEROS: [u8; 4096] = [0; 4096];

/// Takes bytes: the buffer of a `read`.
pub trait Sink {
    /// Returns how many bytes fit still.
    fn remaining(&self) -> usize;

    /// Takes as much of `bytes` as it can and returns how many; fewer than offered means that it is full or has faulted.
    fn put(&mut self, bytes: &[u8]) -> usize;

    /// Tells whether the last short [`put`](Sink::put) met a page that is not there.
    fn faulted(&self) -> bool {
        false
    }

    /// Takes `len` zero bytes as [`put`](Sink::put) would.
    fn put_zeros(&mut self, len: usize) -> usize {
        let mut done = 0;
        while done < len {
            let step = (len - done).min(ZEROS.len());
            let put = self.put(&ZEROS[..step]);
            done += put;
            if put < step {
                break;
            }
        }
        done
    }
}

/// Gives bytes: the buffer of a `write`.
pub trait Source {
    /// Returns how many bytes are left.
    fn remaining(&self) -> usize;

    /// Fills `bytes` from the front and returns how many were given; fewer means that it is empty or has faulted.
    fn take(&mut self, bytes: &mut [u8]) -> usize;

    /// Tells whether the last short [`take`](Source::take) met a page that is not there.
    fn faulted(&self) -> bool {
        false
    }

    /// Drops up to `len` bytes unread and returns how many.
    fn skip(&mut self, len: usize) -> usize {
        let mut scrap = [0; 256];
        let mut done = 0;
        while done < len {
            let step = (len - done).min(scrap.len());
            let took = self.take(&mut scrap[..step]);
            done += took;
            if took < step {
                break;
            }
        }
        done
    }
}

/// A [`Sink`] over a kernel buffer.
#[derive(Debug)]
pub struct SliceSink<'a> {
    buf: &'a mut [u8],
    done: usize,
}

impl<'a> SliceSink<'a> {
    /// Makes a sink that fills `buf` from the front.
    pub fn new(buf: &'a mut [u8]) -> Self {
        SliceSink { buf, done: 0 }
    }

    /// Returns how many bytes were put.
    pub fn filled(&self) -> usize {
        self.done
    }
}

impl Sink for SliceSink<'_> {
    fn remaining(&self) -> usize {
        self.buf.len() - self.done
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let step = bytes.len().min(self.remaining());
        self.buf[self.done..self.done + step].copy_from_slice(&bytes[..step]);
        self.done += step;
        step
    }
}

/// A [`Sink`] that grows a vector up to a limit.
#[derive(Debug)]
pub struct VecSink {
    buf: Vec<u8>,
    limit: usize,
}

impl VecSink {
    /// Makes an empty sink that takes at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        VecSink {
            buf: Vec::new(),
            limit,
        }
    }

    /// Returns what was put.
    pub fn into_vec(self) -> Vec<u8> {
        self.buf
    }
}

impl Sink for VecSink {
    fn remaining(&self) -> usize {
        self.limit - self.buf.len()
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let step = bytes.len().min(self.remaining());
        if self.buf.try_reserve(step).is_err() {
            return 0;
        }
        self.buf.extend_from_slice(&bytes[..step]);
        step
    }
}

/// A [`Source`] over a kernel buffer.
#[derive(Clone, Debug)]
pub struct SliceSource<'a>(&'a [u8]);

impl<'a> SliceSource<'a> {
    /// Makes a source that gives `bytes` from the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        SliceSource(bytes)
    }
}

impl Source for SliceSource<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let (head, tail) = self.0.split_at(bytes.len().min(self.0.len()));
        bytes[..head.len()].copy_from_slice(head);
        self.0 = tail;
        head.len()
    }

    fn skip(&mut self, len: usize) -> usize {
        let step = len.min(self.0.len());
        self.0 = &self.0[step..];
        step
    }
}

/// A view of at most `limit` bytes of another [`Sink`].
pub struct LimitedSink<'a> {
    inner: &'a mut dyn Sink,
    left: usize,
}

impl<'a> LimitedSink<'a> {
    /// Lets at most `limit` bytes through to `inner`.
    pub fn new(inner: &'a mut dyn Sink, limit: usize) -> Self {
        LimitedSink { inner, left: limit }
    }
}

impl Sink for LimitedSink<'_> {
    fn remaining(&self) -> usize {
        self.left.min(self.inner.remaining())
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let put = self.inner.put(&bytes[..bytes.len().min(self.left)]);
        self.left -= put;
        put
    }

    fn faulted(&self) -> bool {
        self.inner.faulted()
    }
}

/// A view of at most `limit` bytes of another [`Source`].
pub struct LimitedSource<'a> {
    inner: &'a mut dyn Source,
    left: usize,
}

impl<'a> LimitedSource<'a> {
    /// Lets at most `limit` bytes through from `inner`.
    pub fn new(inner: &'a mut dyn Source, limit: usize) -> Self {
        LimitedSource { inner, left: limit }
    }
}

impl Source for LimitedSource<'_> {
    fn remaining(&self) -> usize {
        self.left.min(self.inner.remaining())
    }

    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let step = bytes.len().min(self.left);
        let took = self.inner.take(&mut bytes[..step]);
        self.left -= took;
        took
    }

    fn faulted(&self) -> bool {
        self.inner.faulted()
    }
}

/// User memory as an `ioctl` sees it: small structures at addresses that only the driver understands.
pub trait UserMemory {
    /// Copies from user address `addr`; all of `buf` or `EFAULT`.
    fn read(&self, addr: u64, buf: &mut [u8]) -> crate::Result<()>;
    /// Copies to user address `addr`; all of `bytes` or `EFAULT`.
    fn write(&self, addr: u64, bytes: &[u8]) -> crate::Result<()>;
}

/// A [`UserMemory`] in which every access fails, for callers inside the kernel.
#[derive(Debug)]
pub struct NoUserMemory;

impl UserMemory for NoUserMemory {
    fn read(&self, _: u64, _: &mut [u8]) -> crate::Result<()> {
        Err(crate::Errno::EFAULT)
    }
    fn write(&self, _: u64, _: &[u8]) -> crate::Result<()> {
        Err(crate::Errno::EFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_sink_stops_when_full() {
        let mut buf = [0; 5];
        let mut sink = SliceSink::new(&mut buf);
        assert_eq!(sink.put(b"abc"), 3);
        assert_eq!(sink.put(b"def"), 2);
        assert_eq!(sink.put(b"x"), 0);
        assert!(!sink.faulted());
        assert_eq!(&buf, b"abcde");
    }

    #[test]
    fn put_zeros_crosses_pages() {
        let mut buf = alloc::vec![1; 9000];
        assert_eq!(SliceSink::new(&mut buf).put_zeros(10_000), 9000);
        assert!(buf.iter().all(|&b| b == 0));
    }

    #[test]
    fn limited_source_keeps_the_rest() {
        let mut source = SliceSource::new(b"hello world");
        let mut buf = [0; 16];
        assert_eq!(LimitedSource::new(&mut source, 5).take(&mut buf), 5);
        assert_eq!(source.remaining(), 6);
        assert_eq!(source.skip(1), 1);
        assert_eq!(source.take(&mut buf), 5);
        assert_eq!(&buf[..5], b"world");
    }
}
