//! The page cache of one file.
//!
//! A [`Mapping`] holds a file's size and its pages. `read`, `write` and `mmap` all go through it, so they see the same bytes.
//! Where no page is, the file has a hole: it reads as zeros and takes no memory.
//!
//! One spin lock guards the pages and covers copying, a bounded number of pages at a time; copies never fault. Cutting a
//! file first takes the pages out, under the lock, and then asks the watchers to unmap them: whoever installs a page in a page table
//! under the lock that its watcher's `unmap` takes either loses the page to that call or finds the new size.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::file::Whence;
use crate::iobuf::{Sink, Source};
use crate::page::{PAGE_SHIFT, PAGE_SIZE, Page};
use crate::page_tree::PageTree;
use crate::seal::Seals;
use crate::sync::SpinLock;
use crate::{Errno, Result};

/// The largest file: Linux's `MAX_LFS_FILESIZE`.
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;

/// How many pages are copied under one hold of the lock.
const BATCH: usize = 16;

/// Somebody who has pages of a [`Mapping`] mapped and gives them up when the file is cut.
pub trait MappingWatcher: Send + Sync {
    /// Unmaps the pages with these indices; called with no lock held, after they left the cache.
    fn unmap(&self, mapping: &Mapping, pages: Range<u64>);
}

/// The account that a mapping's pages are booked on.
pub trait Account: Send + Sync {
    /// Books `pages` more, or fails with `ENOSPC`.
    fn charge(&self, pages: u64) -> Result<()>;
    /// Gives `pages` back.
    fn uncharge(&self, pages: u64);
}

/// Pages of all files together.
static CACHED: AtomicU64 = AtomicU64::new(0);

/// Returns how many pages files have in memory (`Cached` of `/proc/meminfo`).
pub fn cached_pages() -> u64 {
    CACHED.load(Ordering::Relaxed)
}

/// The page cache of one file: its size, and the pages by index.
pub struct Mapping {
    /// Written with `tree` locked.
    size: AtomicU64,
    tree: SpinLock<PageTree>,
    pages: AtomicU64,
    /// Checked by those who write and cut.
    seals: Seals,
    watchers: SpinLock<Vec<Weak<dyn MappingWatcher>>>,
    account: Option<Arc<dyn Account>>,
}

/// Splits a position into page index and offset.
#[inline]
fn split(pos: u64) -> (u64, usize) {
    (pos >> PAGE_SHIFT, pos as usize & (PAGE_SIZE - 1))
}

/// A page made ready, and paid for, before the lock is taken.
struct Spare<'a> {
    mapping: &'a Mapping,
    page: Option<Page>,
}

impl Spare<'_> {
    fn fill(&mut self, zeroed: bool) -> Result<()> {
        if self.page.is_none() {
            self.mapping.charge(1)?;
            let page = if zeroed {
                Page::alloc_zeroed()
            } else {
                Page::alloc()
            };
            self.page = page;
            if self.page.is_none() {
                self.mapping.uncharge(1);
                return Err(Errno::ENOMEM);
            }
        }
        Ok(())
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        if self.page.is_some() {
            self.mapping.uncharge(1);
        }
    }
}

/// How far a hold of the lock came.
struct Batch {
    done: usize,
    next: Next,
}

/// What a writer does after a batch.
enum Next {
    /// Go on.
    More,
    /// Go on with a spare page at hand.
    Spare,
    /// Stop: all is written, or the source ended or faulted.
    Done,
    Failed(Errno),
}

impl Mapping {
    /// Makes an empty file whose pages are booked on `account`.
    pub fn new(account: Option<Arc<dyn Account>>) -> Arc<Mapping> {
        Mapping::sealed(account, 0)
    }

    /// Makes an empty file that has `seals` from the beginning.
    pub fn sealed(account: Option<Arc<dyn Account>>, seals: u32) -> Arc<Mapping> {
        Arc::new(Mapping {
            size: AtomicU64::new(0),
            tree: SpinLock::new(PageTree::new()),
            pages: AtomicU64::new(0),
            seals: Seals::new(seals),
            watchers: SpinLock::new(Vec::new()),
            account,
        })
    }

