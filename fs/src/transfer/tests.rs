use super::*;
use crate::iobuf::{SliceSink, SliceSource};
use crate::tmpfs::memfd;
use alloc::sync::Arc;
use alloc::vec;

/// A file of three pages and a bit, with a hole in place of its second page.
fn holey() -> (Arc<File>, Vec<u8>) {
    let file = memfd(b"from", 0, 0, 0, 0).expect("there is memory");
    let mut bytes: Vec<u8> = (0..3 * PAGE_SIZE + 100).map(|i| (i % 251) as u8).collect();
    bytes[PAGE_SIZE..2 * PAGE_SIZE].fill(0);
    for (at, part) in [
        (0, &bytes[..PAGE_SIZE]),
        (2 * PAGE_SIZE, &bytes[2 * PAGE_SIZE..]),
    ] {
        let put = file.pwrite(at as u64, &mut SliceSource::new(part));
        assert_eq!(put, Ok(part.len()));
    }
    (file, bytes)
}

/// All that comes of reading `from` from `at` on, by calls of `read` that take `step` bytes at most.
fn drain(from: &File, mut at: Option<u64>, step: usize) -> (Vec<u8>, usize) {
    let (mut all, mut parcels) = (Vec::new(), 0);
    loop {
        let mut parcel = Parcel::read(from, at, step).expect("there is memory");
        let len = parcel.len();
        assert!(len <= step);
        if parcel.is_empty() {
            return (all, parcels);
        }
        let mut part = vec![0; len];
        let (head, tail) = part.split_at_mut(len / 2);
        assert_eq!(parcel.take(head), head.len());
        assert_eq!(parcel.take(tail), tail.len());
        assert_eq!((parcel.remaining(), parcel.take(&mut [0])), (0, 0));
        all.extend(part);
        parcels += 1;
        if let Some(at) = &mut at {
            *at += len as u64;
        }
    }
}

#[test]
fn parcels_hold_what_the_file_does() {
    let (file, bytes) = holey();
    for step in [1 << 20, PAGE_SIZE, 1000] {
        for start in [0, 1, 100, PAGE_SIZE - 1, PAGE_SIZE + 5, bytes.len()] {
            assert_eq!(drain(&file, Some(start as u64), step).0, bytes[start..]);
            assert_eq!(file.pos(), 0, "the file's own position stays");
        }
    }
    // A run of pages, the hole, a run of pages.
    assert_eq!(drain(&file, Some(0), 1 << 20).1, 3);
}

#[test]
fn the_position_of_the_file_moves_on() {
    let (file, bytes) = holey();
    file.seek(10, Whence::Set).expect("it is inside");
    assert_eq!(drain(&file, None, 700).0, bytes[10..]);
    assert_eq!(file.pos(), bytes.len() as u64);
}

#[test]
fn a_parcel_has_the_pages_themselves_a_copy_does_not() {
    let (file, bytes) = holey();
    let mut parcel = Parcel::read(&file, Some(0), 100).expect("there is memory");
    let page = file.inode().mapping().and_then(|mapping| mapping.find(0));
    assert_eq!(page.map(|page| page.pfn()), Some(parcel.pages[0].pfn()));
    let mut copy = Parcel::copy(&file, Some(0), 100).expect("there is memory");
    assert_ne!(copy.pages[0].pfn(), parcel.pages[0].pfn());
    let mut buf = [0; 100];
    assert_eq!(parcel.take(&mut buf), 100);
    assert_eq!(buf, bytes[..100]);
    assert_eq!(copy.take(&mut buf), 100);
    assert_eq!(buf, bytes[..100]);
}

#[test]
fn bytes_that_nobody_wants_are_skipped() {
    let (file, bytes) = holey();
    let mut parcel = Parcel::read(&file, Some(100), 500).expect("there is memory");
    let mut buf = [0; 100];
    assert_eq!((parcel.skip(300), parcel.take(&mut buf)), (300, 100));
    assert_eq!(buf, bytes[400..500]);
    assert_eq!((parcel.skip(300), parcel.remaining()), (100, 0));
}

#[test]
fn a_stream_goes_through_a_page() {
    let (reader, writer) = crate::pipe::pipe(0, 0, 0).expect("there is memory");
    writer
        .write(&mut SliceSource::new(b"through"))
        .expect("there is room");
    let mut parcel = Parcel::read(&reader, None, 1 << 20).expect("there are bytes");
    let mut buf = [0; 7];
    assert_eq!(parcel.take(&mut buf), 7);
    assert_eq!(&buf, b"through");
    let more = Parcel::read(&reader, None, 1).map(|parcel| parcel.len());
    assert_eq!(more, Err(Errno::EAGAIN));
    assert_eq!(
        reader.read(&mut SliceSink::new(&mut buf)),
        Err(Errno::EAGAIN)
    );
}
