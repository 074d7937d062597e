//! A run queue as a list: tasks in order, linked through their headers.

use core::{
    fmt,
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

use super::{header::Header, runnable::Runnable, task_ref::TaskRef};
use crate::policy::Policy;

/// The tasks of a run queue in order, linked through their headers: no allocation, ever.
pub struct RunList<P: Policy> {
    head: *mut Header,
    tail: *mut Header,
    len: usize,
    _policy: PhantomData<*mut P>,
}

// SAFETY: the list owns its tokens; executors move to their CPU before they run.
unsafe impl<P: Policy> Send for RunList<P> {}

impl<P: Policy> RunList<P> {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
            len: 0,
            _policy: PhantomData,
        }
    }

    /// How many tasks are in the list.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a task last.
    #[inline]
    pub fn push_back(&mut self, runnable: Runnable<P>) {
        let task = runnable.into_raw();
        // SAFETY: a listed task lives, and its link is the list's.
        unsafe { task.as_ref() }
            .next
            .store(ptr::null_mut(), Ordering::Relaxed);
        match NonNull::new(self.tail) {
            // SAFETY: as above, of the last one.
            Some(tail) => unsafe { tail.as_ref() }
                .next
                .store(task.as_ptr(), Ordering::Relaxed),
            None => self.head = task.as_ptr(),
        }
        self.tail = task.as_ptr();
        self.len += 1;
    }

    /// Puts a task first.
    pub fn push_front(&mut self, runnable: Runnable<P>) {
        let task = runnable.into_raw();
        // SAFETY: a listed task lives, and its link is the list's.
        unsafe { task.as_ref() }
            .next
            .store(self.head, Ordering::Relaxed);
        if self.tail.is_null() {
            self.tail = task.as_ptr();
        }
        self.head = task.as_ptr();
        self.len += 1;
    }

    /// Takes the first task.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Runnable<P>> {
        let task = NonNull::new(self.head)?;
        // SAFETY: a listed task lives, and its link is the list's.
        self.head = unsafe { task.as_ref() }.next.load(Ordering::Relaxed);
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        self.len -= 1;
        // SAFETY: the list held this token.
        Some(unsafe { Runnable::new(task) })
    }

    /// Takes `task` out, if it is in the list. Linear in the list's length.
    pub fn remove(&mut self, task: &TaskRef) -> Option<Runnable<P>> {
        let mut found = None;
        for _ in 0..self.len {
            let runnable = self.pop_front()?;
            if runnable.is(task) {
                found = Some(runnable)
            } else {
                self.push_back(runnable)
            }
        }
        found
    }
}

impl<P: Policy> Default for RunList<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Policy> Drop for RunList<P> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

impl<P: Policy> fmt::Debug for RunList<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunList").field("len", &self.len).finish()
    }
}
