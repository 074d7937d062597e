//! What a task costs that waits, and does nothing else.
#![cfg(not(any(loom, miri)))]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    future::{Future, pending},
    mem::size_of_val,
    sync::atomic::{AtomicUsize, Ordering},
};

use executor::{Executor, Fifo, JoinHandle, NoHooks, spawn};

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(unsafe_code, reason = "an allocator that counts")]
// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
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
    let before = IN_USE.load(Ordering::Relaxed);
    handles.extend((0..TASKS as u64).map(|i| spawn("idle", idle([i; 3]))));
    executor.run_until_idle(&NoHooks);
    let each = (IN_USE.load(Ordering::Relaxed) - before).div_ceil(TASKS);
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
    assert_eq!(
        IN_USE.load(Ordering::Relaxed).abs_diff(before) / TASKS,
        0,
        "all are freed"
    );
}

#[test]
fn the_header_is_as_small_for_other_futures() {
    let executor = Executor::new(Fifo::new());
    fn cost<F: Future<Output = u64> + Send + 'static>(future: F) -> (usize, usize) {
        let (len, before) = (size_of_val(&future), IN_USE.load(Ordering::Relaxed));
        spawn("idle", future).detach();
        (len, IN_USE.load(Ordering::Relaxed) - before)
    }
    // The other test allocates at the same time, unless they run one after the other: so the least of many is looked at.
    let least = |f: fn() -> (usize, usize)| (0..100).map(|_| f()).min_by_key(|(_, all)| *all);
    for (len, all) in [
        least(|| cost(idle([1; 1]))),
        least(|| cost(idle([1; 100]))),
        least(|| cost(pending::<u64>())),
    ]
    .into_iter()
    .flatten()
    {
        assert!(all <= len.max(8) + 128, "{all} bytes for a future of {len}");
    }
    executor.run_until_idle(&NoHooks);
}
