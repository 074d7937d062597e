//! User address spaces: [`AddressSpace`].
//!
//! One spin lock per space guards its mappings ([`VmaSet`]), its page tables and its counters; every call takes it, does
//! its work without waiting, and gives it back. Files are asked for pages under it (their page cache's lock ranks below).
//! What is given up meanwhile (frames, tables, files) is gathered, and freed after the TLBs were flushed; files are
//! dropped after the lock.
//!
//! | file | what |
//! | --- | --- |
//! | `state` | what the lock guards, and limits |
//! | `map`, `remap`, `protect`, `brk`, `advise`, `locked` | the system calls |
//! | `fault`, `stack` | page faults |
//! | `copy` | access to a space that is not loaded; making pages present |
//! | `fork`, `zap` | copying and clearing page tables |
//! | `watch` | finding the spaces that map a file |
//! | `info` | what `/proc` shows |

mod advise;
mod api;
mod brk;
mod copy;
mod fault;
mod fork;
mod info;
mod locked;
mod map;
mod protect;
mod remap;
mod stack;
mod state;
pub mod survey;
#[cfg(test)]
mod tests;

mod watch;
mod zap;

pub use api::*;
pub use map::{committed, overcommit_limit};
pub use watch::for_each_space;

use super::pagetable::PageTable;
use super::sync::SpinLock;
use super::tlb::{self, CpuSet};
use super::vma::VmaSet;
use alloc::sync::Arc;
use fs::{Errno, Result};
use state::State;

/// Behind the last address of a user: 47 bits, without the last page.
pub const TASK_SIZE: u64 = (1 << 47) - 4096;
/// Where page tables for users end.
const USER_END: u64 = 1 << 47;

/// What a process sees as memory: the mappings, and the page tables that show them to the CPU.
///
/// Shared by threads; gone when the last `Arc` is, which is never while a CPU has it loaded.
pub struct AddressSpace {
    state: SpinLock<State>,
    /// The CPUs that have it loaded.
    cpus: CpuSet,
    /// The root of its page tables; fixed.
    root: super::Pfn,
    /// Where the list of all spaces has it; fixed.
    registered: usize,
}

impl AddressSpace {
    /// An empty address space.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(limits: Limits) -> Result<Arc<AddressSpace>> {
        let pages = PageTable::new().map_err(|_| Errno::ENOMEM)?;
        Self::from_state(State::new(pages, VmaSet::new(), limits))
    }

    fn from_state(mut state: State) -> Result<Arc<AddressSpace>> {
        let registered = match watch::reserve() {
            Ok(place) => place,
            Err(error) => {
                state.clear();
                return Err(error);
            }
        };
        Ok(watch::register(AddressSpace {
            root: state.pages.root(),
            state: SpinLock::new(state),
            cpus: CpuSet::new(),
            registered,
        }))
    }

    /// Loads it into this CPU.
    ///
    /// # Context
    /// Preemption is off. The caller keeps an `Arc` of it until another space, or the kernel's own table, is loaded and
    /// [`AddressSpace::deactivate`] was called.
    pub fn activate(&self) {
        self.cpus.add_this();
        tlb::load(self.root);
    }

    /// Notes that this CPU, which had it loaded, has loaded another one.
    ///
    /// # Context
    /// Preemption is off.
    pub fn deactivate(&self) {
        self.cpus.remove_this();
    }

    /// `setrlimit` has changed the limits.
    pub fn set_limits(&self, limits: Limits) {
        self.state.lock().limits = limits;
    }

    /// Places what `mmap` chooses itself: beneath the room for the stack, and `random` pages lower. `exec` calls it on the
    /// new space.
    pub fn set_mmap_base(&self, random: u64) {
        self.state.lock().set_mmap_base(random);
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        debug_assert!(self.cpus.is_empty(), "address space dropped while loaded");
        watch::unregister(self.registered);
        // Without the lock, so that this may be preempted: it takes long for a large space.
        self.state.get_mut().clear();
    }
}
