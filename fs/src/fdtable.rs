//! Descriptor tables: the numbers by which a process knows its open files.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::file::File;
use crate::sync::SpinLock;
use crate::{Errno, Result, Tunable};

/// The largest table that `RLIMIT_NOFILE` may ask for (`fs.nr_open`).
pub static NR_OPEN: Tunable = Tunable::new(1024 * 1024, 64, 2_147_483_584);

#[derive(Clone)]
struct Slot {
    file: Arc<File>,
    cloexec: bool,
}

#[derive(Clone, Default)]
struct Slots {
    slots: Vec<Option<Slot>>,
    /// No descriptor below this one is free.
    lowest: usize,
}

/// The descriptor table of a process, shared by its threads.
pub struct FdTable {
    id: u64,
    inner: SpinLock<Slots>,
}

impl Default for FdTable {
    fn default() -> FdTable {
        FdTable::with_slots(Slots::default())
    }
}

impl Slots {
    /// Makes slot `fd` exist.
    fn reserve(&mut self, fd: usize) -> Result<()> {
        if fd >= self.slots.len() {
            let want = (fd + 1).next_power_of_two().max(16);
            self.slots
                .try_reserve_exact(want - self.slots.len())
                .map_err(|_| Errno::ENOMEM)?;
            self.slots.resize_with(want, || None);
        }
        Ok(())
    }

    /// Returns the lowest free descriptor from `from` on.
    fn lowest_free(&self, from: usize) -> usize {
        let start = from.max(self.lowest);
        match self
            .slots
            .get(start..)
            .and_then(|s| s.iter().position(Option::is_none))
        {
            Some(at) => start + at,
            None => self.slots.len().max(start),
        }
    }

    fn insert(&mut self, fd: usize, file: Arc<File>, cloexec: bool) -> Option<Arc<File>> {
        if fd == self.lowest {
            self.lowest = fd + 1;
        }
        self.slots[fd]
            .replace(Slot { file, cloexec })
            .map(|old| old.file)
    }

    fn remove(&mut self, fd: usize) -> Option<Arc<File>> {
        let slot = self.slots.get_mut(fd)?.take()?;
        self.lowest = self.lowest.min(fd);
        Some(slot.file)
    }
}

/// The open descriptors of a table; see [`FdTable::with_open`].
pub struct OpenFiles<'a>(&'a [Option<Slot>]);

impl OpenFiles<'_> {
    /// Returns the file behind `fd`, if it is open.
    #[inline]
    pub fn get(&self, fd: i32) -> Option<&Arc<File>> {
        let slot = self.0.get(usize::try_from(fd).ok()?)?.as_ref()?;
        Some(&slot.file)
    }
}

/// Turns a descriptor argument into an index.
fn index(fd: i32) -> Result<usize> {
    usize::try_from(fd).map_err(|_| Errno::EBADF)
}

impl FdTable {
    fn with_slots(slots: Slots) -> FdTable {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        FdTable {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            inner: SpinLock::new(slots),
        }
    }

    /// Returns a number that no other table has had: what record locks know a process by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Makes an empty table.
    pub fn new() -> FdTable {
        FdTable::default()
    }

    /// Returns the file behind `fd`.
    ///
    /// # Errors
    /// `EBADF`.
    #[inline]
    pub fn get(&self, fd: i32) -> Result<Arc<File>> {
        let inner = self.inner.lock();
        match inner.slots.get(fd as usize) {
            Some(Some(slot)) => Ok(slot.file.clone()),
            _ => Err(Errno::EBADF),
        }
    }

