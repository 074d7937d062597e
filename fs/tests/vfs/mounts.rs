//! The mount tree as a program sees it.

use std::sync::{Arc, Once};

use crate::common::World;
use fs::device::{DeviceKind, SharedOps};
use fs::file::{Positioning, oflag::*};
use fs::inode::{S_IFCHR, make_dev};
use fs::mount::ms;
use fs::mounting::{MountRequest, mount, pivot_root, umount, umount_flag};
use fs::{Errno, File, FileOps, Path, Result, Sink, Source, attr, device, tmpfs};

/// A world whose root is a tmpfs mounted over the first one, as after `switch_root`.
fn world() -> World {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tmpfs::register().unwrap();
        let bin = SharedOps::new(Bin, Positioning::Ignored);
        device::register(DeviceKind::Char, "bin", (240, 3), 2, Arc::new(bin)).unwrap();
    });
    World::new()
}

fn request<'a>(kind: &'a str, flags: u32, options: &'a str) -> MountRequest<'a> {
    MountRequest {
        source: b"src",
        source_path: None,
        kind: kind.as_bytes(),
        flags,
        options: options.as_bytes(),
    }
}

fn mount_at(w: &World, kind: &str, path: &str, flags: u32, options: &str) -> Result<()> {
    mount(
        &w.ns,
        &w.cred,
        &w.lookup(path)?,
        &request(kind, flags, options),
    )
}

fn bind(w: &World, from: &str, to: &str, flags: u32) -> Result<()> {
    let source = w.lookup(from)?;
    let request = MountRequest {
        source_path: Some(&source),
        ..request("", flags, "")
    };
    mount(&w.ns, &w.cred, &w.lookup(to)?, &request)
}

fn umount_at(w: &World, path: &str, flags: u32) -> Result<()> {
    let target: Path = w.lookup(path)?;
    umount(&w.ns, &w.cred, target, flags)
}

fn mounts(w: &World) -> String {
    let mut out = String::new();
    w.ns.show_mounts(&w.root, &mut out);
    out
}

#[test]
fn a_mount_covers_and_uncovers() {
    let w = world();
    w.mkdir("/m").unwrap();
    w.write("/m/under", b"1");
    mount_at(
        &w,
        "tmpfs",
        "/m",
        ms::NOSUID | ms::NODEV,
        "size=1m,mode=700",
    )
    .unwrap();
    assert_eq!(w.names("/m"), [""; 0]);
    assert_eq!(w.stat("/m").unwrap().mode & 0o7777, 0o700);
    w.write("/m/over", b"2");
    assert_eq!(w.lookup("/m/..").unwrap(), w.root);
    assert_eq!(
        mounts(&w),
        "rootfs / rootfs rw,inode64 0 0\n\
         src /m tmpfs rw,nosuid,nodev,relatime,size=1024k,mode=700,inode64 0 0\n"
    );
    let open = w.open("/m/over", O_RDWR).unwrap();
    assert_eq!(umount_at(&w, "/m", 0), Err(Errno::EBUSY));
    assert_eq!(w.rmdir("/m"), Err(Errno::EBUSY));
    assert_eq!(w.rename("/m", "/n"), Err(Errno::EBUSY));
    assert_eq!(w.rename("/m/over", "/over"), Err(Errno::EXDEV));
    drop(open);
    umount_at(&w, "/m", 0).unwrap();
    assert_eq!(w.names("/m"), ["under"]);
    assert_eq!(umount_at(&w, "/m", 0), Err(Errno::EINVAL));
    assert_eq!(
        umount_at(&w, "/", 0),
        Err(Errno::EINVAL),
        "the first mount stays"
    );
}

#[test]
fn errors_of_mount() {
    let w = world();
    w.mkdir("/m").unwrap();
    w.write("/f", b"");
    assert_eq!(mount_at(&w, "nofs", "/m", 0, ""), Err(Errno::ENODEV));
    assert_eq!(
        mount_at(&w, "tmpfs", "/m", 0, "size=many"),
        Err(Errno::EINVAL)
    );
    assert_eq!(mount_at(&w, "tmpfs", "/f", 0, ""), Err(Errno::ENOTDIR));
    assert_eq!(mount_at(&w, "tmpfs", "/none", 0, ""), Err(Errno::ENOENT));
    assert_eq!(
        mount_at(&w.as_user(5), "tmpfs", "/m", 0, ""),
        Err(Errno::EPERM)
    );
    assert_eq!(umount_at(&w, "/m", 16), Err(Errno::EINVAL));
    assert_eq!(
        mount_at(&w, "tmpfs", "/m", ms::REMOUNT, ""),
        Err(Errno::EINVAL)
    );
    mount_at(&w, "tmpfs", "/m", 0, "").unwrap();
    mount_at(&w, "tmpfs", "/m", 0, "").unwrap();
    assert_eq!(mounts(&w).lines().count(), 3, "mounts stack");
    umount_at(&w, "/m", umount_flag::EXPIRE).unwrap_err();
    umount_at(&w, "/m", umount_flag::EXPIRE).unwrap();
    umount_at(&w, "/m", 0).unwrap();
    assert_eq!(mounts(&w).lines().count(), 1);
}

