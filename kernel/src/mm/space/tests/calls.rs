use super::*;
use fs::Errno;

fn fixed(space: &AddressSpace, addr: u64, pages: u64, flags: MapFlags) -> Result<u64> {
    space.mmap(MapRequest {
        low: false,
        addr,
        ..request(pages, RW, MapFlags::PRIVATE | flags)
    })
}

#[test]
fn mmap_refuses_as_linux_does() {
    let space = space();
    let map = |addr, len, flags| {
        space.mmap(MapRequest {
            low: false,
            addr,
            len,
            ..request(1, RW, flags)
        })
    };
    let private = MapFlags::PRIVATE;
    assert_eq!(map(0, 0, private), Err(Errno::EINVAL));
    assert_eq!(map(0, u64::MAX, private), Err(Errno::ENOMEM));
    assert_eq!(map(0, 1 << 48, private), Err(Errno::ENOMEM));
    assert_eq!(map(0, PAGE, MapFlags::empty()), Err(Errno::EINVAL));
    assert_eq!(
        map(0x10_0001, PAGE, private | MapFlags::FIXED),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        map(TASK_SIZE, PAGE, private | MapFlags::FIXED),
        Err(Errno::ENOMEM)
    );
    assert_eq!(map(0, PAGE, private | MapFlags::FIXED), Err(Errno::EPERM));
    assert_eq!(
        map(0, PAGE, MapFlags::SHARED | MapFlags::GROWSDOWN),
        Err(Errno::EINVAL)
    );
    let too_much = crate::mm::phys::host::MEMORY as u64 + PAGE;
    assert_eq!(
        map(0, too_much, private),
        Err(Errno::ENOMEM),
        "more than there is"
    );
    assert!(map(0, too_much, private | MapFlags::NORESERVE).is_ok());
}

#[test]
fn mmap_goes_down_from_the_base_and_takes_hints() {
    let space = space();
    let first = anon(&space, 4);
    let second = anon(&space, 4);
    assert_eq!(second, first - 4 * PAGE);
    assert_eq!(maps(&space).len(), 1, "neighbours are one");
    space.munmap(first, PAGE).unwrap();
    assert_eq!(anon(&space, 2), second - 2 * PAGE, "the hole is too small");
    assert_eq!(anon(&space, 1), first, "the hole fits");
    assert_eq!(
        fixed(&space, 0x123_4567, 1, MapFlags::empty()),
        Ok(0x123_4000)
    );
    assert_ne!(
        fixed(&space, 0x123_4000, 1, MapFlags::empty()),
        Ok(0x123_4000)
    );
    let low = fixed(&space, 0, 1, MapFlags::BIT32).unwrap();
    assert!((0x4000_0000..0x8000_0000).contains(&low));
}

#[test]
fn fixed_replaces_unless_told_not_to() {
    let space = space();
    let at = anon_at(&space, 0x10_0000, 3, RW);
    store(&space, at + PAGE, 1).unwrap();
    assert_eq!(
        fixed(&space, at + PAGE, 1, MapFlags::FIXED_NOREPLACE),
        Err(Errno::EEXIST)
    );
    assert_eq!(load(&space, at + PAGE), Ok(1));
    assert_eq!(fixed(&space, at + PAGE, 1, MapFlags::FIXED), Ok(at + PAGE));
    assert_eq!(load(&space, at + PAGE), Ok(0));
    assert_eq!(space.stats().total, 3);
    assert_eq!(
        fixed(&space, at + 3 * PAGE, 1, MapFlags::FIXED_NOREPLACE),
        Ok(at + 3 * PAGE)
    );
}

#[test]
fn munmap_splits_and_frees() {
    let space = space();
    let at = anon_at(&space, 0x10_0000, 5, RW);
    space.munmap(at + PAGE, PAGE).unwrap();
    space.munmap(at + 3 * PAGE, 10 * PAGE).unwrap();
    let page = at / PAGE;
    assert_eq!(maps(&space), [(page, page + 1, 3), (page + 2, page + 3, 3)]);
    assert_eq!(space.munmap(at, 0), Err(Errno::EINVAL));
    assert_eq!(space.munmap(at + 1, PAGE), Err(Errno::EINVAL));
    assert_eq!(space.munmap(at, u64::MAX), Err(Errno::EINVAL));
    assert_eq!(
        space.munmap(0x7000_0000, PAGE),
        Ok(()),
        "nothing there is no error"
    );
}

