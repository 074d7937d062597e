//! Page frames: the counted 4 KiB pieces of memory that page cache, pipes and user mappings share.
//!
//! A [`Page`] is one reference to a frame. On the machine the kernel's frame allocator stands behind it, registered once at
//! boot; on the host the heap does.
#![allow(
    unsafe_code,
    reason = "frames are raw memory that user mappings may write at any time"
)]

use core::fmt;
use core::num::NonZeroU64;
use core::ops::Range;
use core::ptr;

use crate::iobuf::{Sink, Source};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// The frame allocator behind [`Page`].
///
/// # Safety
/// `alloc` hands out frames nobody else uses, with one reference, whose 4096 bytes are readable and writable at `direct_map() + pfn * 4096` until
/// as many `put` as `alloc` and `get` calls were made.
pub unsafe trait FrameOps: Sync {
    /// Returns the address at which frame 0 is mapped.
    fn direct_map(&self) -> usize;
    /// Allocates a user frame, zeroed if asked; `None` when memory is short.
    fn alloc(&self, zeroed: bool) -> Option<NonZeroU64>;
    /// Adds a reference.
    fn get(&self, pfn: NonZeroU64);
    /// Drops a reference, and the frame with the last.
    fn put(&self, pfn: NonZeroU64);
    /// Returns the number of references.
    fn refs(&self, pfn: NonZeroU64) -> usize;
}

mod backend {
    use super::FrameOps;
    use conquer_once::spin::OnceCell;

    static OPS: OnceCell<&'static dyn FrameOps> = OnceCell::uninit();

    pub fn register(ops: &'static dyn FrameOps) {
        let _ = OPS.try_init_once(|| ops);
    }

    #[cfg(target_os = "none")]
    #[inline]
    pub fn ops() -> &'static dyn FrameOps {
        *OPS.try_get().expect("frame allocator registered at boot")
    }

    /// The heap, unless the kernel's tests have brought their own memory.
    #[cfg(not(target_os = "none"))]
    pub fn ops() -> &'static dyn FrameOps {
        OPS.try_get().map_or(&super::host::HostFrames, |ops| *ops)
    }
}

/// Registers the frame allocator; the first call wins. On the host the heap serves until then.
///
/// # Context
/// Boot, before the first page is made.
pub fn register_frames(ops: &'static dyn FrameOps) {
    backend::register(ops);
}

/// One reference to a page frame.
pub struct Page(NonZeroU64);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({:#x})", self.0)
    }
}

impl Clone for Page {
    fn clone(&self) -> Page {
        backend::ops().get(self.0);
        Page(self.0)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        backend::ops().put(self.0);
    }
}

impl Page {
    /// Allocates a page with arbitrary contents, which the caller overwrites before anyone sees them.
    pub fn alloc() -> Option<Page> {
        backend::ops().alloc(false).map(Page)
    }

    /// Allocates a page of zeros.
    pub fn alloc_zeroed() -> Option<Page> {
        backend::ops().alloc(true).map(Page)
    }

    /// Returns the frame number.
    #[inline]
    pub fn pfn(&self) -> u64 {
        self.0.get()
    }

    /// Returns how many references the frame has.
    pub fn refs(&self) -> usize {
        backend::ops().refs(self.0)
    }

    /// Gives up the handle but not its reference.
    pub fn into_pfn(self) -> u64 {
        let pfn = self.0.get();
        core::mem::forget(self);
        pfn
    }

    /// Makes a handle of a frame number.
    ///
    /// # Safety
    /// The caller owns one reference to the frame, which passes to the handle (see [`into_pfn`](Page::into_pfn)).
    pub unsafe fn from_pfn(pfn: NonZeroU64) -> Page {
        Page(pfn)
    }

    /// Returns the address of the bytes.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        let base = backend::ops().direct_map();
        ptr::with_exposed_provenance_mut(base + ((self.0.get() as usize) << PAGE_SHIFT))
    }

    #[inline]
    fn check(range: &Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= PAGE_SIZE,
            "range outside the page"
        );
    }

    /// Copies `buf.len()` bytes from `offset` to `buf`.
    ///
    /// # Panics
    /// If the range leaves the page.
    pub fn read_at(&self, offset: usize, buf: &mut [u8]) {
        Self::check(&(offset..offset + buf.len()));
        // SAFETY: the frame is ours while the handle lives and the range is inside it; `buf` is an exclusive borrow,
        // so the two cannot overlap unless it was made from the frame, which only the closures below do.
        unsafe { ptr::copy_nonoverlapping(self.as_ptr().add(offset), buf.as_mut_ptr(), buf.len()) }
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    /// If the range leaves the page.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) {
        Self::check(&(offset..offset + bytes.len()));
        // SAFETY: as in `read_at`, in the other direction.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.as_ptr().add(offset), bytes.len()) }
    }

    /// Fills a range with zeros.
    ///
    /// # Panics
    /// If the range leaves the page.
    pub fn zero(&self, range: Range<usize>) {
        Self::check(&range);
        // SAFETY: the frame is ours while the handle lives and the range is inside it.
        unsafe { ptr::write_bytes(self.as_ptr().add(range.start), 0, range.len()) }
    }

    /// Copies the whole of `from`.
    pub fn copy_from(&self, from: &Page) {
        if self.0 != from.0 {
            // SAFETY: both frames are alive, and different frames do not overlap.
            unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.as_ptr(), PAGE_SIZE) }
        }
    }

    /// Puts a range into `sink` and returns how many bytes it took.
    ///
    /// # Panics
    /// If the range leaves the page.
    #[inline]
    pub fn put_to(&self, range: Range<usize>, sink: &mut dyn Sink) -> usize {
        Self::check(&range);
        // SAFETY: the frame is ours while the handle lives and the range is inside it. A program that has it mapped may change the
        // bytes meanwhile: a sink only copies them and decides nothing by them.
        sink.put(unsafe {
            core::slice::from_raw_parts(self.as_ptr().add(range.start), range.len())
        })
    }

    /// Fills a range from `source` and returns how many bytes it gave.
    ///
    /// # Panics
    /// If the range leaves the page.
    #[inline]
    pub fn take_from(&self, range: Range<usize>, source: &mut dyn Source) -> usize {
        Self::check(&range);
        // SAFETY: as in `put_to`; kernel code writes a frame only under the lock of the cache or pipe that owns it, and a
        // source only stores.
        source.take(unsafe {
            core::slice::from_raw_parts_mut(self.as_ptr().add(range.start), range.len())
        })
    }
}

