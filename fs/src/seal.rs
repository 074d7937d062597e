//! Seals: what nobody may do to a file in memory any more.
//!
//! Source: `F_ADD_SEALS` in fcntl(2), memfd_create(2).

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::mapping::Mapping;
use crate::{Errno, Result};

/// No more seals (`F_SEAL_SEAL`).
pub const SEAL: u32 = 1;
/// No cutting (`F_SEAL_SHRINK`).
pub const SHRINK: u32 = 2;
/// No growing (`F_SEAL_GROW`).
pub const GROW: u32 = 4;
/// No writing (`F_SEAL_WRITE`).
pub const WRITE: u32 = 8;
/// No writing but through maps that are there already (`F_SEAL_FUTURE_WRITE`).
pub const FUTURE_WRITE: u32 = 16;
/// All of them.
pub const ALL: u32 = 31;

/// One writable map, above the seals.
const MAP: u64 = 1 << 32;

/// The seals of a file, and how many maps could be written through: in one word, since each forbids the other.
pub(crate) struct Seals(AtomicU64);

impl Seals {
    pub(crate) fn new(seals: u32) -> Seals {
        Seals(AtomicU64::new(u64::from(seals)))
    }

    /// The seals alone.
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed) as u32
    }

    /// Adds `seals`.
    ///
    /// # Errors
    /// `EPERM` if there are to be no more, `EBUSY` for [`WRITE`] while the file is mapped to be written.
    pub(crate) fn add(&self, seals: u32) -> Result<()> {
        self.change(|now| {
            if now as u32 & SEAL != 0 {
                Err(Errno::EPERM)
            } else if seals & !(now as u32) & WRITE != 0 && now >= MAP {
                Err(Errno::EBUSY)
            } else {
                Ok(now | u64::from(seals))
            }
        })
    }

    fn map(&self) -> Result<()> {
        self.change(|now| {
            if now as u32 & (WRITE | FUTURE_WRITE) != 0 {
                Err(Errno::EPERM)
            } else {
                Ok(now + MAP)
            }
        })
    }

    fn unmap(&self) {
        self.0.fetch_sub(MAP, Ordering::Release);
    }

    fn change(&self, change: impl Fn(u64) -> Result<u64>) -> Result<()> {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let new = change(now)?;
            // What was written through a map is there before the file counts as sealed.
            match self
                .0
                .compare_exchange_weak(now, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(other) => now = other,
            }
        }
    }
}

/// A shared map through which a file can be written, or could after `mprotect(2)`: while there is one, [`WRITE`] cannot be added.
pub struct WritableMap(Arc<Mapping>);

impl WritableMap {
    /// Counts one more.
    ///
    /// # Errors
    /// `EPERM` if the file is sealed against writing.
    pub fn new(mapping: &Arc<Mapping>) -> Result<WritableMap> {
        mapping.sealing().map()?;
        Ok(WritableMap(mapping.clone()))
    }
}

impl Drop for WritableMap {
    fn drop(&mut self) {
        self.0.sealing().unmap();
    }
}

impl fmt::Debug for WritableMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WritableMap")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_and_a_seal_against_writing_exclude_each_other() {
        let mapping = Mapping::new(None);
        let maps = [
            WritableMap::new(&mapping).unwrap(),
            WritableMap::new(&mapping).unwrap(),
        ];
        for map in maps {
            assert_eq!(mapping.add_seals(WRITE | SHRINK), Err(Errno::EBUSY));
            drop(map);
        }
        assert_eq!(mapping.seals(), 0, "a refusal adds nothing");
        assert_eq!(mapping.add_seals(WRITE), Ok(()));
        assert_eq!(WritableMap::new(&mapping).err(), Some(Errno::EPERM));
        assert_eq!(mapping.add_seals(SEAL), Ok(()));
        assert_eq!(mapping.add_seals(GROW), Err(Errno::EPERM));
        assert_eq!(mapping.seals(), WRITE | SEAL);
    }

    #[test]
    fn maps_that_are_there_outlive_a_seal_against_new_ones() {
        let mapping = Mapping::new(None);
        let map = WritableMap::new(&mapping).unwrap();
        assert_eq!(mapping.add_seals(FUTURE_WRITE), Ok(()));
        assert_eq!(WritableMap::new(&mapping).err(), Some(Errno::EPERM));
        assert_eq!(mapping.add_seals(WRITE), Err(Errno::EBUSY));
        drop(map);
        assert_eq!(mapping.add_seals(WRITE), Ok(()));
    }
}