    /// Makes memory of `size` zero bytes without a file, for shared anonymous maps.
    pub fn anonymous(size: u64) -> Arc<Mapping> {
        let mapping = Mapping::new(None);
        mapping.size.store(size, Ordering::Relaxed);
        mapping
    }

    /// Returns the file's size in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Returns the seals (`F_GET_SEALS`).
    #[inline]
    pub fn seals(&self) -> u32 {
        self.seals.get()
    }

    /// Adds seals (`F_ADD_SEALS`).
    ///
    /// # Errors
    /// `EPERM` if there are to be no more, `EBUSY` for [`seal::WRITE`](crate::seal::WRITE) while the file is mapped to be
    /// written.
    pub fn add_seals(&self, seals: u32) -> Result<()> {
        self.seals.add(seals)
    }

    pub(crate) fn sealing(&self) -> &Seals {
        &self.seals
    }

    /// Returns how many pages the file has.
    #[inline]
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    fn charge(&self, pages: u64) -> Result<()> {
        if let Some(account) = &self.account {
            account.charge(pages)?;
        }
        CACHED.fetch_add(pages, Ordering::Relaxed);
        Ok(())
    }

    fn uncharge(&self, pages: u64) {
        CACHED.fetch_sub(pages, Ordering::Relaxed);
        if let Some(account) = &self.account {
            account.uncharge(pages);
        }
    }

    /// Adds a watcher, unless it is there; it leaves when it is dropped.
    pub fn watch(&self, watcher: &Arc<dyn MappingWatcher>) {
        let mut watchers = self.watchers.lock();
        let address = |watcher: *const dyn MappingWatcher| watcher.cast::<()>();
        let new = address(Arc::as_ptr(watcher));
        if watchers.iter().any(|w| address(w.as_ptr()) == new) {
            return;
        }
        if watchers.len() == watchers.capacity() {
            watchers.retain(|w| w.strong_count() > 0);
        }
        watchers.push(Arc::downgrade(watcher));
    }

    /// Asks every watcher to unmap `pages`.
    fn unmap(&self, pages: Range<u64>) {
        let mut at = 0;
        loop {
            // One at a time, since a watcher is called, and perhaps dropped for good, without our lock.
            let watcher = match self.watchers.lock().get(at) {
                None => return,
                Some(watcher) => watcher.upgrade(),
            };
            if let Some(watcher) = watcher {
                watcher.unmap(self, pages.clone());
            }
            at += 1;
        }
    }

    /// Reads from `pos` into `sink` and returns how many bytes went, `0` at the end of the file.
    ///
    /// # Errors
    /// `EFAULT` if the sink faulted before the first byte.
    pub fn read(&self, pos: u64, sink: &mut dyn Sink) -> Result<usize> {
        let mut done = 0;
        loop {
            let (moved, more) = self.read_batch(pos.saturating_add(done as u64), sink);
            done += moved;
            if !more {
                break;
            }
        }
        if done == 0 && sink.faulted() {
            Err(Errno::EFAULT)
        } else {
            Ok(done)
        }
    }

    /// Reads a few pages; also tells whether there is more to do.
    fn read_batch(&self, pos: u64, sink: &mut dyn Sink) -> (usize, bool) {
        let tree = self.tree.lock();
        let available = self.size().saturating_sub(pos);
        let want = available.min(sink.remaining() as u64) as usize;
        let mut done = 0;
        for _ in 0..BATCH {
            if done == want {
                return (done, false);
            }
            let (index, offset) = split(pos + done as u64);
            let step = (PAGE_SIZE - offset).min(want - done);
            let moved = match tree.get(index) {
                Some(page) => page.put_to(offset..offset + step, sink),
                None => sink.put_zeros(step),
            };
            done += moved;
            if moved < step {
                return (done, false);
            }
        }
        (done, done < want)
    }

