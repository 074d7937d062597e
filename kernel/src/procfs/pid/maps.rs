//! `maps`, `smaps`, `smaps_rollup`, `pagemap` and `clear_refs`: the address space.
//!
//! Source: Linux's Documentation/filesystems/proc.rst and Documentation/admin-guide/mm/pagemap.rst.

use alloc::sync::Arc;
use alloc::vec::Vec;

use fs::inode::{dev_major, dev_minor};
use fs::{Cap, Credentials, Errno, File, FileOps, Result, Sink};

use super::Subject;
use crate::mm::space::survey::{PageState, Survey};
use crate::mm::vma::VmFlags;
use crate::mm::{AddressSpace, Prot};
use crate::process::current;
use crate::pseudofs::{Node, Out, Special, Text, put};

/// Where the name begins.
const NAME_COLUMN: usize = 73;
/// Bytes that are looked at under one hold of the address space's lock.
const CHUNK: u64 = 64 << 20;

/// A mapping, kept while its line is written.
pub(super) struct Row {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) prot: Prot,
    pub(super) flags: VmFlags,
    pub(super) shared: bool,
    pub(super) offset: u64,
    pub(super) file: Option<Arc<File>>,
    pub(super) name: Option<&'static str>,
}

/// The mappings of the subject: copied first, since the lines are written without the lock of the address space.
pub(super) fn rows(space: &AddressSpace) -> Vec<Row> {
    let mut rows = Vec::new();
    space.for_each_vma(0, &mut |vma| {
        rows.push(Row {
            start: vma.start,
            end: vma.end,
            prot: vma.prot,
            flags: vma.flags,
            shared: vma.shared,
            offset: vma.offset,
            file: vma.file.cloned(),
            name: vma.name,
        });
        true
    });
    rows
}

pub(super) fn maps(subject: &Subject, out: &mut Out) -> Result<()> {
    let Some(space) = subject.process.mm() else {
        return Ok(());
    };
    for row in rows(&space) {
        line(out, &row);
    }
    Ok(())
}

fn line(out: &mut Out, row: &Row) {
    let start = out.len();
    let right = |flag, letter| if row.prot.contains(flag) { letter } else { '-' };
    let (dev, ino) = row
        .file
        .as_ref()
        .map_or((0, 0), |file| (file.inode().sb().dev(), file.inode().ino()));
    put!(out, "{:08x}-{:08x} ", row.start, row.end);
    put!(
        out,
        "{}{}{}",
        right(Prot::READ, 'r'),
        right(Prot::WRITE, 'w'),
        right(Prot::EXEC, 'x')
    );
    put!(
        out,
        "{} {:08x} ",
        if row.shared { 's' } else { 'p' },
        row.offset
    );
    put!(out, "{:02x}:{:02x} {ino} ", dev_major(dev), dev_minor(dev));
    if let Some(name) = name(row) {
        while out.len() - start < NAME_COLUMN {
            out.bytes(b" ");
        }
        for byte in name {
            // A line break would look like the end of the entry.
            if byte == b'\n' {
                out.bytes(b"\\012")
            } else {
                out.bytes(&[byte])
            }
        }
    }
    out.bytes(b"\n");
}

/// The path of the file as the reader sees it, or what the mapping is for.
pub(super) fn name(row: &Row) -> Option<Vec<u8>> {
    let file = row.file.as_ref().and_then(|file| {
        let root = current().try_fs()?.lock().root.clone();
        file.path().display(&root).ok()
    });
    file.or(row.name.map(|name| name.as_bytes().to_vec()))
}

/// Counts the resident pages of a mapping.
pub(super) fn survey(space: &AddressSpace, row: &Row) -> Survey {
    let mut all = Survey::default();
    let mut at = row.start;
    while at < row.end {
        let end = row.end.min(at + CHUNK);
        all.add(&space.survey(at..end));
        at = end;
    }
    all
}

