//! Path walks: from a name to what it leads to.
//!
//! [`Walk`] is who walks and from where. A walk takes one step per component: check that the place is a directory we may search, find the
//! name (in the dentry cache, with luck), go down into what is mounted there, follow what is a symbolic link. It allocates
//! nothing until it meets a link; then link text and the rest of the path become one new path.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::cred::{Credentials, MAY_EXEC};
use crate::dentry::{self, Dentry, Name};
use crate::inode::{Inode, LinkTarget, S_IFLNK, S_IFMT};
use crate::mount::{Path, ms};
use crate::{Errno, Result, protect};

/// The longest path, with its terminating zero.
pub const PATH_MAX: usize = 4096;
/// How many symbolic links one walk follows.
pub const MAX_LINKS: u32 = 40;

/// `*at` flags and directory descriptors.
#[allow(missing_docs, reason = "the names are those of openat(2) and friends")]
pub mod at {
    pub const FDCWD: i32 = -100;
    pub const SYMLINK_NOFOLLOW: u32 = 0x100;
    pub const REMOVEDIR: u32 = 0x200;
    pub const EACCESS: u32 = 0x200;
    pub const SYMLINK_FOLLOW: u32 = 0x400;
    pub const NO_AUTOMOUNT: u32 = 0x800;
    pub const EMPTY_PATH: u32 = 0x1000;
    pub const STATX_FORCE_SYNC: u32 = 0x2000;
    pub const STATX_DONT_SYNC: u32 = 0x4000;
    pub const RECURSIVE: u32 = 0x8000;
}

/// What to do at the end of a walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupFlags {
    /// Follow a symbolic link in the last component.
    pub follow: bool,
    /// The result must be a directory.
    pub directory: bool,
    /// An empty path means the start itself.
    pub empty: bool,
}

impl LookupFlags {
    /// Follow links: what `stat`, `open` and most others do.
    pub const FOLLOW: LookupFlags = LookupFlags {
        follow: true,
        directory: false,
        empty: false,
    };
    /// Do not follow a link in the last component, as `lstat`.
    pub const NOFOLLOW: LookupFlags = LookupFlags {
        follow: false,
        directory: false,
        empty: false,
    };
    /// The result must be a directory, as for `chdir`.
    pub const DIRECTORY: LookupFlags = LookupFlags {
        follow: true,
        directory: true,
        empty: false,
    };

    /// Decodes `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH` for calls that follow links by default.
    pub fn from_at(flags: u32) -> LookupFlags {
        LookupFlags {
            follow: flags & at::SYMLINK_NOFOLLOW == 0,
            directory: false,
            empty: flags & at::EMPTY_PATH != 0,
        }
    }
}

/// What the last component of a path is, for calls that act on a name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// An ordinary name.
    Name(LastName),
    /// The path was `/`, or nothing but slashes.
    Root,
    /// The path ended in `.`.
    Dot,
    /// The path ended in `..`.
    DotDot,
}

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastName {
    text: Text,
    range: (usize, usize),
    /// Slashes follow the name.
    pub slashes: bool,
}

/// Path text that may have been rewritten by a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    Given,
    Spliced(Arc<Vec<u8>>),
}

impl LastName {
    /// Returns the name; `path` is the one that was walked.
    #[inline]
    pub fn name<'a>(&'a self, path: &'a [u8]) -> Name<'a> {
        let text = match &self.text {
            Text::Given => path,
            Text::Spliced(text) => text,
        };
        Name::new(&text[self.range.0..self.range.1])
    }
}

/// Who walks and from where.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    /// What `/` means.
    pub root: &'a Path,
    /// Where relative paths start: the working directory or a descriptor's path.
    pub start: &'a Path,
    /// Whose permissions count.
    pub cred: &'a Credentials,
}

/// Where a walk is.
struct Cursor<'w, 'a> {
    walk: &'w Walk<'a>,
    at: Path,
    given: &'a [u8],
    spliced: Option<Vec<u8>>,
    pos: usize,
    links: u32,
}

/// A component found in the text.
struct Component {
    range: (usize, usize),
    /// Where the text goes on, behind the slashes.
    next: usize,
    last: bool,
    slashes: bool,
}

/// Checks that `at` is a directory that may be searched.
#[inline]
fn may_search(at: &Path, cred: &Credentials) -> Result<()> {
    let inode = at.dentry.existing()?;
    if !inode.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    cred.permission(inode, MAY_EXEC)
}

/// Goes to the directory above, through the roots of mounts, but not above `root`.
fn step_up(at: &mut Path, root: &Path) {
    loop {
        if *at == *root {
            break;
        }
        if !at.is_mount_root() {
            if let Some(parent) = at.dentry.parent() {
                at.dentry = parent;
            }
            break;
        }
        if !at.leave_mount() {
            break;
        }
    }
    at.enter_mounts();
}

