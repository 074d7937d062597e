//! What happens to tasks, told to whoever asks: with the feature `trace`; without it there is not an instruction of it.
//!
//! ```
//! use executor::{platform::host, spawn, trace::{self, Traced, Tracer}};
//! use std::sync::atomic::{AtomicU32, Ordering};
//!
//! #[derive(Default)]
//! struct CountsPolls(AtomicU32);
//!
//! impl Tracer for CountsPolls {
//!     fn poll_begins(&self, task: Traced<'_>) {
//!         if task.name() == "counted" {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! static POLLS: CountsPolls = CountsPolls(AtomicU32::new(0));
//! static TRACER: &dyn Tracer = &POLLS;
//!
//! trace::set(Some(&TRACER));
//! host::block_on(async {
//!     spawn("counted", executor::yield_now()).await.unwrap();
//! });
//! trace::set(None);
//! assert_eq!(POLLS.0.load(Ordering::Relaxed), 2);
//! ```
#![allow(
    unsafe_code,
    reason = "the tracer is published through a pointer, and told of headers"
)]

use core::{
    fmt, ptr,
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::raw::Header;

/// Is told what happens to tasks.
///
/// # Context
/// As said of each; none may wait, allocate, or wake.
pub trait Tracer: Sync {
    /// The task was made, and is queued for the first time. Context: task.
    fn spawned(&self, task: Traced<'_>) {
        let _ = task;
    }

    /// Somebody has woken the task, which may be scheduled already. Context: any.
    fn woken(&self, task: Traced<'_>) {
        let _ = task;
    }

    /// The task is polled, or its future dropped since it was aborted. Context: its level; the poll may be suspended, and go
    /// on elsewhere, before it ends.
    fn poll_begins(&self, task: Traced<'_>) {
        let _ = task;
    }

    /// The poll has ended. Context: as before.
    fn poll_ends(&self, task: Traced<'_>) {
        let _ = task;
    }

    /// The task's future is gone; who joins it is woken next. Context: as before.
    fn ended(&self, task: Traced<'_>) {
        let _ = task;
    }
}

/// A task that a [`Tracer`] is told of.
#[derive(Clone, Copy)]
pub struct Traced<'a>(&'a Header);

impl Traced<'_> {
    /// The name given when it was spawned.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// A number that no other live task has.
    pub fn id(&self) -> usize {
        ptr::from_ref(self.0).addr()
    }

    /// The CPU whose executor polls it.
    pub fn cpu(&self) -> u32 {
        self.0.cpu()
    }
}

impl fmt::Debug for Traced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traced").field(&self.name()).finish()
    }
}

static TRACER: AtomicPtr<&'static dyn Tracer> = AtomicPtr::new(ptr::null_mut());

/// Has `tracer`, or nobody, be told from now on. Who was told before may still be told of what happens at this moment.
///
/// # Context
/// Any.
pub fn set(tracer: Option<&'static &'static dyn Tracer>) {
    let ptr = tracer.map_or(ptr::null(), ptr::from_ref);
    TRACER.store(ptr.cast_mut(), Ordering::Release);
}

/// What is told.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Spawned,
    Woken,
    PollBegins,
    PollEnds,
    Ended,
}

/// Tells the tracer, if there is one.
///
/// # Safety
/// The task lives for the call.
pub(crate) unsafe fn tell(event: Event, task: NonNull<Header>) {
    // SAFETY: null, or stored by `set` from a shared reference that lives for ever.
    let Some(tracer) = (unsafe { TRACER.load(Ordering::Acquire).as_ref() }) else {
        return;
    };
    // SAFETY: by the contract.
    let task = Traced(unsafe { task.as_ref() });
    match event {
        Event::Spawned => tracer.spawned(task),
        Event::Woken => tracer.woken(task),
        Event::PollBegins => tracer.poll_begins(task),
        Event::PollEnds => tracer.poll_ends(task),
        Event::Ended => tracer.ended(task),
    }
}