    /// Writes at `pos`, or at the end if it is `None`, and returns where the last byte written ends and how many went.
    ///
    /// # Errors
    /// `EFAULT` if the source faulted before the first byte, `EFBIG`, `ENOSPC`, `ENOMEM`; all only if nothing was written.
    pub fn write(&self, pos: Option<u64>, source: &mut dyn Source) -> Result<(u64, usize)> {
        let mut at = pos;
        let mut done = 0;
        let mut spare = Spare {
            mapping: self,
            page: None,
        };
        loop {
            let batch = self.write_batch(&mut at, source, &mut spare);
            done += batch.done;
            let stop = match batch.next {
                Next::Spare => match spare.fill(false) {
                    Ok(()) => continue,
                    Err(error) => Some(error),
                },
                Next::More => continue,
                Next::Done => source.faulted().then_some(Errno::EFAULT),
                Next::Failed(error) => Some(error),
            };
            return match stop {
                Some(error) if done == 0 => Err(error),
                _ => Ok((at.unwrap_or(0), done)),
            };
        }
    }

    /// Writes a few pages.
    fn write_batch(
        &self,
        at: &mut Option<u64>,
        source: &mut dyn Source,
        spare: &mut Spare<'_>,
    ) -> Batch {
        let mut tree = self.tree.lock();
        let start = at.unwrap_or_else(|| self.size());
        let left = source.remaining();
        if left > 0 && start >= MAX_FILE_SIZE {
            return Batch {
                done: 0,
                next: Next::Failed(Errno::EFBIG),
            };
        }
        let want = (left as u64).min(MAX_FILE_SIZE - start) as usize;
        let mut done = 0;
        let mut next = Next::More;
        for _ in 0..BATCH {
            if done == want {
                next = Next::Done;
                break;
            }
            let (index, offset) = split(start + done as u64);
            let step = (PAGE_SIZE - offset).min(want - done);
            let range = offset..offset + step;
            let moved = match tree.get(index) {
                Some(page) => page.take_from(range, source),
                None => {
                    let Some(page) = spare.page.take() else {
                        next = Next::Spare;
                        break;
                    };
                    let moved = page.take_from(range, source);
                    if moved == 0 {
                        spare.page = Some(page);
                        next = Next::Done;
                        break;
                    }
                    page.zero(0..offset);
                    page.zero(offset + moved..PAGE_SIZE);
                    if let Err(error) = tree.insert(index, page) {
                        self.uncharge(1);
                        next = Next::Failed(error);
                        break;
                    }
                    self.pages.fetch_add(1, Ordering::Relaxed);
                    moved
                }
            };
            done += moved;
            if moved < step {
                next = Next::Done;
                break;
            }
        }
        let end = start + done as u64;
        if end > self.size() && done > 0 {
            self.size.store(end, Ordering::Relaxed);
        }
        *at = Some(end);
        Batch { done, next }
    }

    /// Returns the page at `index` if the file has one there.
    pub fn find(&self, index: u64) -> Option<Page> {
        self.tree.lock().get(index).cloned()
    }

    /// Calls `f` with each page of a range that is in the cache, and its index; the lock is held meanwhile.
    pub fn for_each_page(&self, range: Range<u64>, f: &mut dyn FnMut(u64, &Page)) {
        self.tree.lock().for_each(range, f);
    }

    /// Returns the page at `index` for a memory map, filling a hole.
    ///
    /// # Errors
    /// `EFAULT` past the end of the file (the program gets `SIGBUS`), `ENOSPC` (also `SIGBUS`), `ENOMEM`.
    pub fn get_page(&self, index: u64) -> Result<Page> {
        let mut spare = Spare {
            mapping: self,
            page: None,
        };
        loop {
            {
                let mut tree = self.tree.lock();
                if index >= self.size().div_ceil(PAGE_SIZE as u64) {
                    return Err(Errno::EFAULT);
                }
                if let Some(page) = tree.get(index) {
                    return Ok(page.clone());
                }
                if let Some(page) = spare.page.take() {
                    let inserted = tree.insert(index, page.clone());
                    if inserted.is_err() {
                        self.uncharge(1);
                    } else {
                        self.pages.fetch_add(1, Ordering::Relaxed);
                    }
                    return inserted.map(|()| page);
                }
            }
            spare.fill(true)?;
        }
    }

