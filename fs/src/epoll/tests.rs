use super::*;
use crate::anon;
use crate::eventfd::EventFd;
use crate::file::Positioning;
use crate::file::oflag::O_RDWR;
use crate::iobuf::{SliceSink, SliceSource};
use crate::poll::Waiters;
use crate::test_util::CountingWaker;
use core::pin::pin;
use proptest::prelude::*;

const IN: u32 = PollEvents::IN.bits();
const OUT: u32 = PollEvents::OUT.bits();

fn file(ops: Arc<dyn FileOps>) -> Arc<File> {
    anon::file("[test]", ops, O_RDWR, Positioning::Stream).unwrap()
}

fn eventfd(count: u32) -> Arc<File> {
    file(Arc::new(EventFd::new(count, false)))
}

fn raise(file: &File) {
    file.write(&mut SliceSource::new(&1_u64.to_ne_bytes()))
        .unwrap();
}

fn lower(file: &File) {
    let _ = file.read(&mut SliceSink::new(&mut [0; 8]));
}

/// An epoll and its file.
struct Instance(Arc<File>);

impl Instance {
    fn new() -> Instance {
        Instance(file(Arc::new(Epoll::new(0))))
    }

    fn epoll(&self) -> &Epoll {
        self.0.ops_as().unwrap()
    }

    fn add(&self, target: &Arc<File>, fd: i32, events: u32) -> Result<()> {
        let event = EpollEvent {
            events,
            data: fd as u64,
        };
        self.epoll().add(&self.0, target, fd, event)
    }

    fn modify(&self, target: &Arc<File>, fd: i32, events: u32) -> Result<()> {
        let event = EpollEvent {
            events,
            data: fd as u64,
        };
        self.epoll().modify(&self.0, target, fd, event)
    }

    fn delete(&self, target: &Arc<File>, fd: i32) -> Result<()> {
        self.epoll().delete(&self.0, target, fd)
    }

    fn wait(&self, max: usize) -> Vec<(u64, u32)> {
        let mut buf = alloc::vec![0; max * EVENT_SIZE];
        let count = self
            .epoll()
            .collect(max, &mut SliceSink::new(&mut buf))
            .unwrap();
        buf.chunks_exact(EVENT_SIZE)
            .take(count)
            .map(|bytes| EpollEvent::from_bytes(bytes.try_into().unwrap()))
            .map(|event| (event.data, event.events))
            .collect()
    }

    /// Counts the wake-ups of a thread in `epoll_wait`.
    fn sleeper<R>(&self, body: impl FnOnce(&CountingWaker) -> R) -> R {
        let waker = CountingWaker::new();
        let mut waiters = pin!(Waiters::new());
        let waiter = waiters.as_mut().add().unwrap();
        waiter.enqueue(self.epoll().waiters(), waker.waker(), true);
        body(&waker)
    }
}

#[test]
fn level_triggered_items_are_told_until_they_are_quiet() {
    let (epoll, target) = (Instance::new(), eventfd(0));
    epoll.add(&target, 5, IN).unwrap();
    assert_eq!(epoll.wait(8), []);
    raise(&target);
    assert_eq!(epoll.wait(8), [(5, IN)]);
    assert_eq!(epoll.wait(8), [(5, IN)]);
    lower(&target);
    assert_eq!(epoll.wait(8), []);
    assert!(!epoll.epoll().maybe_ready());
}

#[test]
fn edge_triggered_items_are_told_once_per_wake_up() {
    let (epoll, target) = (Instance::new(), eventfd(1));
    epoll.add(&target, 5, IN | EPOLLET).unwrap();
    assert_eq!(epoll.wait(8), [(5, IN)]);
    assert_eq!(epoll.wait(8), []);
    raise(&target);
    raise(&target);
    assert_eq!(epoll.wait(8), [(5, IN)]);
    assert_eq!(epoll.wait(8), []);
    // A read makes room to write, which was not asked for.
    lower(&target);
    assert_eq!(epoll.wait(8), []);
}

#[test]
fn oneshot_items_are_silent_until_modified() {
    let (epoll, target) = (Instance::new(), eventfd(1));
    epoll.add(&target, 5, IN | EPOLLONESHOT).unwrap();
    assert_eq!(epoll.wait(8), [(5, IN)]);
    raise(&target);
    assert_eq!(epoll.wait(8), []);
    epoll.modify(&target, 5, IN | OUT | EPOLLONESHOT).unwrap();
    assert_eq!(epoll.wait(8), [(5, IN | OUT)]);
}

#[test]
fn control_errors_are_linux_ones() {
    let (epoll, target) = (Instance::new(), eventfd(0));
    assert_eq!(epoll.modify(&target, 5, IN), Err(Errno::ENOENT));
    assert_eq!(epoll.delete(&target, 5), Err(Errno::ENOENT));
    epoll.add(&target, 5, IN).unwrap();
    assert_eq!(epoll.add(&target, 5, IN), Err(Errno::EEXIST));
    epoll.add(&target, 6, IN).unwrap();
    epoll.delete(&target, 5).unwrap();
    assert_eq!(epoll.delete(&target, 5), Err(Errno::ENOENT));
    assert_eq!(epoll.add(&epoll.0, 3, IN), Err(Errno::EINVAL));
    let exclusive = EPOLLEXCLUSIVE | IN;
    assert_eq!(epoll.modify(&target, 6, exclusive), Err(Errno::EINVAL));
    assert_eq!(
        epoll.add(&target, 7, exclusive | EPOLLONESHOT),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        epoll.add(&Instance::new().0, 7, exclusive),
        Err(Errno::EINVAL)
    );
    epoll.add(&target, 7, exclusive).unwrap();
    assert_eq!(epoll.modify(&target, 7, IN), Err(Errno::EINVAL));
    let root = crate::tmpfs::rootfs().unwrap().root_path();
    let cred = crate::cred::Credentials::root();
    let dir = crate::open::open_path(&cred, root, 0).unwrap();
    assert_eq!(epoll.add(&dir, 8, IN), Err(Errno::EPERM));
}