#[inline]
fn skip_slashes(mut text: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Returns how many bytes come before the next slash, or the end.
#[inline]
fn component_len(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const SLASHES: u64 = ONES * b'/' as u64;
    let (words, tail) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // A byte that was a slash is zero now, and the lowest zero byte is marked in its high bit.
        let word = u64::from_le_bytes(*word) ^ SLASHES;
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return at * 8 + (zeros.trailing_zeros() / 8) as usize;
        }
    }
    let more = tail.iter().position(|&byte| byte == b'/');
    words.len() * 8 + more.unwrap_or(tail.len())
}

impl<'a> Cursor<'_, 'a> {
    #[inline]
    fn text(&self) -> &[u8] {
        self.spliced.as_deref().unwrap_or(self.given)
    }

    /// Returns the component at `pos`, which is not a slash.
    #[inline]
    fn component(&self) -> Option<Component> {
        let text = self.text();
        let start = self.pos;
        if start >= text.len() {
            return None;
        }
        let mut end = start;
        while end < text.len() && text[end] != b'/' {
            end += 1;
        }
        let mut next = end;
        while next < text.len() && text[next] == b'/' {
            next += 1;
        }
        Some(Component {
            range: (start, end),
            next,
            last: next == text.len(),
            slashes: next > end,
        })
    }

    /// Takes the step of one component; `follow` tells what to do with a symbolic link.
    #[inline]
    fn step(&mut self, component: &Component, follow: bool) -> Result<()> {
        let (start, end) = component.range;
        let name = &self.text()[start..end];
        if name[0] == b'.' && name.len() <= 2 {
            if name.len() == 1 {
                self.pos = component.next;
                return Ok(());
            }
            if name[1] == b'.' {
                self.pos = component.next;
                step_up(&mut self.at, self.walk.root);
                return Ok(());
            }
        }
        let dentry = dentry::lookup(&self.at.dentry, Name::new(name))?;
        let kind = dentry.existing()?.mode() & S_IFMT;
        if kind == S_IFLNK && follow {
            return self.follow(&dentry, component);
        }
        self.pos = component.next;
        self.at.dentry = dentry;
        self.at.enter_mounts();
        Ok(())
    }

    /// Follows the symbolic link `dentry`: the cursor goes on with its text and what was behind it.
    #[cold]
    fn follow(&mut self, dentry: &Arc<Dentry>, component: &Component) -> Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        if self.at.mount.flags() & ms::NOSYMFOLLOW != 0 {
            return Err(Errno::ELOOP);
        }
        let inode = dentry.existing()?;
        if component.last {
            protect::may_follow(self.walk.cred, self.at.dentry.existing()?, inode)?;
        }
        crate::inode::touch_atime(&self.at.mount, inode);
        let rest = &self.text()[component.range.1..];
        match inode.ops().link_target(inode)? {
            LinkTarget::Jump(path) => {
                let rest = rest.to_vec();
                self.at = path;
                self.splice(rest);
            }
            LinkTarget::Text(target) => {
                if target.is_empty() {
                    return Err(Errno::ENOENT);
                }
                let mut text = Vec::new();
                text.try_reserve_exact(target.len() + rest.len())
                    .map_err(|_| Errno::ENOMEM)?;
                text.extend_from_slice(&target);
                text.extend_from_slice(rest);
                if target[0] == b'/' {
                    self.at = self.walk.root.clone();
                    self.at.enter_mounts();
                }
                self.splice(text);
            }
        }
        Ok(())
    }

    fn splice(&mut self, text: Vec<u8>) {
        self.pos = text.iter().take_while(|&&b| b == b'/').count();
        self.spliced = Some(text);
    }
}