    /// Sets the size: cuts what is behind it, or extends the file by a hole.
    ///
    /// # Errors
    /// `EFBIG`.
    pub fn truncate(&self, size: u64) -> Result<()> {
        if size > MAX_FILE_SIZE {
            return Err(Errno::EFBIG);
        }
        let first = size.div_ceil(PAGE_SIZE as u64);
        let (cut, shrunk) = {
            let mut tree = self.tree.lock();
            let shrunk = size < self.size();
            self.size.store(size, Ordering::Relaxed);
            let (index, offset) = split(size);
            if shrunk
                && offset > 0
                && let Some(page) = tree.get(index)
            {
                page.zero(offset..PAGE_SIZE);
            }
            (tree.split_off(first), shrunk)
        };
        if shrunk {
            self.unmap(first..u64::MAX);
        }
        let pages = cut.count();
        if pages > 0 {
            self.pages.fetch_sub(pages, Ordering::Relaxed);
            drop(cut);
            self.uncharge(pages);
        }
        Ok(())
    }

    /// Makes `range` a hole: whole pages go, parts are zeroed. The size stays.
    pub fn punch(&self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (head, head_off) = split(range.start);
        let (tail, tail_off) = split(range.end);
        {
            let tree = self.tree.lock();
            if head == tail {
                if let Some(page) = tree.get(head) {
                    page.zero(head_off..tail_off);
                }
                return;
            }
            if let Some(page) = tree.get(head).filter(|_| head_off > 0) {
                page.zero(head_off..PAGE_SIZE);
            }
            if let Some(page) = tree.get(tail) {
                page.zero(0..tail_off);
            }
        }
        let whole = head + u64::from(head_off > 0)..tail;
        let mut at = whole.start;
        while at < whole.end {
            let mut gone: [Option<Page>; BATCH] = [const { None }; BATCH];
            let mut count = 0;
            {
                let mut tree = self.tree.lock();
                while count < BATCH {
                    let Some((index, _)) = tree.next(at).filter(|(index, _)| *index < whole.end)
                    else {
                        break;
                    };
                    gone[count] = tree.remove(index);
                    count += 1;
                    at = index + 1;
                }
            }
            if count == 0 {
                break;
            }
            self.pages.fetch_sub(count as u64, Ordering::Relaxed);
            self.unmap(whole.clone());
            drop(gone);
            self.uncharge(count as u64);
        }
    }

    /// Fills the holes of `range` with zero pages (`fallocate`), and extends the file to its end unless `keep_size`.
    ///
    /// # Errors
    /// `EFBIG`, `ENOSPC`, `ENOMEM`; pages that were filled stay.
    pub fn allocate(&self, range: Range<u64>, keep_size: bool) -> Result<()> {
        if range.end > MAX_FILE_SIZE {
            return Err(Errno::EFBIG);
        }
        let mut spare = Spare {
            mapping: self,
            page: None,
        };
        let mut index = range.start >> PAGE_SHIFT;
        let end = range.end.div_ceil(PAGE_SIZE as u64);
        loop {
            {
                let mut tree = self.tree.lock();
                index = tree.next_hole(index);
                if index < end
                    && let Some(page) = spare.page.take()
                {
                    tree.insert(index, page).inspect_err(|_| self.uncharge(1))?;
                    self.pages.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                if index >= end {
                    if !keep_size && range.end > self.size() {
                        self.size.store(range.end, Ordering::Relaxed);
                    }
                    return Ok(());
                }
            }
            spare.fill(true)?;
        }
    }

    /// Finds the next data or hole at or after `offset`.
    ///
    /// # Errors
    /// `ENXIO` at or past the end, or if there is no more data.
    pub fn seek(&self, offset: i64, whence: Whence) -> Result<u64> {
        let tree = self.tree.lock();
        let size = self.size();
        let offset = u64::try_from(offset)
            .ok()
            .filter(|at| *at < size)
            .ok_or(Errno::ENXIO)?;
        let index = offset >> PAGE_SHIFT;
        let found = match whence {
            Whence::Hole => tree.next_hole(index),
            _ => tree
                .next(index)
                .map(|(index, _)| index)
                .ok_or(Errno::ENXIO)?,
        };
        let at = (found << PAGE_SHIFT).max(offset);
        match whence {
            Whence::Hole => Ok(at.min(size)),
            _ if at >= size => Err(Errno::ENXIO),
            _ => Ok(at),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.uncharge(self.pages());
    }
}

#[cfg(test)]
mod tests;