#[test]
fn a_closed_file_takes_its_items_along() {
    let (epoll, target) = (Instance::new(), eventfd(1));
    let copy = target.clone();
    epoll.add(&target, 5, IN).unwrap();
    epoll.add(&target, 6, IN).unwrap();
    drop(target);
    assert_eq!(epoll.wait(8).len(), 2);
    drop(copy);
    assert_eq!(epoll.wait(8), []);
    assert!(epoll.epoll().items.lock().is_empty());
}

#[test]
fn a_closed_epoll_leaves_its_files() {
    let (epoll, target) = (Instance::new(), eventfd(0));
    epoll.add(&target, 5, IN).unwrap();
    drop(epoll);
    raise(&target);
    let again = Instance::new();
    again.add(&target, 5, IN).unwrap();
    assert_eq!(again.wait(8), [(5, IN)]);
}

#[test]
fn one_sleeper_is_woken_and_told_to_hand_on() {
    let epoll = Instance::new();
    let targets = [eventfd(0), eventfd(0)];
    for (fd, target) in targets.iter().enumerate() {
        epoll.add(target, fd as i32, IN).unwrap();
    }
    epoll.sleeper(|first| {
        epoll.sleeper(|second| {
            raise(&targets[0]);
            assert_eq!((first.count(), second.count()), (1, 0));
            raise(&targets[1]);
            assert_eq!(first.count() + second.count(), 2);
            // What is left wakes another.
            assert_eq!(epoll.wait(1).len(), 1);
            assert_eq!(first.count() + second.count(), 3);
        });
    });
}

#[test]
fn more_items_than_fit_take_turns() {
    let epoll = Instance::new();
    let targets: Vec<_> = (0..5).map(|_| eventfd(1)).collect();
    for (fd, target) in targets.iter().enumerate() {
        epoll.add(target, fd as i32, IN).unwrap();
    }
    let seen: Vec<u64> = (0..5)
        .flat_map(|_| epoll.wait(2))
        .map(|(data, _)| data)
        .collect();
    assert_eq!(seen, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

#[test]
fn an_event_that_cannot_be_copied_is_not_lost() {
    let (epoll, target) = (Instance::new(), eventfd(1));
    epoll.add(&target, 5, IN | EPOLLET).unwrap();
    let mut short = [0; EVENT_SIZE - 1];
    let result = epoll.epoll().collect(1, &mut SliceSink::new(&mut short));
    assert_eq!(result, Err(Errno::EFAULT));
    assert_eq!(epoll.wait(1), [(5, IN)]);
}

#[test]
fn epolls_watch_epolls() {
    let (outer, inner, target) = (Instance::new(), Instance::new(), eventfd(0));
    inner.add(&target, 5, IN).unwrap();
    outer.add(&inner.0, 7, IN).unwrap();
    assert_eq!(outer.wait(8), []);
    outer.sleeper(|waker| {
        raise(&target);
        assert_eq!(waker.count(), 1);
    });
    assert_eq!(outer.wait(8), [(7, IN)]);
    assert_eq!(inner.wait(8), [(5, IN)]);
    lower(&target);
    assert_eq!(outer.wait(8), []);
}

#[test]
fn cycles_and_long_chains_are_refused() {
    let chain: Vec<_> = (0..7).map(|_| Instance::new()).collect();
    for (at, pair) in chain.windows(2).take(5).enumerate() {
        pair[0].add(&pair[1].0, at as i32, IN).unwrap();
    }
    assert_eq!(chain[5].add(&chain[6].0, 1, IN), Err(Errno::ELOOP));
    assert_eq!(chain[6].add(&chain[0].0, 1, IN), Err(Errno::ELOOP));
    assert_eq!(chain[4].add(&chain[1].0, 1, IN), Err(Errno::ELOOP));
    chain[2].delete(&chain[3].0, 2).unwrap();
    assert_eq!(chain[5].add(&chain[6].0, 1, IN), Ok(()));
}

#[test]
fn wakers_of_two_threads_and_removals_meet() {
    let epoll = Instance::new();
    let target = eventfd(0);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..20_000).for_each(|_| raise(&target)));
        scope.spawn(|| {
            for _ in 0..5000 {
                epoll.add(&target, 1, IN | EPOLLET).unwrap();
                epoll.wait(4);
                epoll.delete(&target, 1).unwrap();
            }
        });
    });
    assert_eq!(epoll.wait(4), []);
}

proptest! {
    #[test]
    fn level_triggered_waits_tell_what_poll_tells(ops in prop::collection::vec((0..4_u8, 0..6_usize), 1..80)) {
        let epoll = Instance::new();
        let targets: Vec<_> = (0..6).map(|_| eventfd(0)).collect();
        let mut added = [false; 6];
        for (op, at) in ops {
            match op {
                0 => raise(&targets[at]),
                1 => lower(&targets[at]),
                2 => added[at] |= epoll.add(&targets[at], at as i32, IN).is_ok(),
                _ => added[at] &= epoll.delete(&targets[at], at as i32).is_err(),
            }
            let mut told: Vec<usize> = epoll.wait(8).into_iter().map(|(data, _)| data as usize).collect();
            told.sort_unstable();
            let want: Vec<usize> = (0..6)
                .filter(|&at| added[at] && targets[at].poll(None).contains(PollEvents::IN))
                .collect();
            prop_assert_eq!(told, want);
        }
    }
}
