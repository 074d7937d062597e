use super::*;
use crate::cred::Credentials;
use crate::file::oflag::{O_CREAT, O_RDWR};
use crate::iobuf::{SliceSink, SliceSource};
use crate::mount::Path;
use crate::namei::{LookupFlags, Walk};
use crate::open::{OpenHow, open};
use crate::{dirops, rename, tmpfs};
use alloc::vec::Vec;
use proptest::prelude::*;

/// A file system of its own, and an instance that watches in it.
struct Scene {
    root: Path,
    cred: Credentials,
    inotify: Arc<Inotify>,
}

/// What is expected of an event: watch, events, name.
type Seen = (i32, NotifyEvents, &'static str);

impl Scene {
    fn new() -> Scene {
        Scene {
            root: tmpfs::rootfs().unwrap().root_path(),
            cred: Credentials::root(),
            inotify: Inotify::new(90_000).unwrap(),
        }
    }

    fn walk(&self) -> Walk<'_> {
        Walk {
            root: &self.root,
            start: &self.root,
            cred: &self.cred,
        }
    }

    fn create(&self, path: &str) -> Arc<File> {
        let how = OpenHow {
            flags: O_CREAT | O_RDWR,
            mode: 0o644,
            umask: 0,
        };
        open(&self.walk(), path.as_bytes(), how).unwrap()
    }

    fn watch(&self, path: &str, mask: u32) -> Result<i32> {
        let found = self
            .walk()
            .lookup(path.as_bytes(), LookupFlags::FOLLOW)
            .unwrap();
        self.inotify
            .add_watch(found.dentry.existing().unwrap(), mask)
    }

    /// Reads all events: watch, mask, cookie, name.
    fn events(&self) -> Vec<(i32, u32, u32, Vec<u8>)> {
        let mut events = Vec::new();
        let mut buf = [0; 4096];
        while let Ok(len) = self.inotify.read(&mut SliceSink::new(&mut buf)) {
            let mut at = 0;
            while at < len {
                let word = |n: usize| {
                    u32::from_ne_bytes(buf[at + n * 4..at + n * 4 + 4].try_into().unwrap())
                };
                let (wd, mask, cookie, room) = (word(0) as i32, word(1), word(2), word(3) as usize);
                let name = &buf[at + HEADER..at + HEADER + room];
                assert_eq!(room % HEADER, 0);
                let end = name.iter().position(|&b| b == 0).unwrap_or(room);
                events.push((wd, mask, cookie, name[..end].to_vec()));
                at += HEADER + room;
            }
        }
        events
    }

    fn assert_seen(&self, want: &[Seen]) {
        let seen: Vec<_> = self
            .events()
            .into_iter()
            .map(|(wd, mask, _, name)| (wd, mask, name))
            .collect();
        let want: Vec<_> = want
            .iter()
            .map(|(wd, mask, name)| (*wd, mask.bits(), name.as_bytes().to_vec()))
            .collect();
        assert_eq!(seen, want);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let wds: Vec<i32> = self.inotify.watches.lock().by_wd.keys().copied().collect();
        for wd in wds {
            let _ = self.inotify.remove_watch(wd);
        }
    }
}

#[test]
fn a_directory_tells_of_its_entries() {
    let scene = Scene::new();
    dirops::mkdir(&scene.walk(), b"/d", 0o755, 0).unwrap();
    let wd = scene.watch("/d", ALL_EVENTS).unwrap();
    assert_eq!(wd, 1);
    let file = scene.create("/d/f");
    file.write(&mut SliceSource::new(b"x")).unwrap();
    drop(file);
    dirops::mkdir(&scene.walk(), b"/d/sub", 0o755, 0).unwrap();
    dirops::unlink(&scene.walk(), b"/d/f").unwrap();
    scene.assert_seen(&[
        (wd, NotifyEvents::CREATE, "f"),
        (wd, NotifyEvents::OPEN, "f"),
        (wd, NotifyEvents::MODIFY, "f"),
        (wd, NotifyEvents::CLOSE_WRITE, "f"),
        (wd, NotifyEvents::CREATE | NotifyEvents::ISDIR, "sub"),
        (wd, NotifyEvents::DELETE, "f"),
    ]);
}

#[test]
fn a_rename_has_one_cookie() {
    let scene = Scene::new();
    dirops::mkdir(&scene.walk(), b"/a", 0o755, 0).unwrap();
    dirops::mkdir(&scene.walk(), b"/b", 0o755, 0).unwrap();
    drop(scene.create("/a/f"));
    let moves = (NotifyEvents::MOVED_FROM | NotifyEvents::MOVED_TO).bits();
    let (a, b) = (
        scene.watch("/a", moves).unwrap(),
        scene.watch("/b", moves).unwrap(),
    );
    let f = scene.watch("/a/f", NotifyEvents::MOVE_SELF.bits()).unwrap();
    rename::rename(&scene.walk(), b"/a/f", &scene.walk(), b"/b/g", 0).unwrap();
    let events = scene.events();
    let short: Vec<_> = events
        .iter()
        .map(|(wd, mask, _, name)| (*wd, *mask, name.as_slice()))
        .collect();
    assert_eq!(
        short,
        [
            (a, NotifyEvents::MOVED_FROM.bits(), &b"f"[..]),
            (b, NotifyEvents::MOVED_TO.bits(), b"g"),
            (f, NotifyEvents::MOVE_SELF.bits(), b""),
        ]
    );
    assert!(events[0].2 != 0 && events[0].2 == events[1].2 && events[2].2 == 0);
}

