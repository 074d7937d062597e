//! Memory: `/proc/meminfo`, `/proc/vmstat`, `/proc/buddyinfo`, `/proc/iomem`.

use fs::Result;

use crate::boot;
use crate::mm::page_alloc::{self, ZoneKind};
use crate::mm::{MemInfo, PAGE_SIZE, oom};
use crate::pseudofs::{Out, put};

/// KiB of address space for `vmalloc`.
const VMALLOC_KIB: u64 = 34_359_738_367;

pub(super) fn meminfo(out: &mut Out) -> Result<()> {
    let info = MemInfo::now();
    let kib = |bytes: u64| bytes / 1024;
    let cached = fs::mapping::cached_pages() * PAGE_SIZE as u64 / 1024;
    let anonymous = kib(info.anon);
    let slab = kib(info.slab);
    let lines = [
        ("MemTotal", kib(info.total)),
        ("MemFree", kib(info.free)),
        ("MemAvailable", kib(info.available)),
        ("Buffers", 0),
        ("Cached", cached),
        ("SwapCached", 0),
        ("Active", anonymous),
        ("Inactive", cached),
        ("Active(anon)", anonymous),
        ("Inactive(anon)", cached),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", cached),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", anonymous),
        ("Mapped", kib(info.mapped)),
        ("Shmem", cached),
        ("KReclaimable", 0),
        ("Slab", slab),
        ("SReclaimable", 0),
        ("SUnreclaim", slab),
        ("KernelStack", kib(info.kernel_stacks)),
        ("PageTables", kib(info.page_tables)),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", kib(info.commit_limit)),
        ("Committed_AS", kib(info.committed)),
        ("VmallocTotal", VMALLOC_KIB),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
    ];
    for (name, kib) in lines {
        put!(out, "{:<16}{kib:>8} kB\n", Label(name));
    }
    Ok(())
}

/// A name with its colon, padded as one.
struct Label(&'static str);

impl core::fmt::Display for Label {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:", self.0)?;
        let width = f.width().unwrap_or(0);
        (self.0.len() + 1..width).try_for_each(|_| f.write_str(" "))
    }
}

pub(super) fn vmstat(out: &mut Out) -> Result<()> {
    let info = MemInfo::now();
    let pages = |bytes: u64| bytes / PAGE_SIZE as u64;
    let cached = fs::mapping::cached_pages();
    for (name, value) in [
        ("nr_free_pages", pages(info.free)),
        ("nr_anon_pages", pages(info.anon)),
        ("nr_mapped", pages(info.mapped)),
        ("nr_file_pages", cached),
        ("nr_dirty", 0),
        ("nr_writeback", 0),
        ("nr_slab_unreclaimable", pages(info.slab)),
        ("nr_page_table_pages", pages(info.page_tables)),
        ("nr_shmem", cached),
        ("pgpgin", 0),
        ("pgpgout", 0),
        ("pswpin", 0),
        ("pswpout", 0),
        ("oom_kill", oom::kills()),
    ] {
        put!(out, "{name} {value}\n");
    }
    Ok(())
}

pub(super) fn buddyinfo(out: &mut Out) -> Result<()> {
    for kind in ZoneKind::ALL {
        let name = kind.name();
        if let Some(blocks) = page_alloc::zone_blocks(kind) {
            put!(out, "Node 0, zone {name:>8} ");
            for count in blocks {
                put!(out, "{count:6} ");
            }
            put!(out, "\n");
        }
    }
    Ok(())
}

pub(super) fn iomem(out: &mut Out) -> Result<()> {
    for region in boot::info().memory().regions() {
        let kind = match region.kind.name() {
            "usable" => "System RAM",
            _ => "Reserved",
        };
        put!(
            out,
            "{:08x}-{:08x} : {kind}\n",
            region.range.start,
            region.range.end.saturating_sub(1)
        );
    }
    Ok(())
}