#[test]
fn read_only_is_kept() {
    let w = world();
    w.mkdir("/m").unwrap();
    mount_at(&w, "tmpfs", "/m", 0, "").unwrap();
    w.write("/m/f", b"x");
    let writer = w.open("/m/f", O_WRONLY).unwrap();
    assert_eq!(
        mount_at(&w, "", "/m", ms::REMOUNT | ms::RDONLY, ""),
        Err(Errno::EBUSY)
    );
    drop(writer);
    mount_at(&w, "", "/m", ms::REMOUNT | ms::RDONLY, "").unwrap();
    assert_eq!(w.open("/m/f", O_WRONLY).err(), Some(Errno::EROFS));
    assert_eq!(w.open("/m/new", O_RDWR | O_CREAT).err(), Some(Errno::EROFS));
    assert_eq!(w.mkdir("/m/d"), Err(Errno::EROFS));
    assert_eq!(w.mkdir("/m/f"), Err(Errno::EEXIST));
    assert_eq!(w.unlink("/m/f"), Err(Errno::EROFS));
    assert_eq!(w.chmod("/m/f", 0o600), Err(Errno::EROFS));
    assert_eq!(
        attr::access(&w.lookup("/m/f").unwrap(), &w.cred, 2),
        Err(Errno::EROFS)
    );
    assert!(w.open("/m/f", O_RDONLY | O_CREAT).is_ok());
    mount_at(&w, "", "/m", ms::REMOUNT, "").unwrap();
    w.unlink("/m/f").unwrap();
}

#[test]
fn binds_show_the_same_elsewhere() {
    let w = world();
    for dir in ["/a", "/a/sub", "/b", "/c"] {
        w.mkdir(dir).unwrap();
    }
    mount_at(&w, "tmpfs", "/a/sub", 0, "").unwrap();
    w.write("/a/sub/deep", b"");
    w.write("/a/f", b"1");
    w.write("/target", b"");
    bind(&w, "/a", "/b", ms::BIND).unwrap();
    assert_eq!(w.names("/b"), ["f", "sub"]);
    assert_eq!(w.names("/b/sub"), [""; 0], "not what is mounted beneath");
    bind(&w, "/a", "/c", ms::BIND | ms::REC).unwrap();
    assert_eq!(w.names("/c/sub"), ["deep"]);
    bind(&w, "/a/f", "/target", ms::BIND).unwrap();
    assert_eq!(w.read("/target"), b"1");
    assert_eq!(w.unlink("/target"), Err(Errno::EBUSY));
    // A bind mount becomes read-only for itself.
    mount_at(&w, "", "/b", ms::REMOUNT | ms::BIND | ms::RDONLY, "").unwrap();
    assert_eq!(w.mkdir("/b/x"), Err(Errno::EROFS));
    w.mkdir("/a/x").unwrap();
    let mut info = String::new();
    w.ns.show_mountinfo(&w.root, &mut info);
    assert!(info.lines().any(|l| l.contains(" /a /b ro - ")), "{info}");
    assert!(
        info.lines().any(|l| l.contains(" /a/f /target rw")),
        "{info}"
    );
    umount_at(&w, "/c", umount_flag::DETACH).unwrap();
    assert_eq!(w.names("/c"), [""; 0]);
    mount_at(&w, "", "/b", ms::UNBINDABLE, "").unwrap();
    assert_eq!(bind(&w, "/b", "/c", ms::BIND), Err(Errno::EINVAL));
}

#[test]
fn a_mount_moves_but_not_beneath_itself() {
    let w = world();
    w.mkdir("/a").unwrap();
    w.mkdir("/b").unwrap();
    mount_at(&w, "tmpfs", "/a", 0, "").unwrap();
    w.mkdir("/a/in").unwrap();
    assert_eq!(bind(&w, "/a", "/a/in", ms::MOVE), Err(Errno::ELOOP));
    assert_eq!(bind(&w, "/b", "/a/in", ms::MOVE), Err(Errno::EINVAL));
    bind(&w, "/a", "/b", ms::MOVE).unwrap();
    assert_eq!(w.names("/a"), [""; 0]);
    assert_eq!(w.names("/b"), ["in"]);
    assert_eq!(w.display(&w.lookup("/b/in").unwrap()), "/b/in");
}

#[test]
fn a_detached_mount_lives_while_somebody_is_in_it() {
    let mut w = world();
    w.mkdir("/m").unwrap();
    mount_at(&w, "tmpfs", "/m", 0, "").unwrap();
    w.mkdir("/m/d").unwrap();
    let outside = w.clone();
    w.chdir("/m/d");
    umount_at(&outside, "/m", umount_flag::DETACH).unwrap();
    assert_eq!(outside.names("/m"), [""; 0]);
    w.write("f", b"still here");
    assert_eq!(w.read("f"), b"still here");
    assert_eq!(w.cwd.getcwd(&w.root).unwrap(), b"(unreachable)/d");
    w.chdir("..");
    w.chdir("..");
    assert_eq!(w.names("."), ["d"], "nothing above");
}

