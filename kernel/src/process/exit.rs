//! The end of a thread.

use alloc::sync::Arc;

use super::Thread;

/// Ends `thread`: the last thing its future does.
///
/// # Context
/// The thread's own future; nothing held.
pub async fn finish(thread: &Arc<Thread>) {
    if let Some(task) = thread.task() {
        task.set_tag(core::ptr::null_mut());
    }
    crate::task::leave_space();
}