/// The lines about resident pages that `smaps` and `smaps_rollup` share.
fn sizes(out: &mut Out, survey: &Survey) {
    let kib = |pages: u64| pages * 4;
    for (name, kib) in [
        ("Rss:", kib(survey.resident)),
        ("Pss:", survey.proportional_kib()),
        ("Shared_Clean:", kib(survey.shared_clean)),
        ("Shared_Dirty:", kib(survey.shared_dirty)),
        ("Private_Clean:", kib(survey.private_clean)),
        ("Private_Dirty:", kib(survey.private_dirty)),
        ("Referenced:", kib(survey.referenced)),
        ("Anonymous:", kib(survey.anonymous)),
        ("LazyFree:", 0),
        ("AnonHugePages:", 0),
        ("ShmemPmdMapped:", 0),
        ("FilePmdMapped:", 0),
        ("Shared_Hugetlb:", 0),
        ("Private_Hugetlb:", 0),
        ("Swap:", 0),
        ("SwapPss:", 0),
        ("Locked:", kib(survey.locked)),
    ] {
        size(out, name, kib);
    }
}

fn size(out: &mut Out, name: &str, kib: u64) {
    put!(out, "{name:<16}{kib:>8} kB\n");
}

/// The letters of `VmFlags:`.
const FLAG_LETTERS: [(VmFlags, &str); 17] = [
    (VmFlags::READ, "rd"),
    (VmFlags::WRITE, "wr"),
    (VmFlags::EXEC, "ex"),
    (VmFlags::SHARED, "sh"),
    (VmFlags::MAYREAD, "mr"),
    (VmFlags::MAYWRITE, "mw"),
    (VmFlags::MAYEXEC, "me"),
    (VmFlags::MAYSHARE, "ms"),
    (VmFlags::GROWSDOWN, "gd"),
    (VmFlags::LOCKED, "lo"),
    (VmFlags::IO, "io"),
    (VmFlags::SEQ_READ, "sr"),
    (VmFlags::RAND_READ, "rr"),
    (VmFlags::DONTCOPY, "dc"),
    (VmFlags::DONTEXPAND, "de"),
    (VmFlags::LOCKONFAULT, "lf"),
    (VmFlags::ACCOUNT, "ac"),
];

/// The rest of them, behind those.
const LATER_LETTERS: [(VmFlags, &str); 6] = [
    (VmFlags::NORESERVE, "nr"),
    (VmFlags::WIPEONFORK, "wf"),
    (VmFlags::DONTDUMP, "dd"),
    (VmFlags::SOFTDIRTY, "sd"),
    (VmFlags::HUGEPAGE, "hg"),
    (VmFlags::NOHUGEPAGE, "nh"),
];

pub(super) fn smaps(subject: &Subject, out: &mut Out) -> Result<()> {
    let Some(space) = subject.process.mm() else {
        return Ok(());
    };
    for row in rows(&space) {
        line(out, &row);
        size(out, "Size:", (row.end - row.start) / 1024);
        size(out, "KernelPageSize:", 4);
        size(out, "MMUPageSize:", 4);
        sizes(out, &survey(&space, &row));
        put!(out, "THPeligible:    0\nVmFlags: ");
        for (flag, letters) in FLAG_LETTERS.iter().chain(&LATER_LETTERS) {
            if row.flags.contains(*flag) {
                put!(out, "{letters} ");
            }
        }
        put!(out, "\n");
    }
    Ok(())
}

/// The sums of `smaps`.
pub(super) fn smaps_rollup(subject: &Subject, out: &mut Out) -> Result<()> {
    let space = subject.process.mm().ok_or(Errno::ESRCH)?;
    let (mut all, mut anonymous, mut shared, mut files) = <(Survey, u64, u64, u64)>::default();
    let rows = rows(&space);
    for row in &rows {
        let survey = survey(&space, row);
        let kind = match (row.shared, survey.anonymous == survey.resident) {
            (false, true) => &mut anonymous,
            (true, _) if row.file.is_none() => &mut shared,
            _ => &mut files,
        };
        *kind += survey.proportional;
        all.add(&survey);
    }
    let (start, end) = match (rows.first(), rows.last()) {
        (Some(first), Some(last)) => (first.start, last.end),
        _ => (0, 0),
    };
    let head = out.len();
    put!(out, "{start:08x}-{end:08x} ---p 00000000 00:00 0 ");
    while out.len() - head < NAME_COLUMN {
        put!(out, " ");
    }
    put!(out, "[rollup]\n");
    let mut lines = Out::default();
    sizes(&mut lines, &all);
    // The parts of the proportional size stand behind it.
    for line in lines.into_bytes().split_inclusive(|&byte| byte == b'\n') {
        out.bytes(line);
        if line.starts_with(b"Pss:") {
            let kib = |proportional| {
                Survey {
                    proportional,
                    ..Survey::default()
                }
                .proportional_kib()
            };
            size(out, "Pss_Anon:", kib(anonymous));
            size(out, "Pss_File:", kib(files));
            size(out, "Pss_Shmem:", kib(shared));
        }
    }
    Ok(())
}

