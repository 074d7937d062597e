use super::*;

#[test]
fn untouched_memory_reads_as_zeros_and_keeps_what_is_written() {
    let space = space();
    let at = anon(&space, 3);
    assert_eq!(load(&space, at), Ok(0));
    assert_eq!(space.stats().rss(), 0, "the zero frame is nobody's");
    store(&space, at + 1, 7).unwrap();
    assert_eq!((load(&space, at), load(&space, at + 1)), (Ok(0), Ok(7)));
    assert_eq!(space.stats().rss_anon, 1);
    assert_eq!(load(&space, at + PAGE), Ok(0));
    space.munmap(at, 3 * PAGE).unwrap();
    assert_eq!(space.stats().rss(), 0);
    assert_eq!(space.stats().page_tables, 1);
}

#[test]
fn faults_say_why_and_where() {
    let space = space();
    let at = anon_at(&space, 0x10_0000, 1, Prot::READ);
    assert_eq!(store(&space, at + 5, 1), Err(Fault::forbidden(at + 5)));
    assert_eq!(
        load(&space, at + PAGE + 9),
        Err(Fault::unmapped(at + PAGE + 9))
    );
    assert_eq!(load(&space, at - 1), Err(Fault::unmapped(at - 1)));
    assert_eq!(
        load(&space, 0xffff_8880_0000_0000),
        Err(Fault::unmapped(0xffff_8880_0000_0000))
    );
    let none = anon_at(&space, 0x20_0000, 1, Prot::empty());
    assert_eq!(load(&space, none), Err(Fault::forbidden(none)));
    let fetch = Access {
        exec: true,
        user: true,
        write: false,
    };
    assert_eq!(space.handle_fault(at, fetch), Err(Fault::forbidden(at)));
    assert_eq!(Fault::forbidden(0).code, 2);
    assert_eq!(Fault::unmapped(0).code, 1);
}

#[test]
fn a_private_file_map_copies_what_is_written() {
    let space = space();
    let file = file(3);
    let at = map_file(&space, &file, 1, 2, RW, MapFlags::PRIVATE);
    assert_eq!(load(&space, at), Ok(2));
    store(&space, at, 99).unwrap();
    store(&space, at + PAGE, 98).unwrap();
    assert_eq!((load(&space, at), load(&space, at + 1)), (Ok(99), Ok(2)));
    let mut byte = [0];
    file.get_page(1).unwrap().read_at(0, &mut byte);
    assert_eq!(byte, [2], "the file is as it was");
    assert_eq!(space.stats().rss_anon, 2);
    assert_eq!(space.stats().rss_file, 0);
}

#[test]
fn a_shared_file_map_writes_the_file() {
    let (one, two) = (space(), space());
    let file = file(2);
    let a = map_file(&one, &file, 0, 2, RW, MapFlags::SHARED);
    let b = map_file(&two, &file, 1, 1, RW, MapFlags::SHARED);
    store(&one, a + PAGE + 3, 77).unwrap();
    assert_eq!(load(&two, b + 3), Ok(77));
    let mut byte = [0];
    file.get_page(1).unwrap().read_at(3, &mut byte);
    assert_eq!(byte, [77]);
}

#[test]
fn a_read_maps_the_pages_around_it_that_the_cache_has() {
    let space = space();
    let file = file(40);
    let at = map_file(&space, &file, 0, 40, Prot::READ, MapFlags::PRIVATE);
    load(&space, at + 20 * PAGE).unwrap();
    let mapped = space.stats().rss_file;
    assert!((8..=16).contains(&mapped), "{mapped} pages");
    for page in 0..40 {
        assert_eq!(load(&space, at + page * PAGE), Ok(page as u8 + 1));
    }
    assert_eq!(space.stats().rss_file, 40);
}

#[test]
fn behind_the_end_of_a_file_is_a_bus_error() {
    let space = space();
    let file = file(2);
    let at = map_file(&space, &file, 0, 4, RW, MapFlags::SHARED);
    let copy = map_file(&space, &file, 0, 4, RW, MapFlags::PRIVATE);
    for at in [at, copy] {
        assert_eq!(load(&space, at + PAGE), Ok(2));
        assert_eq!(
            load(&space, at + 2 * PAGE + 1),
            Err(Fault::beyond_file(at + 2 * PAGE + 1))
        );
        assert_eq!(
            store(&space, at + 3 * PAGE, 1),
            Err(Fault::beyond_file(at + 3 * PAGE))
        );
    }
    store(&space, copy + PAGE, 5).unwrap();
    file.truncate(PAGE).unwrap();
    for at in [at, copy] {
        assert_eq!(load(&space, at), Ok(1));
        assert_eq!(
            load(&space, at + PAGE),
            Err(Fault::beyond_file(at + PAGE)),
            "also its copies"
        );
    }
}

#[test]
fn a_stack_grows_to_its_limit_and_no_further() {
    init_host();
    let limits = Limits {
        stack: 16 * PAGE,
        ..ENOUGH
    };
    let space = AddressSpace::new(limits).unwrap();
    let top = 0x7000_0000;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::GROWSDOWN;
    space
        .mmap(MapRequest {
            low: false,
            addr: top - PAGE,
            ..request(1, RW, flags)
        })
        .unwrap();
    store(&space, top - 4 * PAGE - 8, 1).unwrap();
    assert_eq!(maps(&space), [(top / PAGE - 5, top / PAGE, 3)]);
    store(&space, top - 16 * PAGE, 1).unwrap();
    let below = top - 16 * PAGE - 1;
    assert_eq!(store(&space, below, 1), Err(Fault::unmapped(below)));
    assert_eq!(space.stats().stack, 16);
}