#[test]
fn limits_hold() {
    init_host();
    let limits = Limits {
        address_space: 10 * PAGE,
        data: 5 * PAGE,
        ..ENOUGH
    };
    let space = AddressSpace::new(limits).unwrap();
    assert_eq!(
        space.mmap(request(6, RW, MapFlags::PRIVATE)),
        Err(Errno::ENOMEM),
        "data"
    );
    space
        .mmap(request(6, Prot::READ, MapFlags::PRIVATE))
        .unwrap();
    let at = anon(&space, 4);
    assert_eq!(
        space.mmap(request(1, Prot::READ, MapFlags::PRIVATE)),
        Err(Errno::ENOMEM),
        "all"
    );
    anon_at(&space, at, 4, RW); // replaces, so it needs no more
    assert_eq!(
        space.mprotect(maps(&space)[0].0 * PAGE, 6 * PAGE, RW),
        Err(Errno::ENOMEM)
    );
}

#[test]
fn mprotect_changes_what_may_be_done() {
    let space = space();
    let at = anon_at(&space, 0x10_0000, 4, RW);
    store(&space, at + PAGE, 5).unwrap();
    space.mprotect(at + PAGE, PAGE, Prot::empty()).unwrap();
    assert_eq!(load(&space, at + PAGE), Err(Fault::forbidden(at + PAGE)));
    assert_eq!(space.stats().rss_anon, 1, "the page is still there");
    space.mprotect(at + PAGE, PAGE, Prot::READ).unwrap();
    assert_eq!(load(&space, at + PAGE), Ok(5));
    assert_eq!(
        store(&space, at + PAGE, 6),
        Err(Fault::forbidden(at + PAGE))
    );
    assert_eq!(maps(&space).len(), 3);
    space.mprotect(at, 4 * PAGE, RW).unwrap();
    assert_eq!(maps(&space).len(), 1);
    store(&space, at + PAGE, 6).unwrap();
    assert_eq!(
        space.mprotect(at + 2 * PAGE, 4 * PAGE, Prot::READ),
        Err(Errno::ENOMEM)
    );
    assert_eq!(
        store(&space, at + 2 * PAGE, 6),
        Err(Fault::forbidden(at + 2 * PAGE)),
        "as far as it went"
    );
    assert_eq!(space.mprotect(at + 1, PAGE, RW), Err(Errno::EINVAL));
    assert_eq!(
        space.mprotect(at, PAGE, Prot::GROWSDOWN | Prot::READ),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        space.mprotect(at, PAGE, Prot::from_bits_retain(0x100)),
        Err(Errno::EINVAL)
    );
    assert_eq!(space.mprotect(at, 0, RW), Ok(()));
}

#[test]
fn mprotect_does_not_open_a_way_into_shared_frames() {
    let parent = space();
    let at = anon(&parent, 1);
    store(&parent, at, 1).unwrap();
    let child = parent.fork().unwrap();
    child.mprotect(at, PAGE, Prot::READ).unwrap();
    child.mprotect(at, PAGE, RW).unwrap();
    store(&child, at, 2).unwrap();
    assert_eq!(load(&parent, at), Ok(1));
    let file = file(1);
    let map = map_file(&parent, &file, 0, 1, Prot::READ, MapFlags::PRIVATE);
    load(&parent, map).unwrap();
    parent.mprotect(map, PAGE, RW).unwrap();
    store(&parent, map, 9).unwrap();
    let other = map_file(&parent, &file, 0, 1, Prot::READ, MapFlags::PRIVATE);
    assert_eq!(load(&parent, other), Ok(1));
}

#[test]
fn the_heap_grows_and_shrinks() {
    let space = space();
    space.set_brk_start(0x50_0010);
    assert_eq!(space.brk(0), 0x50_0010);
    assert_eq!(space.brk(0x50_3000), 0x50_3000);
    store(&space, 0x50_2fff, 1).unwrap();
    assert_eq!(space.brk(0x50_0000), 0x50_3000, "not below the start");
    assert_eq!(space.brk(0x50_1001), 0x50_1001);
    assert_eq!(load(&space, 0x50_2fff), Err(Fault::unmapped(0x50_2fff)));
    anon_at(&space, 0x50_8000, 1, RW);
    assert_eq!(space.brk(0x50_8000), 0x50_1001, "a page stays free");
    assert_eq!(space.brk(0x50_7000), 0x50_7000);
    assert_eq!(space.brk(u64::MAX), 0x50_7000);
}