/// `pagemap`: a word for each page of the address space.
pub(super) fn pagemap(subject: &Subject) -> Node {
    Node::Special(Arc::new(PageMap(subject.clone())))
}

struct PageMap(Subject);

impl Special for PageMap {
    fn open(&self, _: u32) -> Result<Arc<dyn FileOps>> {
        self.0.check_access()?;
        let space = self.0.process.mm().ok_or(Errno::ESRCH)?;
        // Where frames are is told to those only who may know it anyway.
        let frames = current().cred().capable(Cap::SysAdmin);
        Ok(Arc::new(OpenPageMap { space, frames }))
    }
}

struct OpenPageMap {
    space: Arc<AddressSpace>,
    frames: bool,
}

/// Bytes of a word.
const WORD: u64 = 8;
/// Words that are made at a time.
const WORDS: usize = 512;

impl OpenPageMap {
    fn word(&self, page: &PageState) -> u64 {
        const PRESENT: u64 = 1 << 63;
        const OF_OBJECT: u64 = 1 << 61;
        const EXCLUSIVE: u64 = 1 << 56;
        const SOFT_DIRTY: u64 = 1 << 55;
        let written = if page.soft_dirty { SOFT_DIRTY } else { 0 };
        let Some(frame) = page.frame else {
            return written;
        };
        let shown = if self.frames { frame } else { 0 };
        let object = if page.of_object { OF_OBJECT } else { 0 };
        let exclusive = if page.exclusive { EXCLUSIVE } else { 0 };
        PRESENT | object | exclusive | written | shown
    }
}

impl FileOps for OpenPageMap {
    fn read(&self, _: &File, pos: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        if !(*pos).is_multiple_of(WORD) || !(buf.remaining() as u64).is_multiple_of(WORD) {
            return Err(Errno::EINVAL);
        }
        let mut states = alloc::vec![PageState::default(); WORDS];
        let mut done = 0;
        while buf.remaining() > 0 {
            let first = *pos / WORD;
            let left = PAGES.saturating_sub(first);
            let count = (buf.remaining() / WORD as usize)
                .min(WORDS)
                .min(left as usize);
            if count == 0 {
                break;
            }
            self.space.page_states(first << 12, &mut states[..count]);
            for state in &states[..count] {
                if buf.put(&self.word(state).to_ne_bytes()) < WORD as usize {
                    return if done > 0 {
                        Ok(done)
                    } else {
                        Err(Errno::EFAULT)
                    };
                }
                *pos += WORD;
                done += WORD as usize;
            }
        }
        Ok(done)
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: fs::file::Whence) -> Result<u64> {
        match whence {
            fs::file::Whence::Set => Ok(offset as u64),
            fs::file::Whence::Current => Ok(pos.wrapping_add_signed(offset)),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Pages that users can map.
const PAGES: u64 = 1 << 35;

/// `clear_refs`: makes the kernel forget which pages were used.
pub(super) fn clear_refs(subject: &Subject) -> Node {
    Node::Text(Arc::new(ClearRefs(subject.clone())))
}

struct ClearRefs(Subject);

impl Text for ClearRefs {
    fn show(&self, _: &mut Out) -> Result<()> {
        Err(Errno::EINVAL)
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        let space = self.0.process.mm().ok_or(Errno::ESRCH)?;
        match text.trim_ascii() {
            b"1" => space.forget_references(true, true),
            b"2" => space.forget_references(true, false),
            b"3" => space.forget_references(false, true),
            b"4" => space.forget_writes(),
            b"5" => space.forget_peak(),
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}