    /// Calls `look` with the open descriptors, which stay as they are meanwhile.
    ///
    /// Cheaper than [`get`](FdTable::get) for many of them. `look` runs under the table's lock: it drops no file and
    /// comes to an end soon.
    #[inline]
    pub fn with_open<R>(&self, look: impl FnOnce(&OpenFiles<'_>) -> R) -> R {
        look(&OpenFiles(&self.inner.lock().slots))
    }

    /// Gives `file` the lowest free descriptor from `from` on.
    ///
    /// # Errors
    /// `EMFILE` if that is not below `limit` (`RLIMIT_NOFILE`); `EINVAL` if `from` is not (as `F_DUPFD` has it); `ENOMEM`.
    pub fn install_from(
        &self,
        from: i32,
        file: Arc<File>,
        cloexec: bool,
        limit: u64,
    ) -> Result<i32> {
        let from = usize::try_from(from).map_err(|_| Errno::EINVAL)?;
        let limit = limit.min(NR_OPEN.count() as u64) as usize;
        if from >= limit && from > 0 {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        let fd = inner.lowest_free(from);
        if fd >= limit {
            return Err(Errno::EMFILE);
        }
        inner.reserve(fd)?;
        inner.insert(fd, file, cloexec);
        Ok(fd as i32)
    }

    /// Gives `file` the lowest free descriptor.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    #[inline]
    pub fn install(&self, file: Arc<File>, cloexec: bool, limit: u64) -> Result<i32> {
        self.install_from(0, file, cloexec, limit)
    }

    /// Makes `fd` mean `file` (`dup2`, `dup3`) and returns the file it meant before, for the caller to close.
    ///
    /// # Errors
    /// `EBADF` if `fd` is not below `limit`; `ENOMEM`.
    pub fn replace(
        &self,
        fd: i32,
        file: Arc<File>,
        cloexec: bool,
        limit: u64,
    ) -> Result<Option<Arc<File>>> {
        let fd = index(fd)?;
        if fd as u64 >= limit.min(NR_OPEN.count() as u64) {
            return Err(Errno::EBADF);
        }
        let mut inner = self.inner.lock();
        inner.reserve(fd)?;
        Ok(inner.insert(fd, file, cloexec))
    }

    /// Frees `fd` and returns the file, for the caller to close.
    ///
    /// # Errors
    /// `EBADF`.
    #[inline]
    pub fn remove(&self, fd: i32) -> Result<Arc<File>> {
        let fd = index(fd)?;
        self.inner.lock().remove(fd).ok_or(Errno::EBADF)
    }

    /// Tells whether `fd` is closed by `execve`.
    pub fn cloexec(&self, fd: i32) -> Result<bool> {
        let fd = index(fd)?;
        self.inner
            .lock()
            .slots
            .get(fd)
            .and_then(Option::as_ref)
            .map(|s| s.cloexec)
            .ok_or(Errno::EBADF)
    }

    /// Sets whether `fd` is closed by `execve`.
    pub fn set_cloexec(&self, fd: i32, cloexec: bool) -> Result<()> {
        let fd = index(fd)?;
        let mut inner = self.inner.lock();
        inner
            .slots
            .get_mut(fd)
            .and_then(Option::as_mut)
            .map(|s| s.cloexec = cloexec)
            .ok_or(Errno::EBADF)
    }

    /// Takes out the first descriptor in `range` that `pick` chooses.
    fn take_next(
        &self,
        from: usize,
        last: usize,
        pick: impl Fn(&Slot) -> bool,
    ) -> Option<(usize, Arc<File>)> {
        let mut inner = self.inner.lock();
        let end = inner.slots.len().min(last.saturating_add(1));
        let fd = (from..end).find(|&fd| inner.slots[fd].as_ref().is_some_and(&pick))?;
        inner.remove(fd).map(|file| (fd, file))
    }

    /// Frees every descriptor in `first..=last` (`close_range`), handing each file to `close`.
    pub fn close_range(&self, first: u32, last: u32, mut close: impl FnMut(Arc<File>)) {
        let mut from = first as usize;
        while let Some((fd, file)) = self.take_next(from, last as usize, |_| true) {
            from = fd + 1;
            close(file);
        }
    }

    /// Marks every descriptor in `first..=last` as closed by `execve` (`CLOSE_RANGE_CLOEXEC`).
    pub fn cloexec_range(&self, first: u32, last: u32) {
        let mut inner = self.inner.lock();
        let end = inner.slots.len().min((last as usize).saturating_add(1));
        let range = inner.slots.get_mut(first as usize..end);
        range
            .into_iter()
            .flatten()
            .flatten()
            .for_each(|slot| slot.cloexec = true);
    }

    /// Frees every descriptor that `execve` closes, handing each file to `close`.
    pub fn close_on_exec(&self, mut close: impl FnMut(Arc<File>)) {
        let mut from = 0;
        while let Some((fd, file)) = self.take_next(from, usize::MAX, |slot| slot.cloexec) {
            from = fd + 1;
            close(file);
        }
    }

    /// Makes a copy for `fork`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn duplicate(&self) -> Result<FdTable> {
        let inner = self.inner.lock();
        let used = inner
            .slots
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1);
        let mut slots = Vec::new();
        slots.try_reserve_exact(used).map_err(|_| Errno::ENOMEM)?;
        slots.extend_from_slice(&inner.slots[..used]);
        let lowest = inner.lowest.min(used);
        drop(inner);
        Ok(FdTable::with_slots(Slots { slots, lowest }))
    }

