//! The objects of one kind, by number and by key.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::sync::SpinLock;
use fs::{Credentials, Errno, Result};

use super::perm::Perm;
use super::{PRIVATE, flag};

/// Places in a table: an object's number is its place, and above that a count that differs from that of who had the place
/// before (`IPCMNI`).
pub const PLACES: usize = 1 << 15;
/// Counts until they begin anew, so that numbers are positive.
const SEQUENCES: u32 = 1 << 16;

/// What a table holds.
pub trait Object {
    /// Owner and rights, under a lock of their own.
    fn perm(&self) -> &SpinLock<Perm>;

    /// Whether it only waits to be taken out: nobody uses it, and nobody can find it.
    fn is_gone(&self) -> bool {
        false
    }
}

struct Inner<T> {
    places: Vec<Option<Arc<T>>>,
    keys: BTreeMap<i32, Arc<T>>,
    used: usize,
    sequence: u32,
}

/// The objects of one kind.
pub struct Table<T>(SpinLock<Inner<T>>);

/// The count in the number `id`.
pub fn sequence(id: i32) -> u16 {
    (id as u32 >> 15) as u16
}

/// The place in the number `id`.
pub fn place(id: i32) -> usize {
    id as usize % PLACES
}

impl<T: Object> Table<T> {
    /// An empty one.
    pub const fn new() -> Table<T> {
        Table(SpinLock::new(Inner {
            places: Vec::new(),
            keys: BTreeMap::new(),
            used: 0,
            sequence: 0,
        }))
    }

    /// The object with number `id`.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn get(&self, id: i32) -> Result<Arc<T>> {
        let found = self.at(id)?;
        let same = found.perm().lock().id == id;
        if same { Ok(found) } else { Err(Errno::EINVAL) }
    }

    /// The object at the place of `id`, whatever its number.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn at(&self, id: i32) -> Result<Arc<T>> {
        if id < 0 {
            return Err(Errno::EINVAL);
        }
        let table = self.0.lock();
        let found = table.places.get(place(id)).and_then(|place| place.clone());
        drop(table);
        found
            .filter(|object| !object.is_gone())
            .ok_or(Errno::EINVAL)
    }

    /// The number of the object with `key`, or of a new one, as a `get` call with `flags` asks for. `fits` looks at one that
    /// is there; there may be `most`.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `EACCES`, `ENOSPC`, `ENOMEM`; those of `fits` and `make`.
    pub fn find_or_make(
        &self,
        key: i32,
        flags: u32,
        most: usize,
        cred: &Credentials,
        fits: impl Fn(&T) -> Result<()>,
        make: impl FnOnce(Perm) -> Result<T>,
    ) -> Result<i32> {
        if let Some(found) = self.by_key(key) {
            return Self::found(&found, flags, cred, &fits);
        }
        if key != PRIVATE && flags & flag::CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        crate::mm::admit()?;
        self.take_out_gone();
        let new = Arc::new(make(Perm::new(cred, key, flags))?);
        let mut table = self.0.lock();
        if key != PRIVATE
            && let Some(found) = table.keys.get(&key).cloned()
        {
            // Somebody was quicker.
            drop(table);
            return Self::found(&found, flags, cred, &fits);
        }
        let id = table.insert(&new, key, most);
        drop(table);
        id
    }

    fn by_key(&self, key: i32) -> Option<Arc<T>> {
        if key == PRIVATE {
            return None;
        }
        self.0.lock().keys.get(&key).cloned()
    }

    fn found(
        found: &T,
        flags: u32,
        cred: &Credentials,
        fits: &impl Fn(&T) -> Result<()>,
    ) -> Result<i32> {
        if flags & flag::CREAT != 0 && flags & flag::EXCL != 0 {
            return Err(Errno::EEXIST);
        }
        fits(found)?;
        let perm = *found.perm().lock();
        perm.check(cred, flags)?;
        Ok(perm.id)
    }

    /// Has no key find `object` any more.
    pub fn forget_key(&self, object: &Arc<T>) {
        let key = core::mem::replace(&mut object.perm().lock().key, PRIVATE);
        let mut table = self.0.lock();
        let known = if table.keys.get(&key).is_some_and(|o| Arc::ptr_eq(o, object)) {
            table.keys.remove(&key)
        } else {
            None
        };
        drop(table);
        drop(known);
    }

    /// Takes `object` out. False if somebody else did.
    pub fn remove(&self, object: &Arc<T>) -> bool {
        self.forget_key(object);
        let id = object.perm().lock().id;
        let mut table = self.0.lock();
        let taken = table.take_if(place(id), |found| Arc::ptr_eq(found, object));
        drop(table);
        taken.is_some()
    }

    /// Takes out those that are gone.
    pub fn take_out_gone(&self) {
        let mut at = 0;
        loop {
            let mut table = self.0.lock();
            if at >= table.places.len() {
                return;
            }
            let taken = table.take_if(at, |object| object.is_gone());
            drop(table);
            drop(taken);
            at += 1;
        }
    }

    /// How many there are, and the highest place that is taken, 0 if none is.
    pub fn usage(&self) -> (usize, usize) {
        let table = self.0.lock();
        let highest = table.places.iter().rposition(Option::is_some);
        (table.used, highest.unwrap_or(0))
    }

    /// Calls `f` for each object, no lock held.
    ///
    /// # Errors
    /// The first of `f`.
    pub fn each(&self, mut f: impl FnMut(&Arc<T>) -> Result<()>) -> Result<()> {
        let mut at = 0;
        loop {
            let table = self.0.lock();
            let Some(place) = table.places.get(at) else {
                return Ok(());
            };
            let object = place.clone();
            drop(table);
            if let Some(object) = object.filter(|object| !object.is_gone()) {
                f(&object)?;
            }
            at += 1;
        }
    }
}

impl<T: Object> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Object> Inner<T> {
    fn insert(&mut self, new: &Arc<T>, key: i32, most: usize) -> Result<i32> {
        if self.used >= most.min(PLACES) {
            return Err(Errno::ENOSPC);
        }
        let free = self.places.iter().position(Option::is_none);
        let at = match free {
            Some(at) => at,
            None => {
                self.places.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.places.push(None);
                self.places.len() - 1
            }
        };
        self.sequence = (self.sequence + 1) % SEQUENCES;
        let id = (self.sequence as usize * PLACES + at) as i32;
        new.perm().lock().id = id;
        self.places[at] = Some(new.clone());
        self.used += 1;
        if key != PRIVATE {
            self.keys.insert(key, new.clone());
        }
        Ok(id)
    }

    fn take_if(&mut self, at: usize, wanted: impl Fn(&Arc<T>) -> bool) -> Option<Arc<T>> {
        let taken = self.places.get_mut(at)?.take_if(|object| wanted(object))?;
        self.used -= 1;
        Some(taken)
    }
}
