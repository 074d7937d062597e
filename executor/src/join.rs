//! The handle of a spawned task.
#![allow(
    unsafe_code,
    reason = "the handle holds the claim to the task's output, whose type only it knows"
)]

use core::{
    fmt,
    future::Future,
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll},
};

use crate::raw::{ReadOutput, TaskRef};

/// The task was aborted before it finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was aborted")
    }
}

impl core::error::Error for Aborted {}

/// Waits for a task, and gives its output.
///
/// Dropping it lets the task go on by itself.
#[must_use = "dropping a handle detaches the task; say so with `detach`"]
pub struct JoinHandle<T> {
    task: ManuallyDrop<TaskRef>,
    read: ReadOutput<T>,
    /// Whether a waker may have been left with the task.
    registered: bool,
    taken: bool,
}

impl<T> JoinHandle<T> {
    /// # Safety
    /// `task` was made with a join claim that is now the handle's, and `read` is for its future.
    pub(crate) unsafe fn new(task: TaskRef, read: ReadOutput<T>) -> Self {
        Self {
            task: ManuallyDrop::new(task),
            read,
            registered: false,
            taken: false,
        }
    }

    /// The task.
    pub fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Asks for the task's future to be dropped; awaiting the handle tells when it is.
    pub fn abort(&self) {
        self.task.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Lets the task go on by itself.
    pub fn detach(self) {}
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Aborted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(
            !self.taken,
            "a join handle is polled after it gave the output"
        );
        self.registered = true;
        // SAFETY: the handle holds the claim, by its constructor.
        let output = core::task::ready!(unsafe { self.task.poll_join(self.read, cx) });
        self.taken = true;
        Poll::Ready(output.ok_or(Aborted))
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // SAFETY: the handle is gone after this.
        let task = unsafe { ManuallyDrop::take(&mut self.task) };
        // SAFETY: the claim is the handle's and ends with it.
        unsafe { task.unjoin(self.registered) };
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinHandle").field(&self.task).finish()
    }
}