/// A device that swallows everything.
struct Bin;

impl FileOps for Bin {
    fn read(&self, _: &File, _: &mut u64, _: &mut dyn Sink) -> Result<usize> {
        Ok(0)
    }
    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let all = buf.remaining();
        Ok(buf.skip(all))
    }
}

#[test]
fn devices_come_through_any_node() {
    let w = world();
    w.mknod("/bin", S_IFCHR | 0o666, make_dev(240, 4)).unwrap();
    let bin = w.open("/bin", O_RDWR | O_TRUNC).unwrap();
    assert_eq!(crate::common::write_all(&bin, b"gone"), Ok(4));
    assert_eq!(crate::common::read_some(&bin, 4).unwrap(), b"");
    for (name, minor) in [("/below", 2), ("/above", 5)] {
        w.mknod(name, S_IFCHR | 0o666, make_dev(240, minor))
            .unwrap();
        assert_eq!(w.open(name, O_RDONLY).err(), Some(Errno::ENXIO));
    }
    let again = Arc::new(SharedOps::new(Bin, Positioning::Stream));
    let taken = device::register(DeviceKind::Char, "other", (240, 4), 9, again);
    assert_eq!(taken, Err(Errno::EBUSY));
    w.mkdir("/nodev").unwrap();
    mount_at(&w, "tmpfs", "/nodev", ms::NODEV, "").unwrap();
    w.mknod("/nodev/bin", S_IFCHR | 0o666, make_dev(240, 3))
        .unwrap();
    assert_eq!(w.open("/nodev/bin", O_RDONLY).err(), Some(Errno::EACCES));
}

#[test]
fn pivot_root_swaps_the_top() {
    let mut w = world();
    w.mkdir("/root").unwrap();
    mount_at(&w, "tmpfs", "/root", 0, "").unwrap();
    // The first mount cannot be pivoted away from: move into one that can.
    let first = w.clone();
    w.root = w.lookup("/root").unwrap();
    w.cwd = w.root.clone();
    w.mkdir("/new").unwrap();
    mount_at(&w, "tmpfs", "/new", 0, "").unwrap();
    w.mkdir("/new/old").unwrap();
    let paths = |w: &World, new: &str, old: &str| (w.lookup(new).unwrap(), w.lookup(old).unwrap());
    let pivot = |w: &World, new: &str, old: &str| {
        let (new, old) = paths(w, new, old);
        pivot_root(&w.ns, &w.cred, &w.root, &new, &old)
    };
    assert_eq!(pivot(&w, "/", "/new/old").err(), Some(Errno::EBUSY));
    assert_eq!(pivot(&w, "/new/old", "/new/old").err(), Some(Errno::EINVAL));
    assert_eq!(pivot(&first, "/root", "/root").err(), Some(Errno::EINVAL));
    assert_eq!(pivot(&first, "/", "/").err(), Some(Errno::EINVAL));
    let (old, new) = pivot(&w, "/new", "/new/old").unwrap();
    assert_eq!(old, w.root);
    w.root = new.clone();
    w.cwd = new;
    assert_eq!(w.names("/"), ["old"]);
    assert_eq!(w.names("/old"), ["new"]);
    assert_eq!(w.lookup("/old/..").unwrap(), w.root);
}

#[test]
fn limits_of_a_tmpfs() {
    let w = world();
    w.mkdir("/m").unwrap();
    mount_at(&w, "tmpfs", "/m", 0, "size=16k,nr_inodes=3").unwrap();
    let file = w.open("/m/f", O_RDWR | O_CREAT).unwrap();
    assert_eq!(crate::common::write_all(&file, &[1; 20_000]), Ok(16_384));
    assert_eq!(
        crate::common::write_all(&file, &[1; 10]),
        Err(Errno::ENOSPC)
    );
    let stat = attr::statfs(&w.lookup("/m").unwrap()).unwrap();
    assert_eq!(
        (stat.blocks, stat.bfree, stat.files, stat.ffree),
        (4, 0, 3, 1)
    );
    w.write("/m/g", b"");
    assert_eq!(w.open("/m/h", O_RDWR | O_CREAT).err(), Some(Errno::ENOSPC));
    assert_eq!(
        mount_at(&w, "", "/m", ms::REMOUNT, "size=8k"),
        Err(Errno::EINVAL)
    );
    attr::ftruncate(&file, 4097, u64::MAX).unwrap();
    let stat = attr::statfs(&w.lookup("/m").unwrap()).unwrap();
    assert_eq!(stat.bfree, 2);
    w.unlink("/m/f").unwrap();
    let free = || {
        attr::statfs(&w.lookup("/m").unwrap())
            .map(|s| (s.bfree, s.ffree))
            .unwrap()
    };
    assert_eq!(free(), (2, 0), "the file is open still");
    drop(file);
    assert_eq!(free(), (4, 1));
}