    /// Returns the first open descriptor from `from` on, with its file; for `/proc/PID/fd`.
    pub fn next_open(&self, from: i32) -> Option<(i32, Arc<File>)> {
        let inner = self.inner.lock();
        let from = usize::try_from(from).ok()?;
        let at = inner.slots.get(from..)?.iter().position(Option::is_some)?;
        inner.slots[from + at]
            .as_ref()
            .map(|s| ((from + at) as i32, s.file.clone()))
    }

    /// Returns the number of slots, for `FDSize` of `/proc/PID/status`.
    pub fn capacity(&self) -> usize {
        self.inner.lock().slots.len().max(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn file() -> Arc<File> {
        crate::tmpfs::memfd(b"f", 0, 0, 0, 0).unwrap()
    }

    #[test]
    fn limits_and_errors() {
        let table = FdTable::new();
        assert_eq!(table.get(0).err(), Some(Errno::EBADF));
        assert_eq!(table.get(-1).err(), Some(Errno::EBADF));
        assert_eq!(table.get(i32::MAX).err(), Some(Errno::EBADF));
        assert_eq!(table.install(file(), false, 0), Err(Errno::EMFILE));
        assert_eq!(table.install(file(), false, 2), Ok(0));
        assert_eq!(table.install(file(), true, 2), Ok(1));
        assert_eq!(table.install(file(), false, 2), Err(Errno::EMFILE));
        assert_eq!(table.install_from(2, file(), false, 2), Err(Errno::EINVAL));
        assert_eq!(table.install_from(-1, file(), false, 2), Err(Errno::EINVAL));
        assert_eq!(table.install_from(100, file(), false, 200), Ok(100));
        assert_eq!(
            table.replace(200, file(), false, 200).err(),
            Some(Errno::EBADF)
        );
        assert_eq!(
            table.replace(-5, file(), false, 200).err(),
            Some(Errno::EBADF)
        );
        assert!(table.replace(1, file(), false, 200).unwrap().is_some());
        assert_eq!(table.cloexec(1), Ok(false));
        assert_eq!(table.remove(50).err(), Some(Errno::EBADF));
        assert_eq!(table.set_cloexec(50, true), Err(Errno::EBADF));
        assert_eq!(table.install(file(), false, u64::MAX), Ok(2));
    }

    #[test]
    fn fork_and_exec() {
        let table = FdTable::new();
        for n in 0..40 {
            table.install(file(), n % 2 == 1, 100).unwrap();
        }
        let child = table.duplicate().unwrap();
        assert!(Arc::ptr_eq(&table.get(7).unwrap(), &child.get(7).unwrap()));
        assert_ne!(child.id(), table.id());
        let mut closed = 0;
        child.close_on_exec(|_| closed += 1);
        assert_eq!(closed, 20);
        assert_eq!(child.next_open(1).map(|(fd, _)| fd), Some(2));
        table.cloexec_range(10, u32::MAX);
        assert_eq!((table.cloexec(8), table.cloexec(10)), (Ok(false), Ok(true)));
        table.close_range(3, u32::MAX, drop);
        assert_eq!(table.next_open(3).map(|(fd, _)| fd), None);
        assert_eq!(table.install(file(), false, 100), Ok(3));
    }

    proptest! {
        #[test]
        fn the_lowest_free_number_is_given(ops in prop::collection::vec((0u8..4, 0i32..40), 1..150)) {
            const LIMIT: i32 = 32;
            let table = FdTable::new();
            let mut model: BTreeMap<i32, u64> = BTreeMap::new();
            let lowest = |model: &BTreeMap<i32, u64>, from| (from..).find(|fd| !model.contains_key(fd)).unwrap();
            for (op, fd) in ops {
                let file = file();
                let ino = file.inode().ino();
                match op {
                    0 | 1 => {
                        let from = if op == 0 { 0 } else { fd.min(LIMIT - 1) };
                        let want = lowest(&model, from);
                        let got = table.install_from(from, file, false, LIMIT as u64);
                        if want < LIMIT {
                            model.insert(want, ino);
                            prop_assert_eq!(got, Ok(want));
                        } else {
                            prop_assert_eq!(got, Err(Errno::EMFILE));
                        }
                    }
                    2 => prop_assert_eq!(table.remove(fd).is_ok(), model.remove(&fd).is_some()),
                    _ => {
                        let got = table.replace(fd, file, false, LIMIT as u64);
                        prop_assert_eq!(got.is_ok(), fd < LIMIT);
                        if fd < LIMIT {
                            model.insert(fd, ino);
                        }
                    }
                }
                for fd in 0..LIMIT {
                    let found = table.get(fd).ok().map(|f| f.inode().ino());
                    prop_assert_eq!(found, model.get(&fd).copied());
                }
            }
        }
    }
}
