//! In-kernel tests of calls that take long: they make way on the way, also where kernel code is preempted only where it asks.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use executor::time::Instant;
use test_macros::kernel_test;

use super::suspend::Mode;
use super::suspend_ktests::{InMode, Urgent, wake_soon};
use crate::mm::{AddressSpace, Backing, Limits, MapFlags, MapRequest, Prot};

const LEN: u64 = 48 << 20;

/// Asserts that a task which an interrupt wakes 200 us after the begin of `work` has run before it is done.
///
/// On a busy host the interrupt may come late, behind the last point of the work or even behind its end, which says
/// nothing of the work: it is done again with what `prepare` makes anew.
async fn makes_way<T, R>(what: &str, prepare: impl Fn() -> T, work: impl Fn(T) -> R) {
    // The end of a lock is no point there, so that only points between parts count.
    let _mode = InMode::new(Mode::Voluntary);
    let start = Instant::now();
    loop {
        let prepared = prepare();
        let urgent = Urgent::new().await;
        let fired = Arc::new(AtomicBool::new(false));
        let timer = wake_soon(&urgent, &fired);
        // What is left ends later: that may make way, too.
        let rest = work(prepared);
        let (fired, made_way) = (fired.load(Ordering::Acquire), urgent.has_run());
        assert!(urgent.task.await.is_ok());
        drop((timer, rest));
        if made_way {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{what} did not make way; interrupted: {fired}"
        );
    }
}

/// A space with an anonymous mapping.
fn mapped() -> (Arc<AddressSpace>, u64) {
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
    (space, at)
}

fn populate(space: &AddressSpace, at: u64) {
    space
        .fault_in(at, LEN as usize, true)
        .expect("there is memory");
}

/// The same, all there.
fn filled() -> (Arc<AddressSpace>, u64) {
    let (space, at) = mapped();
    populate(&space, at);
    (space, at)
}

#[kernel_test]
async fn long_calls_on_memory_make_way_on_the_way() {
    const DONTNEED: i32 = 4;
    makes_way("munmap", filled, |(space, at)| {
        space.munmap(at, LEN).expect("it is mapped");
        space
    })
    .await;
    makes_way("madvise", filled, |(space, at)| {
        space.madvise(at, LEN, DONTNEED).expect("it is mapped");
        space
    })
    .await;
    makes_way("populating", mapped, |(space, at)| {
        populate(&space, at);
        space
    })
    .await;
    makes_way("the end of a space", filled, drop).await;
}
