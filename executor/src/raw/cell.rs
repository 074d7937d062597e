//! One allocation per task: the policy's entity, the header, the future in place.

use core::{
    alloc::Layout,
    cell::UnsafeCell,
    future::Future,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

use super::{
    blocks,
    header::{Header, VTable},
    shared::CpuShared,
    state::State,
    task_ref::TaskRef,
};
use crate::{
    cpu,
    policy::{Policy, Urgency},
};

/// A header and its future. `repr(C)`, so that a pointer to the header is one to the whole.
#[repr(C)]
pub(super) struct TaskCell<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

/// What lies in the future's place: first the future, then its output, then nothing.
enum Stage<F: Future> {
    Future(F),
    Output(F::Output),
    Empty,
}

impl<F: Future> TaskCell<F> {
    /// The operations of such a task, which ends with `dealloc`.
    pub(super) const fn vtable(dealloc: unsafe fn(NonNull<Header>)) -> VTable {
        VTable {
            poll: poll::<F>,
            cancel: cancel::<F>,
            drop_output: drop_output::<F>,
            dealloc,
        }
    }

    const ALLOCATED: VTable = Self::vtable(dealloc_cell::<F>);

    /// The stage's address, with the provenance of the whole allocation.
    ///
    /// # Safety
    /// `task` is the header of a live `TaskCell<F>`.
    unsafe fn stage(task: NonNull<Header>) -> *mut Stage<F> {
        let cell = task.cast::<Self>().as_ptr();
        // SAFETY: the cell lives, by the contract; the address of a field is taken, not read.
        unsafe { UnsafeCell::raw_get(&raw const (*cell).stage) }
    }

    /// The layout with `entity_len` bytes in front, and where the cell begins.
    pub(super) fn layout(entity_len: u16) -> (Layout, usize) {
        let cell = Layout::new::<Self>();
        let front = usize::from(entity_len).next_multiple_of(cell.align());
        let layout = Layout::from_size_align(front + cell.size(), cell.align())
            .expect("a future's size is moderate");
        (layout, front)
    }
}

/// What a task is made of, besides its future.
pub(crate) struct NewTask {
    pub(crate) name: &'static str,
    pub(crate) home: &'static CpuShared,
    pub(crate) tag: *mut (),
    /// Whether the caller takes a join handle's claim to the output.
    pub(crate) join: bool,
    pub(crate) urgency: Urgency,
    pub(crate) mobility: Mobility,
}

impl NewTask {
    /// Bytes of the policy's entity.
    pub(super) fn entity_len(&self) -> u16 {
        self.home.entity().len
    }
}

/// Which CPUs a task may get to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mobility {
    /// Where it is asked to go; if it has a tag, where the platform places it as well.
    Asked,
    /// To any that sleeps when it is woken.
    Roams,
    /// To none but its first: its future is not `Send`.
    Pinned,
}

/// Allocates a task, scheduled but not yet queued, with the entity that its policy gives it.
///
/// The returned reference is the join claim's if `new.join`, else an extra one.
///
/// # Errors
/// The future, when there is no memory.
pub(crate) fn allocate<F: Future>(new: NewTask, future: F) -> Result<TaskRef, F> {
    allocate_with(new, future, |base, front, new, future| {
        // SAFETY: the memory is fresh and of the layout that `place` wants.
        unsafe { place(base, front, new, &TaskCell::<F>::ALLOCATED, future) }
    })
}

/// As [`allocate`], with the policy's entity given.
///
/// # Errors
/// The future, when there is no memory.
pub(crate) fn allocate_entity<P: Policy, F: Future>(
    new: NewTask,
    future: F,
    entity: P::Entity,
) -> Result<TaskRef, F> {
    assert!(
        new.home.entity().is::<P>(),
        "the executor has another policy"
    );
    allocate_with(new, future, |base, front, new, future| {
        // SAFETY: the memory is fresh and of the layout wanted, and the entity that of the home's policy, which is `P`.
        unsafe {
            place_with(base, front, new, &TaskCell::<F>::ALLOCATED, future, |at| {
                at.cast::<P::Entity>().write(entity)
            })
        }
    })
}

fn allocate_with<F: Future>(
    new: NewTask,
    future: F,
    place: impl FnOnce(NonNull<u8>, usize, NewTask, F) -> TaskRef,
) -> Result<TaskRef, F> {
    debug_assert!(!cpu::in_hardirq(), "spawned from a hard interrupt");
    let (layout, front) = TaskCell::<F>::layout(new.entity_len());
    // SAFETY: the layout has at least the header's size.
    match unsafe { blocks::allocate(layout) } {
        Some(base) => Ok(place(base, front, new, future)),
        None => Err(future),
    }
}

/// Makes a task with the entity that its policy gives it, its header `front` bytes from `base`.
///
/// # Safety
/// The memory at `base` is of the layout of a `TaskCell<F>`, nobody else's, and stays until `vtable.dealloc`.
pub(super) unsafe fn place<F: Future>(
    base: NonNull<u8>,
    front: usize,
    new: NewTask,
    vtable: &'static VTable,
    future: F,
) -> TaskRef {
    let (init, urgency) = (new.home.entity().init, new.urgency);
    // SAFETY: the contract is the same; the room is that of an entity of the home's policy.
    unsafe { place_with(base, front, new, vtable, future, |at| init(at, urgency)) }
}

