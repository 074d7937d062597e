//! The part of a task that does not depend on its future.

use core::{
    ptr::{self, NonNull},
    sync::atomic::Ordering,
    task::{Context, Waker},
};

use super::{
    placement,
    shared::CpuShared,
    state::{State, WakeAndRelease},
};
use crate::{
    facade::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, traced},
    policy::EnqueueKind,
    sync::LeafLockIrq,
};

/// [`Header::want`]: nothing is asked.
pub(super) const WANT_NOTHING: u32 = u32::MAX;
/// [`Header::want`]: the policy's data is to be brought up to date, wherever the task is queued.
pub(super) const WANT_REFRESH: u32 = u32::MAX - 1;

/// What is done with a task without knowing its future's type.
pub(super) struct VTable {
    /// Polls the future; true when it is finished, its output in its place.
    pub(super) poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
    /// Drops the future unfinished.
    pub(super) cancel: unsafe fn(NonNull<Header>),
    /// Drops the output.
    pub(super) drop_output: unsafe fn(NonNull<Header>),
    /// Frees the allocation; future and output are gone.
    pub(super) dealloc: unsafe fn(NonNull<Header>),
}

/// A task's header: before its future, after its policy's entity. With the mark of what lies in the future's place it is the
/// 128 bytes that a task costs beyond its future.
#[repr(C, align(16))]
pub(crate) struct Header {
    pub(super) state: State,
    /// Link of the one queue the task is in: wake queue, run list, or the list of those to be freed.
    pub(super) next: AtomicPtr<Header>,
    /// The CPU that polls this task; changed by that CPU, and by whoever wakes the task while it waits.
    pub(super) home: AtomicPtr<CpuShared>,
    pub(super) vtable: &'static VTable,
    /// Link of the owner's message queue.
    pub(super) msg_next: AtomicPtr<Header>,
    /// The CPU that the task was asked to move to, [`WANT_NOTHING`] or [`WANT_REFRESH`]; taken when it is queued next.
    pub(super) want: AtomicU32,
    /// Bytes of the policy's entity in front of the header.
    pub(super) entity_len: u16,
    /// Why the task is queued next (owner CPU only).
    pub(super) requeue: AtomicU8,
    /// Bytes at `name`.
    name_len: u8,
    /// The name's text; not a `str`, whose length would take eight bytes.
    name: NonNull<u8>,
    /// The kernel's word: whose task this is.
    pub(super) tag: AtomicPtr<()>,
    /// Where a poll that is suspended goes on; null while none is. The machine's switch stores it, the picker takes it.
    pub(super) place: AtomicPtr<()>,
    pub(super) polls: AtomicU64,
    pub(super) run_ns: AtomicU64,
    /// Who waits for the end.
    pub(super) join: LeafLockIrq<Option<Waker>>,
}

#[cfg(all(target_pointer_width = "64", not(loom)))]
const _: () = assert!(size_of::<Header>() <= 112);

impl Header {
    pub(super) fn new(
        state: State,
        home: &'static CpuShared,
        vtable: &'static VTable,
        name: &'static str,
        entity_len: u16,
        tag: *mut (),
    ) -> Self {
        // The part of a long name that has room, whole characters.
        let name = &name[..name.floor_char_boundary(u8::MAX.into())];
        Self {
            state,
            next: AtomicPtr::new(ptr::null_mut()),
            home: AtomicPtr::new(ptr::from_ref(home).cast_mut()),
            vtable,
            msg_next: AtomicPtr::new(ptr::null_mut()),
            want: AtomicU32::new(home.entity().first_want),
            entity_len,
            requeue: AtomicU8::new(EnqueueKind::New as u8),
            name_len: name.len() as u8,
            name: NonNull::from(name).cast(),
            tag: AtomicPtr::new(tag),
            place: AtomicPtr::new(ptr::null_mut()),
            polls: AtomicU64::new(0),
            run_ns: AtomicU64::new(0),
            join: LeafLockIrq::new(None),
        }
    }

