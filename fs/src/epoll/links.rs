//! From a file to the epolls that watch it, and how deep epolls watch each other.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::file::File;
use crate::sync::SpinLock;
use crate::{Errno, Result};

use super::{Epoll, key};

/// The longest chain of epolls that watch each other.
const MAX_NESTING: usize = 5;

/// Held while an epoll is added to another, so that no two additions close a cycle between them.
pub(super) static NESTING: SpinLock<()> = SpinLock::new(());

/// The epolls that watch a file: the file of each, and the descriptor by which it knows this one.
#[derive(Default)]
pub struct Links {
    list: SpinLock<Vec<(Weak<File>, i32)>>,
    /// The list was used, so that a file that no epoll ever watched closes without a look.
    used: AtomicBool,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Links")
    }
}

impl Links {
    /// Makes an empty list.
    pub const fn new() -> Links {
        Links {
            list: SpinLock::new(Vec::new()),
            used: AtomicBool::new(false),
        }
    }

    /// Notes that `epoll` watches the file as `fd`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn add(&self, epoll: &Arc<File>, fd: i32) -> Result<()> {
        let mut links = self.list.lock();
        links.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        links.push((Arc::downgrade(epoll), fd));
        self.used.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes back [`add`](Links::add).
    pub(super) fn remove(&self, epoll: &File, fd: i32) {
        let mut links = self.list.lock();
        let link = links
            .iter()
            .position(|(e, f)| *f == fd && core::ptr::eq(e.as_ptr(), epoll));
        let gone = link.map(|at| links.swap_remove(at));
        drop(links);
        drop(gone);
    }

    /// Called as `file`, whose links these are, goes: takes the items of all epolls along.
    #[inline]
    pub(crate) fn file_gone(&self, file: &File) {
        // Whoever added a link held a reference to the file, so what it stored is seen.
        if self.used.load(Ordering::Relaxed) {
            self.detach(file);
        }
    }

    #[cold]
    fn detach(&self, file: &File) {
        let links = self.list.with(core::mem::take);
        for (epoll, fd) in links {
            if let Some(epoll) = epoll.upgrade()
                && let Some(epoll) = epoll.ops_as::<Epoll>()
            {
                epoll.forget(key(file, fd));
            }
        }
    }

    /// The files of the epolls that watch the file.
    fn parents(&self) -> Vec<Arc<File>> {
        let links = self.list.lock();
        links.iter().filter_map(|(e, _)| e.upgrade()).collect()
    }
}

/// Checks that the epoll `outer` may watch the epoll `inner`.
///
/// The files met on the way go to `held`, to be dropped when no lock is.
///
/// # Errors
/// `ELOOP` for a cycle, or a chain of more than [`MAX_NESTING`].
pub(super) fn check_nesting(
    outer: &Arc<File>,
    inner: &Arc<File>,
    held: &mut Vec<Arc<File>>,
) -> Result<()> {
    let below = Walk::new(watched, held).longest(inner, Some(outer))?;
    let above = Walk::new(|file| file.epolls().parents(), held).longest(outer, None)?;
    if below + 1 + above > MAX_NESTING {
        return Err(Errno::ELOOP);
    }
    Ok(())
}

/// The files of the epolls that the epoll `file` watches.
fn watched(file: &File) -> Vec<Arc<File>> {
    let Some(epoll) = file.ops_as::<Epoll>() else {
        return Vec::new();
    };
    let items = epoll.items.lock();
    let files = items.values().filter(|item| item.is_epoll());
    files.filter_map(|item| item.file()).collect()
}

/// A walk along one direction of the graph of epolls, which has no cycle.
struct Walk<'a, F> {
    next: F,
    /// The longest chain from each file that was visited.
    known: BTreeMap<usize, usize>,
    held: &'a mut Vec<Arc<File>>,
}

impl<'a, F: Fn(&File) -> Vec<Arc<File>>> Walk<'a, F> {
    fn new(next: F, held: &'a mut Vec<Arc<File>>) -> Self {
        Walk {
            next,
            known: BTreeMap::new(),
            held,
        }
    }

    /// Returns the number of steps of the longest chain from `file`.
    ///
    /// It recurses once for each step, of which there are [`MAX_NESTING`] at most.
    ///
    /// # Errors
    /// `ELOOP` if `forbidden` is on a chain.
    fn longest(&mut self, file: &Arc<File>, forbidden: Option<&Arc<File>>) -> Result<usize> {
        if forbidden.is_some_and(|f| Arc::ptr_eq(f, file)) {
            return Err(Errno::ELOOP);
        }
        if let Some(steps) = self.known.get(&Arc::as_ptr(file).addr()) {
            return Ok(*steps);
        }
        let mut steps = 0;
        for next in (self.next)(file) {
            let beyond = self.longest(&next, forbidden);
            self.held.push(next);
            steps = steps.max(beyond? + 1);
        }
        self.known.insert(Arc::as_ptr(file).addr(), steps);
        Ok(steps)
    }
}