#[test]
fn mremap_moves_contents() {
    let space = space();
    let at = anon_at(&space, 0x10_0000, 2, RW);
    store(&space, at, 1).unwrap();
    store(&space, at + PAGE, 2).unwrap();
    assert_eq!(
        space.mremap(at, 2 * PAGE, 4 * PAGE, 0, 0),
        Ok(at),
        "in place"
    );
    anon_at(&space, at + 4 * PAGE, 1, Prot::READ);
    assert_eq!(
        space.mremap(at, 4 * PAGE, 5 * PAGE, 0, 0),
        Err(Errno::ENOMEM)
    );
    let to = space.mremap(at, 4 * PAGE, 5 * PAGE, 1, 0).unwrap();
    assert_ne!(to, at);
    assert_eq!(
        (
            load(&space, to),
            load(&space, to + PAGE),
            load(&space, to + 4 * PAGE)
        ),
        (Ok(1), Ok(2), Ok(0))
    );
    assert_eq!(load(&space, at), Err(Fault::unmapped(at)));
    assert_eq!(space.mremap(to, 5 * PAGE, PAGE, 0, 0), Ok(to), "smaller");
    assert_eq!(space.stats().total, 2);
    assert_eq!(
        space.mremap(to, PAGE, PAGE, 3, at),
        Ok(at),
        "to a fixed place"
    );
    assert_eq!(load(&space, at), Ok(1));
    assert_eq!(
        space
            .mremap(at, PAGE, PAGE, 5, 0)
            .map(|to| load(&space, to)),
        Ok(Ok(1)),
        "leaving the old"
    );
    assert_eq!(load(&space, at), Ok(0));
}

#[test]
fn mremap_refuses_as_linux_does() {
    let space = space();
    let at = anon_at(&space, 0x10_0000, 2, RW);
    assert_eq!(space.mremap(at, PAGE, 0, 0, 0), Err(Errno::EINVAL));
    assert_eq!(space.mremap(at + 1, PAGE, PAGE, 0, 0), Err(Errno::EINVAL));
    assert_eq!(space.mremap(at, PAGE, PAGE, 8, 0), Err(Errno::EINVAL));
    assert_eq!(
        space.mremap(at, PAGE, PAGE, 2, 0x20_0000),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        space.mremap(at, 2 * PAGE, 2 * PAGE, 3, at + PAGE),
        Err(Errno::EINVAL),
        "overlap"
    );
    assert_eq!(
        space.mremap(0x70_0000, PAGE, 2 * PAGE, 1, 0),
        Err(Errno::EFAULT)
    );
    assert_eq!(
        space.mremap(at, 3 * PAGE, 4 * PAGE, 1, 0),
        Err(Errno::EFAULT),
        "beyond the map"
    );
    assert_eq!(
        space.mremap(at, 0, PAGE, 1, 0),
        Err(Errno::EINVAL),
        "only shared memory is doubled"
    );
}

#[test]
fn dontneed_brings_back_zeros_or_the_file() {
    let space = space();
    let at = anon(&space, 1);
    let map = map_file(&space, &file(1), 0, 1, RW, MapFlags::PRIVATE);
    for at in [at, map] {
        store(&space, at, 9).unwrap();
        space.madvise(at, PAGE, 4).unwrap();
    }
    assert_eq!((load(&space, at), load(&space, map)), (Ok(0), Ok(1)));
    assert_eq!(space.madvise(at, PAGE, 77), Err(Errno::EINVAL));
    assert_eq!(space.madvise(at + 1, PAGE, 4), Err(Errno::EINVAL));
    assert_eq!(space.madvise(0x10_0000, PAGE, 4), Err(Errno::ENOMEM));
    assert_eq!(
        space.madvise(map, PAGE, 8),
        Err(Errno::EINVAL),
        "MADV_FREE is for anonymous memory"
    );
    space.mlock(at, PAGE, false).unwrap();
    assert_eq!(space.madvise(at, PAGE, 4), Err(Errno::EINVAL));
}

#[test]
fn mincore_and_msync_look_at_what_is_mapped() {
    let space = space();
    let at = anon_at(&space, 0x10_0000, 4, RW);
    store(&space, at + PAGE, 1).unwrap();
    let mut vector = Vec::new();
    let mut put = |part: &[u8]| {
        vector.extend_from_slice(part);
        Ok(())
    };
    space.mincore(at, 3 * PAGE + 1, &mut put).unwrap();
    assert_eq!(vector, [0, 1, 0, 0]);
    assert_eq!(
        space.mincore(at, 5 * PAGE, &mut |_| Ok(())),
        Err(Errno::ENOMEM)
    );
    assert_eq!(
        space.mincore(at + 1, PAGE, &mut |_| Ok(())),
        Err(Errno::EINVAL)
    );
    assert_eq!(space.msync(at, 4 * PAGE, 4), Ok(()));
    assert_eq!(space.msync(at, 5 * PAGE, 4), Err(Errno::ENOMEM));
    assert_eq!(space.msync(at, PAGE, 5), Err(Errno::EINVAL));
    assert_eq!(space.msync(at, PAGE, 8), Err(Errno::EINVAL));
    assert_eq!(space.msync(at, 0, 4), Ok(()));
}

