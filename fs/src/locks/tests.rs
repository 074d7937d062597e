use super::*;
use crate::tmpfs;
use alloc::collections::BTreeMap;
use proptest::prelude::*;

fn file() -> Arc<File> {
    tmpfs::memfd(b"locks", 0, 0, 0, 0).unwrap()
}

fn lock(owner: u64, kind: LockKind, start: u64, end: u64) -> Lock {
    Lock {
        owner: Owner::Process(owner),
        pid: owner as i32,
        kind,
        range: Range::new(start, end),
    }
}

use LockKind::{Read, Write};

#[test]
fn readers_share_and_writers_do_not() {
    let file = file();
    let inode = file.inode();
    set(inode, &lock(1, Read, 0, 9)).unwrap();
    set(inode, &lock(2, Read, 5, 20)).unwrap();
    assert_eq!(set(inode, &lock(2, Write, 0, 0)), Err(Errno::EAGAIN));
    assert_eq!(
        get(inode, &lock(3, Write, 15, 30)),
        Some(lock(2, Read, 5, 20))
    );
    assert_eq!(get(inode, &lock(3, Read, 0, 30)), None);
    set(inode, &lock(2, Write, 10, 20)).unwrap();
    assert_eq!(
        get(inode, &lock(3, Read, 0, 30)),
        Some(lock(2, Write, 10, 20))
    );
    release_process(inode, 2);
    assert_eq!(get(inode, &lock(3, Write, 10, 30)), None);
    // An open description is an owner of its own, also in the same process.
    let ofd = Lock {
        owner: Owner::File(file_id(&file)),
        pid: -1,
        ..lock(0, Write, 0, 0)
    };
    assert_eq!(set(inode, &ofd), Err(Errno::EAGAIN));
}

#[test]
fn circles_are_refused() {
    let (a, b, c) = (file(), file(), file());
    for (owner, file) in [(101, &a), (102, &b), (103, &c)] {
        set(file.inode(), &lock(owner, Write, 0, 0)).unwrap();
    }
    let (mut w1, mut w2, mut w3) = (Waiting::new(), Waiting::new(), Waiting::new());
    let block = |owner, file: &Arc<File>, waiting: &mut Waiting| {
        set_blocking(file.inode(), &lock(owner, Write, 0, 0), waiting)
    };
    assert_eq!(block(101, &b, &mut w1), Err(Errno::EAGAIN));
    assert_eq!(block(102, &c, &mut w2), Err(Errno::EAGAIN));
    assert_eq!(block(103, &a, &mut w3), Err(Errno::EDEADLK));
    // Once the first stops waiting there is no circle.
    drop(w1);
    assert_eq!(block(103, &a, &mut w3), Err(Errno::EAGAIN));
    release_process(a.inode(), 101);
    assert_eq!(block(103, &a, &mut w3), Ok(()));
}

#[test]
fn flock_belongs_to_the_open_description() {
    let file = file();
    let inode = file.inode().clone();
    let other = File::new(
        file.ops().clone(),
        file.path().clone(),
        2,
        crate::file::Positioning::Seekable,
    );
    let other = other.unwrap();
    flock(&file, Some(Read)).unwrap();
    flock(&other, Some(Read)).unwrap();
    assert_eq!(flock(&file, Some(Write)), Err(Errno::EAGAIN));
    // The attempt cost the lock it had.
    flock(&other, Some(Write)).unwrap();
    assert_eq!(flock(&file, Some(Read)), Err(Errno::EAGAIN));
    let waker = crate::test_util::CountingWaker::new();
    let mut waiters = core::pin::pin!(crate::Waiters::new());
    let mut table =
        crate::PollTable::new(waiters.as_mut(), waker.waker(), crate::PollEvents::empty());
    table.register(&wait_queue(&inode));
    drop(other);
    assert_eq!(
        waker.count(),
        1,
        "the last close gives the lock up and says so"
    );
    flock(&file, Some(Write)).unwrap();
    flock(&file, None).unwrap();
}

#[test]
fn ranges_of_struct_flock() {
    let all = |whence, start, len| from_flock(whence, start, len, 100, 1000);
    assert_eq!(all(0, 5, 10), Ok(Range::new(5, 14)));
    assert_eq!(
        all(1, 5, 0),
        Ok(Range {
            start: 105,
            end: i64::MAX as u64
        })
    );
    assert_eq!(all(2, -10, -20), Ok(Range::new(970, 989)));
    assert_eq!(all(2, -10, -20).map(Range::flock_len), Ok(20));
    assert_eq!(all(0, -1, 1), Err(Errno::EINVAL));
    assert_eq!(all(0, 5, -6), Err(Errno::EINVAL));
    assert_eq!(all(3, 0, 0), Err(Errno::EINVAL));
    assert_eq!(all(0, i64::MAX, 2), Err(Errno::EOVERFLOW));
    assert_eq!(
        all(0, i64::MAX, 1),
        Ok(Range::new(i64::MAX as u64, i64::MAX as u64))
    );
    assert_eq!(all(1, i64::MAX, 1), Err(Errno::EOVERFLOW));
}

#[derive(Clone, Debug)]
enum Op {
    Set(u64, bool, u64, u64),
    Unset(u64, u64, u64),
    Release(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let span = || (0u64..40, 0u64..12);
    prop_oneof![
        5 => (1u64..4, any::<bool>(), span()).prop_map(|(o, w, (s, l))| Op::Set(o, w, s, s + l)),
        3 => (1u64..4, span()).prop_map(|(o, (s, l))| Op::Unset(o, s, s + l)),
        1 => (1u64..4).prop_map(Op::Release),
    ]
}

proptest! {
    /// Against a model that keeps who has each single byte.
    #[test]
    fn records_behave_as_a_map_of_bytes(ops in prop::collection::vec(op(), 1..60)) {
        let file = file();
        let inode = file.inode();
        let mut model: BTreeMap<(u64, u64), bool> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Set(owner, write, start, end) => {
                    let kind = if write { Write } else { Read };
                    let blocked = model.iter().any(|((other, byte), held)| {
                        *other != owner && (start..=end).contains(byte) && (*held || write)
                    });
                    let result = set(inode, &lock(owner, kind, start, end));
                    prop_assert_eq!(result, if blocked { Err(Errno::EAGAIN) } else { Ok(()) });
                    if !blocked {
                        model.extend((start..=end).map(|byte| ((owner, byte), write)));
                    }
                }
                Op::Unset(owner, start, end) => {
                    unset(inode, Owner::Process(owner), Range::new(start, end)).unwrap();
                    model.retain(|(o, byte), _| *o != owner || !(start..=end).contains(byte));
                }
                Op::Release(owner) => {
                    release_process(inode, owner);
                    model.retain(|(o, _), _| *o != owner);
                }
            }
            let records = inode.locks().with(|lists| (lists.records.clone(), false));
            let mut seen = BTreeMap::new();
            for lock in &records {
                let Owner::Process(owner) = lock.owner else { unreachable!() };
                for byte in lock.range.start..=lock.range.end {
                    prop_assert!(seen.insert((owner, byte), lock.kind == Write).is_none());
                }
            }
            prop_assert_eq!(&seen, &model);
            // Neighbours of one kind are one lock.
            for a in &records {
                for b in &records {
                    let same = a != b && a.owner == b.owner && a.kind == b.kind;
                    prop_assert!(!(same && a.range.touches(b.range)));
                }
            }
        }
    }
}
