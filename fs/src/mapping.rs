//! The page cache of one file.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::Result;
use crate::page::Page;
use crate::sync::SpinLock;

/// Somebody who has pages of a [`Mapping`] mapped and gives them up when the file is cut.
pub trait MappingWatcher: Send + Sync {
    /// Unmaps the pages with these indices; called with no lock held, after they left the cache.
    fn unmap(&self, pages: Range<u64>);
}

/// The page cache of one file: its size, and the pages by index.
pub struct Mapping {
    size: AtomicU64,
    pages: AtomicU64,
    watchers: SpinLock<Vec<Weak<dyn MappingWatcher>>>,
}

impl Mapping {
    /// Returns the file's size in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Returns how many pages the file has.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Returns the page at `index` for a mapping, reading or allocating it if need be.
    ///
    /// # Errors
    /// `EFAULT` past the end of the file (`SIGBUS`), `ENOSPC`, `ENOMEM`.
    pub fn get_page(&self, index: u64) -> Result<Page> {
        let _ = index;
        Err(crate::Errno::EFAULT)
    }

    /// Returns the page at `index` if it is in the cache.
    pub fn find(&self, index: u64) -> Option<Page> {
        let _ = index;
        None
    }

    /// Adds a watcher; it leaves when it is dropped.
    pub fn watch(&self, watcher: &Arc<dyn MappingWatcher>) {
        self.watchers.lock().push(Arc::downgrade(watcher));
    }
}
