//! In-kernel tests: live page tables, guard pages, TLBs of other CPUs.

use super::space::{AddressSpace, Backing, Limits, MapFlags, MapRequest, Prot};
use super::vmalloc::{self, KernelStack, STACK_SIZE};
use super::{PAGE_SIZE, frame, page_alloc};
use crate::arch::{self, smp, uaccess};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::*};
use executor::cpu;
use test_macros::kernel_test;

const RW: Prot = Prot::READ.union(Prot::WRITE);
const PAGE: u64 = PAGE_SIZE as u64;

fn anon(space: &AddressSpace, pages: u64) -> u64 {
    let request = MapRequest {
        low: false,
        addr: 0,
        len: pages * PAGE,
        prot: RW,
        flags: MapFlags::PRIVATE,
        backing: Backing::Anon,
    };
    space.mmap(request).expect("an empty space has room")
}

/// Runs `f` with the space loaded.
fn with_loaded<R>(space: &AddressSpace, f: impl FnOnce() -> R) -> R {
    let _stay = cpu::preempt_disable();
    space.activate();
    let result = f();
    arch::load_kernel_page_table();
    space.deactivate();
    result
}

/// Whether all of `bytes` could be written.
fn write(addr: u64, bytes: &[u8]) -> bool {
    uaccess::copy_to_user(addr, bytes) == 0
}

fn read(addr: u64) -> Option<u8> {
    let mut byte = [0];
    (uaccess::copy_from_user(&mut byte, addr) == 0).then_some(byte[0])
}

#[kernel_test]
fn stacks_have_a_guard_page_and_are_writable_to_the_end() {
    let stacks: Vec<_> = (0..20)
        .map(|_| KernelStack::new().expect("memory is plenty"))
        .collect();
    for stack in &stacks {
        assert_eq!(stack.top() - stack.bottom(), STACK_SIZE);
        assert_eq!(
            vmalloc::frame_of(stack.bottom() - PAGE_SIZE),
            None,
            "the guard is mapped"
        );
        for page in (stack.bottom()..stack.top()).step_by(PAGE_SIZE) {
            assert!(vmalloc::frame_of(page).is_some());
        }
        fill(stack.bottom(), STACK_SIZE, 0x5a);
    }
}

#[expect(unsafe_code, reason = "writes memory of its own")]
fn fill(start: usize, len: usize, byte: u8) {
    // SAFETY: the callers own these bytes and nobody looks at them.
    unsafe { core::ptr::write_bytes(start as *mut u8, byte, len) };
}

#[kernel_test]
fn the_heap_gives_large_blocks_and_takes_them_back() {
    let before = page_alloc::stats().free;
    for round in 0..3u8 {
        let blocks: Vec<Vec<u8>> = [3000, 5000, 300 << 10, 5 << 20]
            .map(|len| alloc::vec![round; len])
            .into();
        for block in &blocks {
            assert!(block.iter().all(|byte| *byte == round));
        }
    }
    let after = page_alloc::stats().free;
    // Page tables of the vmalloc area and spare slabs stay.
    assert!(
        before - after < 64,
        "{before} frames free before, {after} after"
    );
}

#[kernel_test]
fn a_loaded_space_shows_what_was_written_into_it() {
    let free = page_alloc::stats().free;
    let space = AddressSpace::new(Limits::DEFAULT).expect("memory is plenty");
    let at = anon(&space, 3);
    with_loaded(&space, || {
        assert!(!write(at, b"x"), "nothing is present yet");
    });
    space
        .fault_in(at, 2 * PAGE_SIZE, true)
        .expect("it is mapped for writing");
    with_loaded(&space, || {
        assert!(write(at + PAGE - 2, b"abcd"));
        assert_eq!(read(at + PAGE), Some(b'c'));
    });
    let child = space.fork().expect("memory is plenty");
    with_loaded(&child, || {
        assert_eq!(read(at + PAGE), Some(b'c'));
        assert!(!write(at + PAGE, b"z"), "shared, so not writable");
    });
    child
        .fault_in(at + PAGE, 1, true)
        .expect("it is mapped for writing");
    with_loaded(&child, || assert!(write(at + PAGE, b"z")));
    with_loaded(&space, || {
        assert_eq!(read(at + PAGE), Some(b'c'), "the parent has its own");
        space.munmap(at, 3 * PAGE).expect("it is mapped");
        assert_eq!(read(at + PAGE), None, "this CPU has forgotten it");
    });
    drop((child, space));
    let after = page_alloc::stats().free;
    assert!(
        free - after < 64,
        "{free} frames free before, {after} after"
    );
}

#[kernel_test(cpus = 2)]
async fn unmapping_reaches_the_other_cpu() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    const GONE: u32 = u32::MAX;
    assert!(smp::cpu_count() >= 2);
    for round in 1..=50u32 {
        SEEN.store(0, SeqCst);
        let space = AddressSpace::new(Limits::DEFAULT).expect("memory is plenty");
        let at = anon(&space, 1);
        space
            .fault_in(at, PAGE_SIZE, true)
            .expect("it is mapped for writing");
        with_loaded(&space, || assert!(write(at, &[7])));
        let theirs: Arc<AddressSpace> = space.clone();
        let reader = executor::spawn_on(1, "reader", async move {
            with_loaded(&theirs, || {
                while let Some(byte) = read(at) {
                    assert_eq!(byte, 7, "the frame has a new owner");
                    SEEN.fetch_add(1, SeqCst);
                }
            });
            SEEN.store(GONE, SeqCst);
        });
        while SEEN.load(SeqCst) < 3 {
            executor::yield_now().await;
        }
        space.munmap(at, PAGE).expect("it is mapped");
        // Had the other CPU kept its translation, it would read this.
        let taken: Vec<_> = (0..64)
            .filter_map(|_| frame::alloc_frames(0, frame::Gfp::KERNEL))
            .collect();
        taken
            .iter()
            .for_each(|pfn| fill(pfn.virt() as usize, PAGE_SIZE, round as u8 | 0x80));
        assert!(reader.await.is_ok());
        assert_eq!(SEEN.load(SeqCst), GONE);
        taken.into_iter().for_each(frame::put);
    }
}