impl<'a> Walk<'a> {
    #[inline]
    fn begin<'w>(&'w self, path: &'a [u8]) -> Result<Cursor<'w, 'a>> {
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut pos = 0;
        while pos < path.len() && path[pos] == b'/' {
            pos += 1;
        }
        let mut at = if pos > 0 {
            self.root.clone()
        } else {
            self.start.clone()
        };
        if pos > 0 {
            at.enter_mounts();
        }
        Ok(self.cursor(at, path, pos))
    }

    fn cursor<'w>(&'w self, at: Path, given: &'a [u8], pos: usize) -> Cursor<'w, 'a> {
        Cursor {
            walk: self,
            at,
            given,
            spliced: None,
            pos,
            links: 0,
        }
    }

    /// Finds what `path` leads to.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`, and the file system's own.
    #[inline]
    pub fn lookup(&self, path: &'a [u8], flags: LookupFlags) -> Result<Path> {
        if path.is_empty() {
            return if flags.empty {
                self.start_itself(flags)
            } else {
                Err(Errno::ENOENT)
            };
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut rest = skip_slashes(path);
        let mut at = if rest.len() < path.len() {
            self.root
        } else {
            self.start
        }
        .clone();
        if rest.len() < path.len() {
            at.enter_mounts();
        }
        // The text may end in slashes: then what is before them must be a directory.
        let mut must_be_dir = flags.directory;
        while !rest.is_empty() {
            may_search(&at, self.cred)?;
            let (name, behind) = rest.split_at(component_len(rest));
            let next = skip_slashes(behind);
            match name {
                b"." => {}
                b".." => step_up(&mut at, self.root),
                _ => {
                    let dentry = dentry::lookup(&at.dentry, Name::new(name))?;
                    let kind = dentry.existing()?.kind();
                    if kind == S_IFLNK && (flags.follow || !behind.is_empty()) {
                        let pos = path.len() - rest.len();
                        return self.lookup_from(self.cursor(at, path, pos), flags);
                    }
                    at.dentry = dentry;
                    at.enter_mounts();
                    must_be_dir |= next.is_empty() && !behind.is_empty();
                }
            }
            rest = next;
        }
        if must_be_dir && !at.dentry.existing()?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(at)
    }

    /// Goes on with a walk that has met a symbolic link.
    #[cold]
    fn lookup_from(&self, mut cursor: Cursor<'_, 'a>, flags: LookupFlags) -> Result<Path> {
        // Slashes at the end of a link's text count as well.
        let mut must_be_dir = flags.directory;
        while let Some(component) = cursor.component() {
            may_search(&cursor.at, self.cred)?;
            let ends = component.last;
            must_be_dir |= ends && component.slashes;
            let follow = !ends || flags.follow || component.slashes;
            cursor.step(&component, follow)?;
        }
        if must_be_dir && !cursor.at.dentry.existing()?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(cursor.at)
    }

    #[cold]
    fn start_itself(&self, flags: LookupFlags) -> Result<Path> {
        if flags.directory && !self.start.dentry.existing()?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.start.clone())
    }

    /// Walks to the directory of the last component, which is returned unresolved.
    ///
    /// # Errors
    /// As [`lookup`](Walk::lookup), for the components before the last.
    pub fn parent(&self, path: &'a [u8]) -> Result<(Path, Last)> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut cursor = self.begin(path)?;
        self.parent_from(&mut cursor)
    }

    fn parent_from(&self, cursor: &mut Cursor<'_, 'a>) -> Result<(Path, Last)> {
        loop {
            let Some(component) = cursor.component() else {
                return Ok((cursor.at.clone(), Last::Root));
            };
            may_search(&cursor.at, self.cred)?;
            if component.last {
                let (start, end) = component.range;
                let last = match &cursor.text()[start..end] {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    _ => Last::Name(LastName {
                        text: match cursor.spliced.take() {
                            Some(text) => Text::Spliced(Arc::new(text)),
                            None => Text::Given,
                        },
                        range: component.range,
                        slashes: component.slashes,
                    }),
                };
                return Ok((cursor.at.clone(), last));
            }
            cursor.step(&component, true)?;
        }
    }

    /// Starts a walk that hands back the last component each time and may be told to follow it; for `open`.
    pub(crate) fn open_walk<'w>(&'w self, path: &'a [u8]) -> Result<OpenWalk<'w, 'a>> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        Ok(OpenWalk {
            cursor: self.begin(path)?,
        })
    }
}

/// A walk of `open`, which decides itself what to do with the last component.
pub(crate) struct OpenWalk<'w, 'a> {
    cursor: Cursor<'w, 'a>,
}

/// The last component for [`OpenWalk`].
pub(crate) enum OpenLast<'c> {
    /// A name in the directory.
    Name {
        dir: &'c Path,
        name: Name<'c>,
        slashes: bool,
    },
    /// The walk ended at a directory by itself: `.`, `..`, `/`, or a link that jumps.
    Here(&'c Path),
}

impl<'a> OpenWalk<'_, 'a> {
    /// Walks up to the last component.
    pub(crate) fn last(&mut self) -> Result<OpenLast<'_>> {
        loop {
            let Some(component) = self.cursor.component() else {
                return Ok(OpenLast::Here(&self.cursor.at));
            };
            may_search(&self.cursor.at, self.cursor.walk.cred)?;
            let (start, end) = component.range;
            let dots = matches!(&self.cursor.text()[start..end], b"." | b"..");
            if component.last && !dots {
                let cursor = &self.cursor;
                return Ok(OpenLast::Name {
                    dir: &cursor.at,
                    name: Name::new(&cursor.text()[start..end]),
                    slashes: component.slashes,
                });
            }
            self.cursor.step(&component, true)?;
        }
    }

    /// Follows the symbolic link that the last component turned out to be.
    pub(crate) fn follow(&mut self, dentry: &Arc<Dentry>) -> Result<()> {
        let component = self
            .cursor
            .component()
            .expect("a last component was handed out");
        self.cursor.follow(dentry, &component)
    }
}

/// Checks that entries of `dir` may be added by `cred`.
///
/// # Errors
/// `ENOENT` if the directory was removed, `EACCES`.
pub(crate) fn may_create(cred: &Credentials, dir: &Inode) -> Result<()> {
    if dir.nlink() == 0 {
        return Err(Errno::ENOENT);
    }
    cred.permission(dir, crate::cred::MAY_WRITE | MAY_EXEC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_component_ends_at_the_first_slash(text in prop::collection::vec(prop_oneof![Just(b'/'), any::<u8>()], 0..40)) {
            let want = text.iter().position(|&b| b == b'/').unwrap_or(text.len());
            prop_assert_eq!(component_len(&text), want);
        }
    }
}