#[test]
fn the_end_of_the_inode_ends_the_watch() {
    let scene = Scene::new();
    drop(scene.create("/f"));
    let wd = scene
        .watch(
            "/f",
            (NotifyEvents::DELETE_SELF | NotifyEvents::ATTRIB).bits(),
        )
        .unwrap();
    dirops::unlink(&scene.walk(), b"/f").unwrap();
    scene.assert_seen(&[
        (wd, NotifyEvents::ATTRIB, ""),
        (wd, NotifyEvents::DELETE_SELF, ""),
        (wd, NotifyEvents::IGNORED, ""),
    ]);
    assert_eq!(scene.inotify.remove_watch(wd), Err(Errno::EINVAL));
}

#[test]
fn masks_are_replaced_added_to_or_refused() {
    let scene = Scene::new();
    let wd = scene.watch("/", NotifyEvents::CREATE.bits()).unwrap();
    let add = flag::MASK_ADD | NotifyEvents::DELETE.bits();
    assert_eq!(scene.watch("/", add), Ok(wd));
    let create = flag::MASK_CREATE | NotifyEvents::DELETE.bits();
    assert_eq!(scene.watch("/", create), Err(Errno::EEXIST));
    assert_eq!(scene.watch("/", add | create), Err(Errno::EINVAL));
    assert_eq!(scene.watch("/", 0), Err(Errno::EINVAL));
    drop(scene.create("/f"));
    dirops::unlink(&scene.walk(), b"/f").unwrap();
    scene.assert_seen(&[
        (wd, NotifyEvents::CREATE, "f"),
        (wd, NotifyEvents::DELETE, "f"),
    ]);
    assert_eq!(scene.watch("/", NotifyEvents::DELETE.bits()), Ok(wd));
    drop(scene.create("/g"));
    scene.assert_seen(&[]);
    scene.inotify.remove_watch(wd).unwrap();
    scene.assert_seen(&[(wd, NotifyEvents::IGNORED, "")]);
    assert_eq!(scene.watch("/", NotifyEvents::DELETE.bits()), Ok(wd + 1));
}

#[test]
fn a_oneshot_watch_sees_one_event() {
    let scene = Scene::new();
    let wd = scene
        .watch("/", NotifyEvents::CREATE.bits() | flag::ONESHOT)
        .unwrap();
    drop(scene.create("/f"));
    drop(scene.create("/g"));
    scene.assert_seen(&[
        (wd, NotifyEvents::CREATE, "f"),
        (wd, NotifyEvents::IGNORED, ""),
    ]);
}

#[test]
fn a_full_queue_says_so_once_and_equal_events_are_one() {
    let scene = Scene::new();
    for _ in 0..3 {
        scene.inotify.push(1, 2, 0, Some(b"same"));
    }
    assert_eq!(scene.events().len(), 1);
    for n in 0..MAX_QUEUED.count() as u32 + 10 {
        scene.inotify.push(1, 2, n, Some(&n.to_ne_bytes()));
    }
    let events = scene.events();
    assert_eq!(events.len(), MAX_QUEUED.count() + 1);
    let last = events.last().unwrap();
    assert_eq!((last.0, last.1), (-1, NotifyEvents::Q_OVERFLOW.bits()));
}

#[test]
fn a_buffer_takes_whole_events() {
    let scene = Scene::new();
    scene.inotify.push(1, 2, 0, Some(b"name"));
    scene.inotify.push(1, 4, 0, None);
    let read = |len| {
        scene
            .inotify
            .read(&mut SliceSink::new(&mut alloc::vec![0; len]))
    };
    assert_eq!(read(31), Err(Errno::EINVAL));
    assert_eq!(read(47), Ok(32));
    assert_eq!(read(47), Ok(16));
    assert_eq!(read(47), Err(Errno::EAGAIN));
}

#[test]
fn instances_are_bounded_per_user() {
    let all: Vec<_> = (0..MAX_USER_INSTANCES.count())
        .map(|_| Inotify::new(90_001).unwrap())
        .collect();
    assert_eq!(Inotify::new(90_001).err(), Some(Errno::EMFILE));
    drop(all);
    assert!(Inotify::new(90_001).is_ok());
}

proptest! {
    #[test]
    fn encoded_events_have_a_terminated_padded_name(name in prop::collection::vec(1..255_u8, 0..300)) {
        let event = Event { wd: 1, mask: 2, cookie: 3, name: Some(Box::from(&name[..])) };
        let mut bytes = [0xff; HEADER + MAX_NAME];
        let encoded = event.encode(&mut bytes);
        prop_assert_eq!(encoded.len(), event.size());
        prop_assert_eq!(encoded.len() % HEADER, 0);
        prop_assert_eq!(*encoded.last().unwrap(), 0);
        prop_assert_eq!(&encoded[HEADER..HEADER + name.len().min(255)], &name[..name.len().min(255)]);
    }
}