#[test]
fn a_stack_keeps_its_distance_from_what_is_beneath() {
    let space = space();
    let top = 0x7000_0000;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::GROWSDOWN;
    space
        .mmap(MapRequest {
            low: false,
            addr: top - PAGE,
            ..request(1, RW, flags)
        })
        .unwrap();
    let beneath = anon_at(&space, top - 300 * PAGE, 1, RW) + PAGE;
    store(&space, beneath + 256 * PAGE, 1).unwrap();
    let near = beneath + 256 * PAGE - 1;
    assert_eq!(store(&space, near, 1), Err(Fault::unmapped(near)));
}

#[test]
fn after_fork_each_side_has_its_own_memory() {
    let parent = space();
    let at = anon(&parent, 4);
    let shared = parent.mmap(request(1, RW, MapFlags::SHARED)).unwrap();
    store(&parent, at, 1).unwrap();
    store(&parent, at + PAGE, 2).unwrap();
    store(&parent, shared, 3).unwrap();
    let child = parent.fork().unwrap();
    store(&child, at, 11).unwrap();
    store(&parent, at + PAGE, 22).unwrap();
    store(&child, shared, 33).unwrap();
    store(&child, at + 2 * PAGE, 44).unwrap();
    assert_eq!((load(&parent, at), load(&child, at)), (Ok(1), Ok(11)));
    assert_eq!(
        (load(&parent, at + PAGE), load(&child, at + PAGE)),
        (Ok(22), Ok(2))
    );
    assert_eq!(
        (load(&parent, shared), load(&child, shared)),
        (Ok(33), Ok(33))
    );
    assert_eq!(load(&parent, at + 2 * PAGE), Ok(0));
    assert_eq!(maps(&parent), maps(&child));
    drop(child);
    store(&parent, at, 5).unwrap();
    assert_eq!(parent.stats().rss_anon, 2);
}

#[test]
fn a_frame_with_one_owner_left_is_written_without_a_copy() {
    let parent = space();
    let at = anon(&parent, 1);
    store(&parent, at, 1).unwrap();
    let frame_of = |space: &AddressSpace| space.state.lock().pages.find(at).unwrap().0.get().pfn();
    let before = frame_of(&parent);
    let child = parent.fork().unwrap();
    store(&parent, at, 2).unwrap();
    assert_ne!(frame_of(&parent), before, "shared: copied");
    assert_eq!(frame_of(&child), before);
    store(&child, at, 3).unwrap();
    assert_eq!(frame_of(&child), before, "alone: kept");
}

#[test]
fn advice_of_fork_is_followed() {
    let parent = space();
    let (gone, wiped) = (0x10_0000, 0x20_0000);
    for at in [gone, wiped] {
        anon_at(&parent, at, 1, RW);
        store(&parent, at, 9).unwrap();
    }
    parent.madvise(gone, PAGE, 10).unwrap();
    parent.madvise(wiped, PAGE, 18).unwrap();
    let child = parent.fork().unwrap();
    assert_eq!(load(&child, gone), Err(Fault::unmapped(gone)));
    assert_eq!(load(&child, wiped), Ok(0));
    assert_eq!((load(&parent, gone), load(&parent, wiped)), (Ok(9), Ok(9)));
}

#[test]
fn memory_of_others_is_reached_without_loading_it() {
    let space = space();
    let at = anon(&space, 3);
    let text: Vec<u8> = (0..PAGE_SIZE + 100).map(|i| i as u8).collect();
    assert_eq!(space.write_memory(at + 4000, &text, false), text.len());
    let mut back = vec![0; text.len()];
    assert_eq!(space.read_memory(at + 4000, &mut back, false), text.len());
    assert_eq!(back, text);
    assert_eq!(
        space.read_memory(at + 3 * PAGE - 10, &mut back, false),
        10,
        "up to the end of the map"
    );
    let code = map_file(&space, &file(1), 0, 1, Prot::READ, MapFlags::PRIVATE);
    assert_eq!(space.write_memory(code, b"\xcc", false), 0);
    assert_eq!(space.write_memory(code, b"\xcc", true), 1, "a debugger may");
    assert_eq!(
        (load(&space, code), load(&space, code + 1)),
        (Ok(0xcc), Ok(1))
    );
    assert_eq!(
        store(&space, code, 1),
        Err(Fault::forbidden(code)),
        "the program still may not"
    );
}

#[test]
fn fault_in_prepares_a_copy() {
    let space = space();
    let at = anon(&space, 2);
    space.fault_in(at + 100, PAGE_SIZE, true).unwrap();
    assert_eq!(space.stats().rss_anon, 2);
    assert!(space.fault_in(at + 2 * PAGE - 1, 2, false).is_err());
    assert!(space.fault_in(u64::MAX - 5, 10, false).is_err());
    assert!(space.fault_in(u64::MAX, 0, false).is_ok());
}