#[test]
fn locked_memory_is_present_counted_and_limited() {
    init_host();
    let space = AddressSpace::new(Limits {
        memlock: 3 * PAGE,
        ..ENOUGH
    })
    .unwrap();
    let at = anon(&space, 8);
    space.mlock(at + 1, PAGE, false).unwrap();
    assert_eq!((space.stats().locked, space.stats().rss_anon), (2, 2));
    space.mlock(at, 2 * PAGE, false).unwrap();
    assert_eq!(space.stats().locked, 2, "not counted twice");
    assert_eq!(space.mlock(at, 4 * PAGE, false), Err(Errno::ENOMEM));
    assert_eq!(space.mlock(0x10_0000, PAGE, false), Err(Errno::ENOMEM));
    space.munlock(at, PAGE).unwrap();
    assert_eq!(space.stats().locked, 1);
    let locked = MapFlags::PRIVATE | MapFlags::LOCKED;
    assert_eq!(space.mmap(request(3, RW, locked)), Err(Errno::EAGAIN));
    space.mmap(request(2, RW, locked)).unwrap();
    assert_eq!(space.stats().locked, 3);
    space.munlockall();
    assert_eq!(space.stats().locked, 0);
    assert_eq!(space.mlockall(8), Err(Errno::EINVAL));
    space.set_limits(Limits {
        memlock: 0,
        ..ENOUGH
    });
    assert_eq!(space.mlock(at, PAGE, false), Err(Errno::EPERM));
}

#[test]
fn lengths_near_the_end_of_the_numbers_are_refused() {
    let space = space();
    let at = anon_at(&space, 0x10_0000, 2, RW);
    let huge = 0u64.wrapping_sub(PAGE);
    assert_eq!(space.mremap(at, 2 * PAGE, huge, 1, 0), Err(Errno::ENOMEM));
    assert_eq!(space.mremap(at, huge, PAGE, 1, 0), Err(Errno::EINVAL));
    let (old, new) = (huge, huge - PAGE);
    assert_eq!(space.mremap(at, old, new, 1, 0), Err(Errno::EINVAL));
    assert_eq!(space.mremap(at, old, new, 5, 0), Err(Errno::EINVAL));
    assert_eq!(
        space.mremap(at, huge, huge, 3, 0x4000_0000),
        Err(Errno::EINVAL)
    );
    assert_eq!(space.mprotect(at, huge, RW), Err(Errno::ENOMEM));
    assert_eq!(space.madvise(at, huge, 4), Err(Errno::EINVAL));
    assert_eq!(space.msync(at, huge, 4), Err(Errno::ENOMEM));
    assert_eq!(space.mlock(at, huge, false), Err(Errno::ENOMEM));
    assert_eq!(space.mincore(at, huge, &mut |_| Ok(())), Err(Errno::ENOMEM));
    assert_eq!(space.munmap(at, huge), Err(Errno::EINVAL));
    assert_eq!(space.brk(huge), space.brk(0));
    assert_eq!(maps(&space).len(), 1);
    // Nothing to make present, however long it is.
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::POPULATE;
    space.mmap(request(1 << 33, Prot::empty(), flags)).unwrap();
}

#[test]
fn a_huge_sparse_map_moves_at_once() {
    let space = space();
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    let pages = 1 << 33; // 32 TiB
    let at = space.mmap(request(pages, RW, flags)).unwrap();
    let touched = [0, 511, 512, 1 << 20, pages - 1].map(|page| page * PAGE);
    for (i, offset) in touched.into_iter().enumerate() {
        store(&space, at + offset, i as u8 + 1).unwrap();
    }
    let to = 0x1000_5000_3000; // not aligned to a table
    let moved = space.mremap(at, pages * PAGE, pages * PAGE, 3, to);
    assert_eq!(moved, Ok(to));
    for (i, offset) in touched.into_iter().enumerate() {
        assert_eq!(load(&space, to + offset), Ok(i as u8 + 1));
    }
    assert_eq!(load(&space, at), Err(Fault::unmapped(at)));
    space.munmap(to, pages * PAGE).unwrap();
    assert_eq!(space.stats().page_tables, 1);
}
