//! Places for tasks that are not allocated.

use core::{
    cell::UnsafeCell, fmt, future::Future, mem::MaybeUninit, ptr::NonNull, sync::atomic::Ordering,
};

use super::{
    cell::{self, NewTask, TaskCell},
    header::{Header, VTable},
    task_ref::TaskRef,
};
use crate::{
    facade::{AtomicBool, const_fn, mutant},
    join::JoinHandle,
    spawn::{SpawnError, SpawnErrorKind, Spawner},
};

/// Room for one task at a time, of up to `SIZE` bytes, in static storage: a task without the allocator, spawned again when the
/// one before has gone.
///
/// The room holds the task's header (128 bytes), the policy's data of it, and the future. Whether header and future fit is
/// checked when the program is compiled. A policy's data may itself be allocated; the kernel's is.
///
/// ```
/// use executor::{SpawnErrorKind, Spawner, TaskSlot, platform::host, yield_now};
///
/// static BLINK: TaskSlot<512> = TaskSlot::new();
///
/// host::block_on(async {
///     let blink = BLINK.try_spawn(Spawner::new("blink"), async {
///         yield_now().await;
///         7
///     });
///     let again = BLINK.try_spawn(Spawner::new("again"), async {});
///     assert_eq!(again.map_err(|e| e.kind).unwrap_err(), SpawnErrorKind::Occupied);
///     assert_eq!(blink.unwrap().await, Ok(7));
///     // Whoever held it last has given it up: it is free again.
///     let again = BLINK.try_spawn(Spawner::new("again"), async {});
///     assert!(again.unwrap().await.is_ok());
/// });
/// ```
#[repr(C, align(64))]
pub struct TaskSlot<const SIZE: usize> {
    /// First, so that it begins where the slot does.
    room: UnsafeCell<MaybeUninit<[u8; SIZE]>>,
    taken: AtomicBool,
}

// SAFETY: the room is used by the task in it alone, which is placed there by whoever turned `taken` on, and is `Send` or stays
// on its CPU.
unsafe impl<const SIZE: usize> Sync for TaskSlot<SIZE> {}

impl<const SIZE: usize> TaskSlot<SIZE> {
    const_fn! {
        /// A free place.
        pub fn new() -> Self {
            Self { room: UnsafeCell::new(MaybeUninit::uninit()), taken: AtomicBool::new(false) }
        }
    }

    /// Puts a task into the place and queues it.
    ///
    /// # Context
    /// Task or boot; nothing is allocated here.
    /// # Errors
    /// The future comes back if another task's last reference is not gone ([`SpawnErrorKind::Occupied`]), if there is no
    /// executor on the CPU asked for, or if its policy's data does not fit as well ([`SpawnErrorKind::NoMemory`]).
    pub fn try_spawn<F>(
        &'static self,
        spawner: Spawner,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        const {
            assert!(size_of::<TaskCell<F>>() <= SIZE, "the task does not fit");
            assert!(align_of::<TaskCell<F>>() <= align_of::<Self>());
        }
        let taken = self
            .taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            let kind = SpawnErrorKind::Occupied;
            return Err(SpawnError { future, kind });
        }
        let spawned = spawner.spawn_by(future, |new, future| self.place(new, future));
        if spawned.is_err() {
            self.taken.store(false, Ordering::Release);
        }
        spawned
    }

    /// Whether a task is in it, or somebody refers to the one that was.
    pub fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// The caller has turned `taken` on.
    fn place<F: Future>(&'static self, new: NewTask, future: F) -> Result<TaskRef, F> {
        let (layout, front) = TaskCell::<F>::layout(new.entity_len());
        if layout.size() > SIZE {
            return Err(future);
        }
        // The whole slot's, so that it is found from there.
        let base = NonNull::from(self).cast::<u8>();
        // SAFETY: the room is aligned and large enough, and nobody's while `taken` is ours.
        Ok(unsafe { cell::place(base, front, new, Self::vtable::<F>(), future) })
    }

    const fn vtable<F: Future>() -> &'static VTable {
        const { &TaskCell::<F>::vtable(Self::give_back::<F>) }
    }

    /// What [`VTable::dealloc`] is for a task in such a place.
    unsafe fn give_back<F: Future>(task: NonNull<Header>) {
        // SAFETY: by the contract of `dealloc`, the task is ours alone.
        let base = unsafe { cell::take_apart::<F>(task) };
        // SAFETY: `place` put it at the beginning of a slot that lives for ever.
        let slot = unsafe { base.cast::<Self>().as_ref() };
        let order = if mutant!(FreePlaceTooSoon) {
            Ordering::Relaxed
        } else {
            Ordering::Release
        };
        slot.taken.store(false, order);
    }
}

impl<const SIZE: usize> Default for TaskSlot<SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SIZE: usize> fmt::Debug for TaskSlot<SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSlot")
            .field("size", &SIZE)
            .field("taken", &self.is_taken())
            .finish()
    }
}
