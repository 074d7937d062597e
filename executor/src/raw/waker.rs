//! Wakers: counted pointers to headers.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull,
    task::{RawWaker, RawWakerVTable, Waker},
};

use super::header::{self, Header};

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop);

fn header(data: *const ()) -> NonNull<Header> {
    // SAFETY: every waker of this table is made of a header's address.
    unsafe { NonNull::new_unchecked(data.cast::<Header>().cast_mut()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned holds a reference.
    unsafe { header(data).as_ref() }.state.ref_inc();
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the waker is consumed, so its reference is ours to give back.
    unsafe { header::wake_and_release(header(data)) };
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker holds a reference.
    unsafe { header::wake(header(data)) };
}

unsafe fn drop(data: *const ()) {
    // SAFETY: the waker is consumed, so its reference is ours to give back.
    unsafe { header::release(header(data)) };
}

/// A waker of `task` that takes no reference of its own.
///
/// # Safety
/// The caller keeps the task referenced for as long as it uses the waker.
#[inline(always)]
pub(super) unsafe fn borrowed(task: NonNull<Header>) -> ManuallyDrop<Waker> {
    let raw = RawWaker::new(task.as_ptr().cast_const().cast(), &VTABLE);
    // SAFETY: the table upholds the contract; without its drop the waker counts for nothing.
    ManuallyDrop::new(unsafe { Waker::from_raw(raw) })
}

/// The header behind `waker`, if it is one of ours.
#[inline]
pub(super) fn task_of(waker: &Waker) -> Option<NonNull<Header>> {
    // There is one table: comparing its address will do.
    core::ptr::eq(waker.vtable(), &VTABLE).then(|| header(waker.data()))
}
