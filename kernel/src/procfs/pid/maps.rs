//! `maps` and `smaps`: the address space.

use alloc::sync::Arc;
use alloc::vec::Vec;

use fs::inode::{dev_major, dev_minor};
use fs::{File, Result};

use super::Subject;
use crate::mm::{AddressSpace, Prot};
use crate::process::current;
use crate::pseudofs::{Out, put};

/// Where the name begins.
const NAME_COLUMN: usize = 73;
const PAGE: u64 = 4096;

/// A mapping, kept while its line is written.
struct Row {
    start: u64,
    end: u64,
    prot: Prot,
    shared: bool,
    offset: u64,
    file: Option<Arc<File>>,
    name: Option<&'static str>,
}

/// The mappings of the subject: copied first, since the lines are written without the lock of the address space.
fn rows(space: &AddressSpace) -> Vec<Row> {
    let mut rows = Vec::new();
    space.for_each_vma(0, &mut |vma| {
        rows.push(Row {
            start: vma.start,
            end: vma.end,
            prot: vma.prot,
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
fn name(row: &Row) -> Option<Vec<u8>> {
    let file = row.file.as_ref().and_then(|file| {
        let root = current().try_fs()?.lock().root.clone();
        file.path().display(&root).ok()
    });
    file.or(row.name.map(|name| name.as_bytes().to_vec()))
}

/// Resident pages are told from the others as mincore(2) does it.
pub(super) fn smaps(subject: &Subject, out: &mut Out) -> Result<()> {
    let Some(space) = subject.process.mm() else {
        return Ok(());
    };
    for row in rows(&space) {
        let (start, end) = (row.start, row.end);
        let mut resident = 0u64;
        // A mapping that went meanwhile has no pages.
        let _ = space.mincore(start, end - start, &mut |vector| {
            resident += vector.iter().filter(|&&byte| byte & 1 != 0).count() as u64;
            Ok(())
        });
        let rss = resident * PAGE / 1024;
        let (clean, dirty) = if row.file.is_some() {
            (rss, 0)
        } else {
            (0, rss)
        };
        line(out, &row);
        for (name, kib) in [
            ("Size:", (end - start) / 1024),
            ("KernelPageSize:", 4),
            ("MMUPageSize:", 4),
            ("Rss:", rss),
            ("Pss:", rss),
            ("Shared_Clean:", 0),
            ("Shared_Dirty:", 0),
            ("Private_Clean:", clean),
            ("Private_Dirty:", dirty),
            ("Referenced:", rss),
            ("Anonymous:", dirty),
            ("Swap:", 0),
            ("SwapPss:", 0),
            ("Locked:", 0),
        ] {
            put!(out, "{name:<16}{kib:>8} kB\n");
        }
    }
    Ok(())
}
