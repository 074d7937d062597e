use super::*;
use crate::cred::Credentials;
use crate::file::oflag::O_RDONLY;
use crate::inode::{S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG, make_dev};
use crate::iobuf::VecSink;
use crate::mount::{MountNamespace, Path};
use crate::namei::LookupFlags;
use crate::open::{OpenHow, open};
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    ino: u32,
    nlink: u32,
    rdev: (u32, u32),
    data: &'a [u8],
}

fn entry<'a>(name: &'a str, mode: u32, data: &'a [u8]) -> Entry<'a> {
    Entry {
        name,
        mode,
        ino: 0,
        nlink: 1,
        rdev: (0, 0),
        data,
    }
}

fn pack(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let trailer = entry("TRAILER!!!", 0, b"");
    for e in entries.iter().chain([&trailer]) {
        let numbers = [
            e.ino,
            e.mode,
            10,
            20,
            e.nlink,
            1_600_000_000,
            e.data.len() as u32,
            0,
            0,
            e.rdev.0,
            e.rdev.1,
            e.name.len() as u32 + 1,
            0,
        ];
        out.extend_from_slice(b"070701");
        for number in numbers {
            out.extend_from_slice(format!("{number:08X}").as_bytes());
        }
        out.extend_from_slice(e.name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(e.data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn sample() -> Vec<u8> {
    let hard = |name, data| Entry {
        ino: 7,
        nlink: 2,
        ..entry(name, S_IFREG | 0o644, data)
    };
    pack(&[
        entry(".", S_IFDIR | 0o755, b""),
        entry("dev", S_IFDIR | 0o755, b""),
        Entry {
            rdev: (5, 1),
            ..entry("dev/console", S_IFCHR | 0o600, b"")
        },
        entry("init", S_IFREG | 0o4755, b"#!/bin/sh\n"),
        entry("link", S_IFLNK | 0o777, b"dev/console"),
        hard("first", b""),
        hard("second", b"both names have this"),
        entry("missing/file", S_IFREG | 0o644, b"skipped"),
        entry("empty", S_IFREG | 0o600, b""),
    ])
}

fn root() -> Path {
    MountNamespace::new(crate::tmpfs::rootfs().unwrap()).root_path()
}

fn read(root: &Path, path: &str) -> Vec<u8> {
    let cred = Credentials::root();
    let walk = Walk {
        root,
        start: root,
        cred: &cred,
    };
    let file = open(
        &walk,
        path.as_bytes(),
        OpenHow {
            flags: O_RDONLY,
            mode: 0,
            umask: 0,
        },
    )
    .unwrap();
    let mut sink = VecSink::new(1 << 20);
    file.read(&mut sink).unwrap();
    sink.into_vec()
}

fn unpack_at(root: &Path, image: &[u8]) -> core::result::Result<Report, Error> {
    let cred = Credentials::root();
    unpack(
        image,
        &Walk {
            root,
            start: root,
            cred: &cred,
        },
    )
}

fn check(root: &Path, report: &Report) {
    assert_eq!((report.entries, report.skipped), (8, 1));
    assert_eq!(
        report.first_skipped,
        Some((b"missing/file".to_vec(), Errno::ENOENT))
    );
    assert_eq!(read(root, "/init"), b"#!/bin/sh\n");
    assert_eq!(read(root, "/first"), b"both names have this");
    let cred = Credentials::root();
    let walk = Walk {
        root,
        start: root,
        cred: &cred,
    };
    let stat = |path: &str| {
        let path = walk.lookup(path.as_bytes(), LookupFlags::NOFOLLOW).unwrap();
        crate::attr::stat(&path).unwrap()
    };
    let init = stat("/init");
    assert_eq!((init.mode, init.uid, init.gid), (S_IFREG | 0o4755, 10, 20));
    assert_eq!(init.mtime.sec, 1_600_000_000);
    assert_eq!(stat("/dev").mtime.sec, 1_600_000_000);
    assert_eq!(stat("/dev/console").rdev, make_dev(5, 1));
    assert_eq!(stat("/link").size, 11);
    assert_eq!(
        (stat("/second").nlink, stat("/second").ino),
        (2, stat("/first").ino)
    );
}

/// Compresses without compressing: stored blocks.
fn gzip_stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
    out.extend_from_slice(b"name\0");
    out.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(bytes, 6));
    let mut crc = gzip::Crc32::new();
    crc.update(bytes);
    out.extend_from_slice(&crc.finish().to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

#[test]
fn every_kind_of_entry_is_made() {
    let root = root();
    let report = unpack_at(&root, &sample()).unwrap();
    check(&root, &report);
    // Unpacking over what is there gives the same.
    let report = unpack_at(&root, &sample()).unwrap();
    check(&root, &report);
}

#[test]
fn compressed_archives_and_several_in_a_row() {
    let root = root();
    let report = unpack_at(&root, &gzip_stored(&sample())).unwrap();
    check(&root, &report);
    let mut image = pack(&[entry("a", S_IFREG | 0o644, b"plain")]);
    image.resize(image.len() + 512, 0);
    let mut inner = pack(&[entry("b", S_IFREG | 0o644, &[7; 100_000])]);
    inner.resize(inner.len() + 100, 0);
    inner.extend(pack(&[entry("c", S_IFREG | 0o644, b"third")]));
    image.extend(gzip_stored(&inner));
    image.resize(image.len() + 33, 0);
    assert_eq!(unpack_at(&root, &image).unwrap().entries, 3);
    assert_eq!(read(&root, "/a"), b"plain");
    assert_eq!(read(&root, "/b"), vec![7; 100_000]);
    assert_eq!(read(&root, "/c"), b"third");
}

#[test]
fn damage_is_named() {
    let root = root();
    let good = sample();
    assert_eq!(
        unpack_at(&root, b""),
        Err(Error::NotAnArchive { offset: 0 })
    );
    assert_eq!(
        unpack_at(&root, b"\0\0\x7fELF"),
        Err(Error::NotAnArchive { offset: 2 })
    );
    assert_eq!(
        unpack_at(&root, &good[..300]),
        Err(Error::Truncated { offset: 300 })
    );
    let no_trailer = good.len() - 124;
    let cut = unpack_at(&root, &good[..no_trailer]);
    assert_eq!(
        cut,
        Err(Error::Truncated {
            offset: no_trailer as u64
        })
    );
    let bad = |at: usize, byte: u8| {
        let mut image = good.clone();
        image[at] = byte;
        unpack_at(&self::root(), &image)
    };
    let header = |offset, reason| Err(Error::BadHeader { offset, reason });
    assert_eq!(
        bad(5, b'7'),
        header(0, "incorrect cpio method used: use -H newc option")
    );
    assert_eq!(bad(5, b'9'), header(0, "no cpio magic"));
    assert_eq!(bad(20, b'x'), header(0, "a number is not hexadecimal"));
    assert_eq!(
        bad(94, b'f'),
        header(0, "the name's length is not within 1 and 4096")
    );
    assert_eq!(bad(111, b'x'), header(112, "a name does not end in zero"));
    assert!(matches!(bad(54, b'f'), Err(Error::Truncated { .. })));
    let mut zipped = gzip_stored(&good);
    let length = zipped.len();
    zipped[length - 8] ^= 1;
    assert_eq!(
        unpack_at(&root, &zipped),
        Err(Error::Gzip(gzip::Error::Checksum))
    );
    assert_eq!(
        unpack_at(&root, &zipped[..length - 20]),
        Err(Error::Gzip(gzip::Error::Truncated))
    );
}

#[test]
fn a_full_file_system_is_told() {
    struct Full;
    impl Receiver for Full {
        fn begin(&mut self, _: &Header, _: &[u8]) -> core::result::Result<(), Error> {
            Ok(())
        }
        fn contents(&mut self, _: &[u8]) -> core::result::Result<(), Error> {
            Err(Error::Write {
                name: b"f".to_vec(),
                error: Errno::ENOSPC,
            })
        }
        fn end(&mut self) -> core::result::Result<(), Error> {
            Ok(())
        }
    }
    let error = feed_image(&sample(), &mut Full).unwrap_err();
    assert_eq!(
        format!("{error}"),
        "cannot write f: No space left on device"
    );
}

proptest! {
    /// Damage anywhere gives an error or a different tree, never a panic, and never more contents than there are.
    #[test]
    fn damaged_archives_do_no_harm(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
                                   cut in any::<prop::sample::Index>(), zip in any::<bool>()) {
        let mut image = sample();
        if zip {
            image = gzip_stored(&image);
        }
        for (at, byte) in flips {
            let at = at.index(image.len());
            image[at] = byte;
        }
        image.truncate(cut.index(image.len()) + 1);
        if let Ok(report) = unpack_at(&root(), &image) {
            prop_assert!(report.entries + report.skipped <= 32);
        }
    }

    /// However the bytes are cut into pieces, the parser sees the same.
    #[test]
    fn pieces_do_not_matter(cuts in prop::collection::vec(1usize..200, 1..60)) {
        #[derive(Default, PartialEq, Debug)]
        struct Log(Vec<(Header, Vec<u8>, Vec<u8>)>);
        impl Receiver for Log {
            fn begin(&mut self, header: &Header, name: &[u8]) -> core::result::Result<(), Error> {
                self.0.push((*header, name.to_vec(), Vec::new()));
                Ok(())
            }
            fn contents(&mut self, bytes: &[u8]) -> core::result::Result<(), Error> {
                self.0.last_mut().unwrap().2.extend_from_slice(bytes);
                Ok(())
            }
            fn end(&mut self) -> core::result::Result<(), Error> {
                Ok(())
            }
        }
        let image = sample();
        let mut whole = Log::default();
        Parser::new(&mut whole).feed(&image).unwrap();
        let mut pieces = Log::default();
        let mut parser = Parser::new(&mut pieces);
        let mut rest = &image[..];
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() || parser.is_done() {
                break;
            }
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            parser.feed(piece).unwrap();
            rest = tail;
        }
        prop_assert!(parser.is_done());
        prop_assert_eq!(whole.0.len(), 9);
        prop_assert_eq!(whole, pieces);
    }
}
