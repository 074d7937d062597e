//! Many threads at one tree: no deadlock, no lost or doubled object, whatever the interleaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Names, World};
use fs::file::oflag::*;
use fs::inode::rename_flag;
use fs::mount::ms;
use fs::mounting::{MountRequest, mount, umount, umount_flag};
use fs::{Errno, SliceSink, SliceSource, attr};

/// A small generator of numbers, from a seed that a failure prints.
struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.next(4);
        (0..depth)
            .map(|_| format!("/{}", (b'a' + self.next(3) as u8) as char))
            .collect()
    }
}

/// What any call on a tree that others change may answer.
fn expected(error: Errno) {
    let fine = [
        Errno::ENOENT,
        Errno::EEXIST,
        Errno::ENOTDIR,
        Errno::EISDIR,
        Errno::ENOTEMPTY,
        Errno::EINVAL,
        Errno::EBUSY,
        Errno::EXDEV,
        Errno::ENXIO,
        Errno::EPERM,
    ];
    assert!(fine.contains(&error), "unexpected {error:?}");
}

fn step(w: &World, rng: &mut Rng) -> Result<(), Errno> {
    let (a, b) = (rng.path(), rng.path());
    match rng.next(12) {
        0 | 1 => w.mkdir(&a),
        2 => w.rmdir(&a),
        3 => w.unlink(&a),
        4 => w.rename(&a, &b),
        5 => w.rename_flags(&a, &b, rename_flag::EXCHANGE),
        6 => w.link(&a, &b),
        7 => w.stat(&a).map(drop),
        8 => {
            let file = w.open(&a, O_RDWR | O_CREAT)?;
            file.write(&mut SliceSource::new(&[1; 300]))?;
            attr::ftruncate(&file, 5, u64::MAX)
        }
        9 => {
            let file = w.open(&a, O_RDONLY)?;
            if file.inode().is_dir() {
                file.readdir(&mut Names(Vec::new(), 50))
            } else {
                file.read(&mut SliceSink::new(&mut [0; 64])).map(drop)
            }
        }
        10 => {
            fs::dentry::shrink(20);
            Ok(())
        }
        _ => {
            let path = w.lookup(&a)?;
            path.display(&w.root).map(drop)
        }
    }
}

/// Runs `work` in threads until the time is over; a thread that makes no progress fails the test.
fn run(threads: u64, time: Duration, work: impl Fn(u64, &mut Rng) + Send + Sync + 'static) {
    let work = Arc::new(work);
    let stop = Arc::new(AtomicBool::new(false));
    let steps: Arc<Vec<AtomicU64>> = Arc::new((0..threads).map(|_| AtomicU64::new(0)).collect());
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = since_1970.as_nanos() as u64;
    println!("seed {seed}");
    let handles: Vec<_> = (0..threads)
        .map(|n| {
            let (work, stop, steps) = (work.clone(), stop.clone(), steps.clone());
            std::thread::spawn(move || {
                let mut rng = Rng((seed ^ (n + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
                while !stop.load(Ordering::Relaxed) {
                    work(n, &mut rng);
                    steps[n as usize].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    std::thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let patience = Instant::now() + Duration::from_secs(20);
    for (handle, steps) in handles.into_iter().zip(steps.iter()) {
        while !handle.is_finished() {
            assert!(Instant::now() < patience, "deadlock after {steps:?} steps");
            std::thread::sleep(Duration::from_millis(10));
        }
        handle.join().unwrap();
        assert!(steps.load(Ordering::Relaxed) > 0);
    }
}

/// Checks link counts and that every name leads to where the listing says, all the way down.
fn check(w: &World, path: &str) {
    let mut dirs = 0;
    for name in w.names(path) {
        let child = format!("{}/{name}", path.trim_end_matches('/'));
        let stat = w.lstat(&child).unwrap();
        if stat.mode & 0o170000 == 0o040000 {
            dirs += 1;
            let up = w.lookup(&format!("{child}/..")).unwrap();
            assert_eq!(
                up,
                w.lookup(path).unwrap(),
                "{child} does not know its directory"
            );
            assert_eq!(w.display(&w.lookup(&child).unwrap()), child);
            check(w, &child);
        }
    }
    assert_eq!(w.stat(path).unwrap().nlink, 2 + dirs, "links of {path}");
}

#[test]
fn one_tree_and_many_hands() {
    let w = World::new();
    let free = || {
        fs::dentry::shrink(usize::MAX);
        attr::statfs(&w.root).unwrap()
    };
    let before = free();
    let shared = w.clone();
    run(4, Duration::from_millis(1500), move |_, rng| {
        if let Err(error) = step(&shared, rng) {
            expected(error);
        }
    });
    check(&w, "/");
    fn remove(w: &World, path: &str) {
        for name in w.names(path) {
            let child = format!("{}/{name}", path.trim_end_matches('/'));
            if w.lstat(&child).unwrap().mode & 0o170000 == 0o040000 {
                remove(w, &child);
                w.rmdir(&child).unwrap();
            } else {
                w.unlink(&child).unwrap();
            }
        }
    }
    remove(&w, "/");
    assert_eq!(w.stat("/").unwrap().nlink, 2);
    // The names of all trees are in one cache: another test that sweeps it may hold one of these for a moment.
    let patience = Instant::now() + Duration::from_secs(20);
    while free() != before {
        assert!(Instant::now() < patience, "something is left behind");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn mounts_come_and_go_under_walkers() {
    let w = World::new();
    let _ = fs::tmpfs::register();
    w.mkdir("/m").unwrap();
    w.mkdir("/m/a").unwrap();
    let shared = w.clone();
    run(3, Duration::from_millis(700), move |n, rng| {
        let w = &shared;
        let result = match (n, rng.next(3)) {
            (0, 0) => w.lookup("/m").and_then(|target| {
                let request = MountRequest {
                    source: b"t",
                    source_path: None,
                    kind: b"tmpfs",
                    flags: ms::NODEV,
                    options: b"",
                };
                mount(&w.ns, &w.cred, &target, &request)
            }),
            (0, _) => w
                .lookup("/m")
                .and_then(|target| umount(&w.ns, &w.cred, target, umount_flag::DETACH)),
            (_, 0) => w.mkdir("/m/a"),
            (_, 1) => w
                .lookup("/m/a/..")
                .map(|path| assert!(path.display(&w.root).is_ok())),
            _ => w.stat("/m/a").map(drop),
        };
        if let Err(error) = result {
            expected(error);
        }
    });
    while w.lookup("/m").unwrap().is_mount_root() {
        umount(&w.ns, &w.cred, w.lookup("/m").unwrap(), 0).unwrap();
    }
    assert_eq!(w.names("/m"), ["a"]);
}