/// As [`place`], with the entity written by `init`.
///
/// # Safety
/// That of [`place`]; `init` writes an entity of the home's policy.
unsafe fn place_with<F: Future>(
    base: NonNull<u8>,
    front: usize,
    new: NewTask,
    vtable: &'static VTable,
    future: F,
    init: impl FnOnce(*mut u8),
) -> TaskRef {
    let entity_len = new.entity_len();
    // SAFETY: `front` is within the memory.
    let task = unsafe { base.add(front) }.cast::<Header>();
    let state = State::new(new.join, new.mobility);
    let header = Header::new(state, new.home, vtable, new.name, entity_len, new.tag);
    let cell = TaskCell {
        header,
        stage: UnsafeCell::new(Stage::Future(future)),
    };
    // SAFETY: the place is a cell's, aligned for it, and nobody else's yet.
    unsafe { task.cast::<TaskCell<F>>().write(cell) };
    // SAFETY: `entity_len` bytes lie in front of the header, a multiple of its alignment.
    let at = unsafe { task.cast::<u8>().sub(entity_len.into()) };
    // Aligned as the header, which is at least as the entity, and unshared.
    init(at.as_ptr());
    // SAFETY: a new task has a reference for the caller: the join claim's, or one taken now.
    unsafe {
        if !new.join {
            task.as_ref().state.ref_inc();
        }
        TaskRef::from_raw(task)
    }
}

unsafe fn poll<F: Future>(task: NonNull<Header>, cx: &mut Context<'_>) -> bool {
    // SAFETY: the task is of this type, and RUNNING gives us the stage.
    let stage = unsafe { TaskCell::<F>::stage(task) };
    // SAFETY: as above; while RUNNING nobody else touches the stage.
    let Stage::Future(future) = (unsafe { &mut *stage }) else {
        unreachable!("a finished task is polled");
    };
    // SAFETY: the future is never moved: it is dropped in place below or by `cancel`.
    let future = unsafe { Pin::new_unchecked(future) };
    match future.poll(cx) {
        Poll::Pending => false,
        Poll::Ready(output) => {
            // SAFETY: still ours; the assignment drops the future in place, then writes the output.
            unsafe { *stage = Stage::Output(output) };
            true
        }
    }
}

unsafe fn cancel<F: Future>(task: NonNull<Header>) {
    // SAFETY: the caller holds the task RUNNING, so the stage is ours; the future is dropped in place.
    unsafe { *TaskCell::<F>::stage(task) = Stage::Empty };
}

unsafe fn drop_output<F: Future>(task: NonNull<Header>) {
    // SAFETY: the task is complete and the caller owns the output.
    unsafe { *TaskCell::<F>::stage(task) = Stage::Empty };
}

/// Takes the output of a complete task; `None` if it was aborted, or the output taken before.
///
/// # Safety
/// The task is complete, its future's type is `F`, and the caller holds the join claim.
unsafe fn take_output<F: Future>(task: NonNull<Header>) -> Option<F::Output> {
    // SAFETY: by the contract the stage is the caller's.
    let stage = unsafe { &mut *TaskCell::<F>::stage(task) };
    match core::mem::replace(stage, Stage::Empty) {
        Stage::Output(output) => Some(output),
        _ => None,
    }
}

/// Reads the output of a complete task whose future had the output `T`.
pub(crate) type ReadOutput<T> = unsafe fn(NonNull<Header>) -> Option<T>;

/// The function that takes the output of a task made from an `F`.
pub(crate) fn read_output<F: Future>() -> ReadOutput<F::Output> {
    take_output::<F>
}

unsafe fn dealloc_cell<F: Future>(task: NonNull<Header>) {
    // SAFETY: the task lives until this call.
    let (layout, _) = TaskCell::<F>::layout(unsafe { task.as_ref() }.entity_len);
    // SAFETY: the contract is the same.
    let base = unsafe { take_apart::<F>(task) };
    // SAFETY: `allocate` took the block there with this layout, and nothing is left in it.
    unsafe { blocks::free(base, layout) };
}

/// Drops what is left of a task: its memory, from the address given on, may be used again.
///
/// # Safety
/// The task is of future `F`, and without references: the stage is empty.
pub(super) unsafe fn take_apart<F: Future>(task: NonNull<Header>) -> NonNull<u8> {
    // SAFETY: the task lives until this call.
    let header = unsafe { task.as_ref() };
    let (entity_len, drop_entity) = (header.entity_len, header.home().entity().drop);
    let (_, front) = TaskCell::<F>::layout(entity_len);
    // SAFETY: the entity lies there, of the home's policy, and no token of the task is left.
    unsafe { drop_entity(task.cast::<u8>().as_ptr().sub(entity_len.into())) };
    // SAFETY: no reference is left; the stage is empty, so this drops what the header owns.
    unsafe { task.cast::<TaskCell<F>>().drop_in_place() };
    // SAFETY: the memory begins `front` bytes before the header.
    unsafe { task.cast::<u8>().sub(front) }
}

/// The address of `P`'s entity in front of a header.
///
/// # Safety
/// The task was made for an executor of policy `P`.
#[inline(always)]
pub(super) unsafe fn entity<P: Policy>(task: NonNull<Header>) -> NonNull<P::Entity> {
    // SAFETY: `allocate` put the entity there.
    unsafe {
        task.cast::<u8>()
            .sub(super::shared::entity_len::<P>().into())
    }
    .cast()
}
