//! A writer of newc cpio archives, the format of an initramfs.
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeMap;

/// What an entry of the archive is.
#[derive(Clone, Debug)]
pub enum Node {
    /// A directory.
    Dir,
    /// A regular file with its contents.
    File(Vec<u8>),
    /// A symbolic link with its target.
    Symlink(String),
    /// A character device: major and minor number.
    Char(u32, u32),
    /// A block device: major and minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Node {
    fn type_bits(&self) -> u32 {
        match self {
            Node::Dir => 0o040_000,
            Node::File(_) => 0o100_000,
            Node::Symlink(_) => 0o120_000,
            Node::Char(..) => 0o020_000,
            Node::Block(..) => 0o060_000,
            Node::Fifo => 0o010_000,
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Node::File(data) => data,
            Node::Symlink(target) => target.as_bytes(),
            _ => &[],
        }
    }
}

/// An archive in the making. Its entries are kept by path, so the same entries make the same bytes.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, (u32, Node)>,
}

impl Archive {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node at `path` (without a leading slash), and the directories above it that are missing.
    ///
    /// A node that is already there is replaced.
    pub fn add(&mut self, path: &str, mode: u32, node: Node) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            self.entries
                .entry(path[..at].to_string())
                .or_insert((0o755, Node::Dir));
        }
        self.entries.insert(path.to_string(), (mode, node));
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: &str, mode: u32) {
        self.add(path, mode, Node::Dir);
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) {
        self.add(path, mode, Node::File(data.into()));
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, 0o777, Node::Symlink(target.to_string()));
    }

    /// Whether there is an entry at `path`.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_matches('/'))
    }

    /// The bytes of the archive, padded to 512 bytes as cpio does.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (ino, (path, (mode, node))) in (1..).zip(&self.entries) {
            write_entry(&mut out, ino, path, *mode, node);
        }
        write_entry(&mut out, 0, "TRAILER!!!", 0, &Node::File(Vec::new()));
        pad(&mut out, 512);
        out
    }
}

fn write_entry(out: &mut Vec<u8>, ino: u32, path: &str, mode: u32, node: &Node) {
    let (major, minor) = match node {
        Node::Char(major, minor) | Node::Block(major, minor) => (*major, *minor),
        _ => (0, 0),
    };
    let mode = if path == "TRAILER!!!" {
        0
    } else {
        node.type_bits() | mode
    };
    let links = if matches!(node, Node::Dir) { 2 } else { 1 };
    let size = u32::try_from(node.data().len()).expect("an archive member stays below 4 GiB");
    let name_size = u32::try_from(path.len() + 1).expect("a path stays below 4 GiB");
    out.extend_from_slice(b"070701");
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    for field in [
        ino, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0,
    ] {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out, 4);
    out.extend_from_slice(node.data());
    pad(out, 4);
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn parents_are_added_before_their_children() {
        let mut archive = Archive::new();
        archive.file("a/b/c", 0o644, *b"x");
        let bytes = archive.bytes();
        let at = |name: &[u8]| {
            bytes
                .windows(name.len())
                .position(|w| w == name)
                .expect("entry present")
        };
        assert!(at(b"a\0") < at(b"a/b\0") && at(b"a/b\0") < at(b"a/b/c\0"));
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn header_fields_are_where_the_format_puts_them() {
        let mut archive = Archive::new();
        archive.add("dev/console", 0o600, Node::Char(5, 1));
        let bytes = archive.bytes();
        let second = 110 + 4 + 2; // the entry of `dev`: header, name with its NUL, padding
        let header = std::str::from_utf8(&bytes[second..second + 110]).expect("headers are ASCII");
        assert_eq!(&header[..6], "070701");
        assert_eq!(&header[14..22], "00002180"); // S_IFCHR | 0600
        assert_eq!(&header[78..94], "0000000500000001");
    }

    #[test]
    fn busybox_reads_the_archive_back() {
        let mut archive = Archive::new();
        archive.file("etc/greeting", 0o640, *b"hello");
        archive.symlink("etc/link", "greeting");
        crate::setup::ensure(crate::setup::Need::Boot).expect("the tools are there");
        let busybox = crate::setup::busybox().expect("busybox was just found or installed");
        let mut child = Command::new(busybox)
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("busybox runs");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(&archive.bytes())
            .expect("cpio reads it all");
        let out = child.wait_with_output().expect("cpio ends");
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            "etc\netc/greeting\netc/link\n"
        );
    }
}
