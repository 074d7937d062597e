use super::*;
use crate::iobuf::{SliceSource, VecSink};
use alloc::vec;
use proptest::prelude::*;

fn content(mapping: &Mapping) -> Vec<u8> {
    let mut sink = VecSink::new(1 << 20);
    mapping.read(0, &mut sink).unwrap();
    sink.into_vec()
}

/// A source that faults after some bytes.
struct Faulty(usize);

impl Source for Faulty {
    fn remaining(&self) -> usize {
        100_000
    }
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let step = bytes.len().min(self.0);
        bytes[..step].fill(7);
        self.0 -= step;
        step
    }
    fn faulted(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn a_hole_reads_zero_and_costs_nothing() {
    let mapping = Mapping::new(None);
    mapping
        .write(Some(1 << 40), &mut SliceSource::new(b"far"))
        .unwrap();
    assert_eq!(mapping.pages(), 1);
    let mut sink = VecSink::new(10);
    mapping.read((1 << 40) - 5, &mut sink).unwrap();
    assert_eq!(sink.into_vec(), b"\0\0\0\0\0far");
    assert_eq!(mapping.seek(0, Whence::Data), Ok(1 << 40));
    assert_eq!(mapping.seek(1 << 40, Whence::Hole), Ok((1 << 40) + 3));
    assert_eq!(mapping.seek((1 << 40) + 3, Whence::Data), Err(Errno::ENXIO));
}

#[test]
fn a_cut_page_does_not_show_old_bytes_again() {
    let mapping = Mapping::new(None);
    mapping
        .write(Some(0), &mut SliceSource::new(&[1; 5000]))
        .unwrap();
    mapping.truncate(10).unwrap();
    mapping.truncate(5000).unwrap();
    let bytes = content(&mapping);
    assert!(bytes[..10].iter().all(|&b| b == 1) && bytes[10..].iter().all(|&b| b == 0));
}

#[test]
fn a_write_that_faults_tells_how_far_it_came() {
    let mapping = Mapping::new(None);
    struct Short(Faulty, usize);
    impl Source for Short {
        fn remaining(&self) -> usize {
            self.1
        }
        fn take(&mut self, bytes: &mut [u8]) -> usize {
            let took = self.0.take(bytes);
            self.1 -= took;
            took
        }
        fn faulted(&self) -> bool {
            self.0.faulted()
        }
    }
    assert_eq!(
        mapping.write(Some(0), &mut Short(Faulty(0), 100)),
        Err(Errno::EFAULT)
    );
    assert_eq!(mapping.pages(), 0);
    assert_eq!(
        mapping.write(Some(0), &mut Short(Faulty(5000), 9000)),
        Ok((5000, 5000))
    );
    assert_eq!(mapping.size(), 5000);
    assert_eq!(content(&mapping), vec![7; 5000]);
}

#[test]
fn truncation_asks_watchers_to_unmap() {
    struct Watcher(SpinLock<Vec<Range<u64>>>);
    impl MappingWatcher for Watcher {
        fn unmap(&self, _: &Mapping, pages: Range<u64>) {
            self.0.lock().push(pages);
        }
    }
    let mapping = Mapping::new(None);
    let watcher = Arc::new(Watcher(SpinLock::new(Vec::new())));
    mapping.watch(&(watcher.clone() as Arc<dyn MappingWatcher>));
    mapping.truncate(10_000).unwrap();
    assert_eq!(mapping.get_page(3).err(), Some(Errno::EFAULT));
    let page = mapping.get_page(2).unwrap();
    mapping.truncate(5000).unwrap();
    assert_eq!(
        watcher.0.lock().as_slice(),
        core::slice::from_ref(&(2..u64::MAX))
    );
    assert_eq!(page.refs(), 1, "the cache has let go of the page");
}

#[derive(Clone, Debug)]
enum Op {
    Write(Option<u64>, usize),
    Truncate(u64),
    Punch(u64, u64),
    Allocate(u64, u64, bool),
    Touch(u64),
}

fn op() -> impl Strategy<Value = Op> {
    const TOP: u64 = 150_000;
    prop_oneof![
        4 => (prop::option::weighted(0.8, 0..TOP), 0usize..70_000).prop_map(|(p, l)| Op::Write(p, l)),
        1 => (0..TOP).prop_map(Op::Truncate),
        2 => (0..TOP, 0u64..30_000).prop_map(|(a, l)| Op::Punch(a, a + l)),
        1 => (0..TOP, 1u64..30_000, any::<bool>()).prop_map(|(a, l, k)| Op::Allocate(a, a + l, k)),
        1 => (0..TOP / 4096).prop_map(Op::Touch),
    ]
}

proptest! {
    #[test]
    fn behaves_as_a_byte_vector(ops in prop::collection::vec(op(), 1..30)) {
        let mapping = Mapping::new(None);
        let mut model: Vec<u8> = Vec::new();
        for (n, op) in ops.into_iter().enumerate() {
            let byte = n as u8 + 1;
            match op {
                Op::Write(pos, len) => {
                    let bytes = vec![byte; len];
                    let at = pos.map_or(model.len(), |p| p as usize);
                    let wrote = mapping.write(pos, &mut SliceSource::new(&bytes)).unwrap();
                    prop_assert_eq!(wrote.1, len);
                    if len > 0 {
                        model.resize(model.len().max(at + len), 0);
                        model[at..at + len].fill(byte);
                    }
                }
                Op::Truncate(size) => {
                    mapping.truncate(size).unwrap();
                    model.resize(size as usize, 0);
                }
                Op::Punch(a, b) => {
                    mapping.punch(a..b);
                    let end = model.len().min(b as usize);
                    if (a as usize) < end {
                        model[a as usize..end].fill(0);
                    }
                }
                Op::Allocate(a, b, keep) => {
                    mapping.allocate(a..b, keep).unwrap();
                    if !keep {
                        model.resize(model.len().max(b as usize), 0);
                    }
                }
                Op::Touch(index) => {
                    let inside = (index as usize) < model.len().div_ceil(4096);
                    prop_assert_eq!(mapping.get_page(index).is_ok(), inside);
                }
            }
            prop_assert_eq!(mapping.size(), model.len() as u64);
            prop_assert_eq!(mapping.pages(), mapping.tree.lock().count());
        }
        prop_assert_eq!(content(&mapping), model);
    }
}
