use super::*;
use crate::anon;
use crate::eventfd::EventFd;
use crate::file::oflag::O_RDWR;
use crate::file::{File, Positioning};
use crate::iobuf::SliceSource;
use crate::test_util::CountingWaker;
use alloc::vec::Vec;
use core::pin::pin;
use proptest::prelude::*;

fn eventfd(count: u32) -> Arc<File> {
    let ops = Arc::new(EventFd::new(count, false));
    anon::file("[eventfd]", ops, O_RDWR, Positioning::Stream).unwrap()
}

fn table(counts: &[u32]) -> FdTable {
    let files = FdTable::new();
    for count in counts {
        files.install(eventfd(*count), false, 4096).unwrap();
    }
    files
}

fn ask(fd: i32, events: PollEvents) -> PollFd {
    PollFd {
        fd,
        events: events.bits() as u16,
        revents: 0xffff,
    }
}

fn found(fds: &[PollFd]) -> Vec<PollEvents> {
    fds.iter()
        .map(|f| PollEvents::from_bits_truncate(f.revents.into()))
        .collect()
}

#[test]
fn each_entry_gets_what_it_asked_for() {
    let files = table(&[0, 5]);
    let both = PollEvents::IN | PollEvents::OUT;
    let mut fds = [
        ask(0, both),
        ask(1, both),
        ask(1, PollEvents::PRI),
        ask(7, both),
        ask(-1, both),
    ];
    assert_eq!(poll_fds(&files, &mut fds, None), Ok(3));
    let none = PollEvents::empty();
    assert_eq!(
        found(&fds),
        [PollEvents::OUT, both, none, PollEvents::NVAL, none]
    );
}

#[test]
fn a_sleeper_is_woken_by_what_it_asked_for() {
    let files = table(&[0; 40]);
    let mut fds: Vec<_> = (0..40).map(|fd| ask(fd, PollEvents::IN)).collect();
    let waker = CountingWaker::new();
    let mut waiters = pin!(Waiters::new());
    let mut table = PollTable::new(waiters.as_mut(), waker.waker(), PollEvents::empty());
    assert_eq!(poll_fds(&files, &mut fds, Some(&mut table)), Ok(0));
    let one = 1_u64.to_ne_bytes();
    files
        .get(35)
        .unwrap()
        .write(&mut SliceSource::new(&one))
        .unwrap();
    assert_eq!(waker.count(), 1);
    assert_eq!(poll_fds(&files, &mut fds, None), Ok(1));
    assert_eq!(found(&fds)[35], PollEvents::IN);
    // The registrations stay for the next wake-up.
    files
        .get(3)
        .unwrap()
        .write(&mut SliceSource::new(&one))
        .unwrap();
    assert_eq!(waker.count(), 2);
    waiters.as_mut().clear();
    files
        .get(4)
        .unwrap()
        .write(&mut SliceSource::new(&one))
        .unwrap();
    assert_eq!(waker.count(), 2);
}

fn select(files: &FdTable, wanted: [&[u64]; 3], strict: bool) -> (Result<usize>, [Vec<u64>; 3]) {
    let mut ready = [(); 3].map(|()| alloc::vec![u64::MAX; wanted[0].len()]);
    let result = {
        let [a, b, c] = &mut ready;
        let mut sets = SelectSets {
            wanted,
            ready: [a, b, c],
        };
        select_fds(files, &mut sets, strict, None)
    };
    (result, ready)
}

#[test]
fn select_counts_bits_and_refuses_closed_descriptors() {
    let files = table(&[0, 1, 0]);
    let (count, ready) = select(&files, [&[0b011], &[0b111], &[0b001]], true);
    assert_eq!(count, Ok(4));
    assert_eq!(ready.map(|set| set[0]), [0b010, 0b111, 0]);
    assert_eq!(
        select(&files, [&[0b1000], &[0], &[0]], true).0,
        Err(Errno::EBADF)
    );
    // A descriptor that was closed meanwhile is ready in every set it is in.
    let (count, ready) = select(&files, [&[0b1000], &[0], &[0b1000]], false);
    assert_eq!(count, Ok(2));
    assert_eq!(ready.map(|set| set[0]), [0b1000, 0, 0b1000]);
}

proptest! {
    #[test]
    fn poll_and_select_agree(counts in prop::collection::vec(0..2_u32, 1..130), wanted in any::<[u64; 3]>()) {
        let files = table(&counts);
        let mut wanted = wanted;
        let mut fds = Vec::new();
        for fd in 0..192_usize {
            let bit = 1 << (fd % 64);
            if fd >= counts.len() {
                wanted[fd / 64] &= !bit;
            } else if wanted[fd / 64] & bit != 0 {
                fds.push(ask(fd as i32, PollEvents::IN));
            }
        }
        let polled = poll_fds(&files, &mut fds, None).unwrap();
        let none = [0; 3];
        let (selected, ready) = select(&files, [&wanted, &none, &none], true);
        prop_assert_eq!(selected, Ok(polled));
        for fd in &fds {
            let bit = ready[0][fd.fd as usize / 64] >> (fd.fd % 64) & 1;
            prop_assert_eq!(bit == 1, fd.revents != 0);
        }
    }
}