    /// What the spawner called the task.
    pub(crate) fn name(&self) -> &'static str {
        let text = NonNull::slice_from_raw_parts(self.name, self.name_len.into());
        // SAFETY: `new` took address and length from a string that lives for ever.
        unsafe { core::str::from_utf8_unchecked(text.as_ref()) }
    }

    /// The address of `place`, for the machine's switch.
    pub(super) fn place_slot(&self) -> *mut *mut () {
        #[cfg(not(loom))]
        return self.place.as_ptr();
        // The stacks of the models are threads: see `Saver::store`.
        #[cfg(loom)]
        ptr::null_mut()
    }

    /// The number of that CPU.
    #[cfg(feature = "trace")]
    pub(crate) fn cpu(&self) -> u32 {
        self.home().cpu()
    }

    /// The CPU that polls this task.
    #[inline(always)]
    pub(super) fn home(&self) -> &'static CpuShared {
        // SAFETY: only ever set from `&'static CpuShared`.
        unsafe { &*self.home.load(Ordering::Acquire) }
    }
}

/// Wakes the task: at most a bit and a push.
///
/// # Safety
/// The caller holds a reference to the task throughout.
#[inline]
pub(super) unsafe fn wake(task: NonNull<Header>) {
    traced!(Woken, task);
    // SAFETY: the caller's reference keeps the header.
    if unsafe { task.as_ref() }.state.wake() {
        // SAFETY: SCHEDULED was clear and is ours.
        unsafe { push(task) };
    }
}

/// As [`wake`] and then [`release`], in one step.
///
/// # Safety
/// The caller owns a reference and does not use it again.
#[inline]
pub(super) unsafe fn wake_and_release(task: NonNull<Header>) {
    traced!(Woken, task);
    // SAFETY: the caller's reference keeps the header.
    match unsafe { task.as_ref() }.state.wake_and_release() {
        // SAFETY: SCHEDULED was clear and is ours.
        WakeAndRelease::Push => unsafe { push(task) },
        // SAFETY: no reference is left, so the task is ours alone.
        WakeAndRelease::Free => unsafe { free(task) },
        WakeAndRelease::Nothing => {}
    }
}

/// Queues a task that was just woken.
///
/// # Safety
/// The caller turned SCHEDULED on, with RUNNING and COMPLETE off: so the task waits, lives until it is polled, is in no queue,
/// and this is its only waker.
#[inline(always)]
unsafe fn push(task: NonNull<Header>) {
    {
        let _no_alloc = crate::cpu::forbid_alloc();
        // SAFETY: the contract is the same.
        unsafe { placement::destination(task) }.push_woken(task);
    }
    // A task of this CPU may be more urgent than the one that woke it (rule 8).
    crate::cpu::preempt_point();
}

/// Gives one reference back and frees the task if it was the last, now or, where freeing is not allowed, later.
///
/// # Safety
/// The caller owns the reference and does not use it again.
#[inline]
pub(super) unsafe fn release(task: NonNull<Header>) {
    // SAFETY: the caller's reference keeps the header.
    if unsafe { task.as_ref() }.state.ref_dec() {
        // SAFETY: no reference is left, so the task is ours alone.
        unsafe { free(task) }
    }
}

/// As [`release`], of a reference that is probably the last.
///
/// # Safety
/// As there.
#[inline]
pub(super) unsafe fn release_last(task: NonNull<Header>) {
    // SAFETY: the caller's reference keeps the header.
    if unsafe { task.as_ref() }.state.ref_dec_last() {
        // SAFETY: no reference is left, so the task is ours alone.
        unsafe { free(task) }
    }
}

/// Frees a task without references, through this CPU's list where memory must not be touched (rule 3).
///
/// # Safety
/// The task has no references left.
#[cold]
unsafe fn free(task: NonNull<Header>) {
    // SAFETY: the memory is valid until `dealloc`.
    let header = unsafe { task.as_ref() };
    if !crate::cpu::preemptible() {
        crate::cpu::shared()
            .unwrap_or(header.home())
            .push_dead(task);
        return;
    }
    // SAFETY: a task without references is complete, and its output was taken or dropped before the reference that
    // stood for it went.
    unsafe { (header.vtable.dealloc)(task) };
}
