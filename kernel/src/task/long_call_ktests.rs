//! In-kernel tests of calls that take long: they make way on the way, also where kernel code is preempted only where it asks.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use test_macros::kernel_test;

use super::suspend::Mode;
use super::suspend_ktests::{InMode, Urgent, wake_soon};
use crate::mm::{AddressSpace, Backing, Limits, MapFlags, MapRequest, Prot};

const LEN: u64 = 48 << 20;

/// Does `work`, and asserts that a task which an interrupt wakes after 200 us has run before it is done.
async fn makes_way(what: &str, work: impl FnOnce()) {
    // The end of a lock is no point there, so that only points between parts count.
    let _mode = InMode::new(Mode::Voluntary);
    let urgent = Urgent::new().await;
    let fired = Arc::new(AtomicBool::new(false));
    let timer = wake_soon(&urgent, &fired);
    work();
    assert!(fired.load(Ordering::Acquire), "{what} took no time");
    assert!(urgent.has_run(), "{what} did not make way");
    assert!(urgent.task.await.is_ok());
    drop(timer);
}

/// A space with an anonymous mapping, all there.
fn filled() -> (Arc<AddressSpace>, u64) {
    let space = AddressSpace::new(Limits::DEFAULT).expect("there is memory");
    let at = space
        .mmap(MapRequest {
            low: false,
            addr: 0,
            len: LEN,
            prot: Prot::READ.union(Prot::WRITE),
            flags: MapFlags::PRIVATE,
            backing: Backing::Anon,
        })
        .expect("an empty space has room");
    space
        .fault_in(at, LEN as usize, true)
        .expect("there is memory");
    (space, at)
}

#[kernel_test]
async fn long_calls_on_memory_make_way_on_the_way() {
    const DONTNEED: i32 = 4;
    let (space, at) = filled();
    makes_way("munmap", || space.munmap(at, LEN).expect("it is mapped")).await;
    let (space, at) = filled();
    makes_way("madvise", || {
        space.madvise(at, LEN, DONTNEED).expect("it is mapped")
    })
    .await;
    makes_way("populating", || {
        space
            .fault_in(at, LEN as usize, true)
            .expect("there is memory")
    })
    .await;
    makes_way("the end of a space", || drop(space)).await;
}
