//! What a task costs that waits, and does nothing else.
#![cfg(not(any(loom, miri)))]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::{Future, pending},
    mem::size_of_val,
};

use executor::{Executor, Fifo, JoinHandle, NoHooks, spawn};

/// Counts the bytes that each thread has taken and not given back, so that no test sees another's.
struct Counting;

thread_local! {
    static IN_USE: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(unsafe_code, reason = "an allocator that counts")]
// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.set(IN_USE.get().wrapping_add(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // What another thread took may end here.
        IN_USE.set(IN_USE.get().wrapping_sub(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Waits for ever with `data` in hand.
async fn idle<const N: usize>(data: [u64; N]) -> u64 {
    pending::<()>().await;
    data[0]
}

const TASKS: usize = 1_000_000;

#[test]
fn a_million_idle_tasks_cost_at_most_128_bytes_each_beyond_their_futures() {
    let executor = Executor::new(Fifo::new());
    let future_len = size_of_val(&idle([0; 3]));
    let mut handles: Vec<JoinHandle<u64>> = Vec::with_capacity(TASKS);
    let before = IN_USE.get();
    handles.extend((0..TASKS as u64).map(|i| spawn("idle", idle([i; 3]))));
    executor.run_until_idle(&NoHooks);
    let each = (IN_USE.get() - before).div_ceil(TASKS);
    assert!(
        each <= future_len + 128,
        "{each} bytes for a future of {future_len}"
    );
    assert!(handles.iter().all(|handle| handle.task().polls() == 1));
    handles.iter().for_each(JoinHandle::abort);
    executor.run_until_idle(&NoHooks);
    assert!(handles.iter().all(JoinHandle::is_finished));
    handles.clear();
    executor.run_until_idle(&NoHooks);
    assert_eq!(IN_USE.get().abs_diff(before) / TASKS, 0, "all are freed");
}

#[test]
fn the_header_is_as_small_for_other_futures() {
    let executor = Executor::new(Fifo::new());
    fn cost<F: Future<Output = u64> + Send + 'static>(future: F) -> (usize, usize) {
        let (len, before) = (size_of_val(&future), IN_USE.get());
        spawn("idle", future).detach();
        (len, IN_USE.get() - before)
    }
    for (len, all) in [
        cost(idle([1; 1])),
        cost(idle([1; 100])),
        cost(pending::<u64>()),
    ] {
        assert!(all <= len.max(8) + 128, "{all} bytes for a future of {len}");
    }
    executor.run_until_idle(&NoHooks);
}