#[cfg(not(target_os = "none"))]
mod host {
    use super::{FrameOps, PAGE_SHIFT, PAGE_SIZE};
    use core::num::NonZeroU64;
    use core::ptr;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};

    /// Frames on the heap: 4 KiB of data, and the counter right behind them.
    pub(super) struct HostFrames;

    const LAYOUT: Layout =
        match Layout::from_size_align(PAGE_SIZE + size_of::<AtomicUsize>(), PAGE_SIZE) {
            Ok(layout) => layout,
            Err(_) => panic!("layout of a host frame"),
        };

    fn data(pfn: NonZeroU64) -> *mut u8 {
        ptr::with_exposed_provenance_mut((pfn.get() as usize) << PAGE_SHIFT)
    }

    fn count(pfn: NonZeroU64) -> &'static AtomicUsize {
        // SAFETY: every frame number in circulation came from `alloc` below and is still counted, so the counter
        // behind its data is alive; it is only ever used as an atomic. No caller keeps the reference.
        unsafe { &*data(pfn).add(PAGE_SIZE).cast() }
    }

    // SAFETY: the heap hands out memory nobody else uses; it is freed when the counter falls to zero.
    unsafe impl FrameOps for HostFrames {
        fn direct_map(&self) -> usize {
            0
        }

        fn alloc(&self, zeroed: bool) -> Option<NonZeroU64> {
            // SAFETY: the layout has a size.
            let data = unsafe {
                if zeroed {
                    alloc_zeroed(LAYOUT)
                } else {
                    alloc(LAYOUT)
                }
            };
            if data.is_null() {
                return None;
            }
            if !zeroed {
                // SAFETY: the block is at least a page; the pattern shows users of bytes nobody wrote.
                unsafe { ptr::write_bytes(data, 0xa5, PAGE_SIZE) };
            }
            // SAFETY: the counter is inside the block, aligned, and not shared yet.
            unsafe {
                data.add(PAGE_SIZE)
                    .cast::<AtomicUsize>()
                    .write(AtomicUsize::new(1))
            };
            NonZeroU64::new((data.expose_provenance() >> PAGE_SHIFT) as u64)
        }

        fn get(&self, pfn: NonZeroU64) {
            count(pfn).fetch_add(1, Ordering::Relaxed);
        }

        fn put(&self, pfn: NonZeroU64) {
            if count(pfn).fetch_sub(1, Ordering::AcqRel) == 1 {
                // SAFETY: that was the last reference, and the block came from the allocator with this layout.
                unsafe { dealloc(data(pfn), LAYOUT) };
            }
        }

        fn refs(&self, pfn: NonZeroU64) -> usize {
            count(pfn).load(Ordering::Relaxed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iobuf::{SliceSink, SliceSource};

    #[test]
    fn references_are_counted() {
        let page = Page::alloc_zeroed().unwrap();
        let other = page.clone();
        assert_eq!(page.refs(), 2);
        other.write_at(4090, b"tail");
        drop(other);
        assert_eq!(page.refs(), 1);
        let mut buf = [9; 6];
        page.read_at(4088, &mut buf);
        assert_eq!(&buf, b"\0\0tail");
    }

    #[test]
    fn copies_through_sink_and_source_stop_short() {
        let page = Page::alloc_zeroed().unwrap();
        assert_eq!(
            page.take_from(0..PAGE_SIZE, &mut SliceSource::new(b"abc")),
            3
        );
        let mut buf = [0; 2];
        assert_eq!(page.put_to(1..5, &mut SliceSink::new(&mut buf)), 2);
        assert_eq!(&buf, b"bc");
    }

    #[test]
    #[should_panic(expected = "range outside the page")]
    fn a_range_past_the_page_is_refused() {
        Page::alloc_zeroed().unwrap().zero(4000..4097);
    }
}
