//! What `/proc/meminfo` and `sysinfo(2)` tell.

use super::{heap, page_alloc, space};

/// Amounts of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the lines of /proc/meminfo")]
pub struct MemInfo {
    pub total: u64,
    pub free: u64,
    /// Free, without what is kept back for the kernel.
    pub available: u64,
    pub slab: u64,
    pub anon: u64,
    pub mapped: u64,
    pub page_tables: u64,
    pub kernel_stacks: u64,
    pub committed: u64,
    pub commit_limit: u64,
}

impl MemInfo {
    /// The amounts as they are now. Looks at every address space, so it is not for hot paths.
    pub fn now() -> MemInfo {
        let bytes = |frames: u64| frames << super::PAGE_SHIFT;
        let frames = page_alloc::stats();
        let mut info = MemInfo {
            total: bytes(frames.total as u64),
            free: bytes(frames.free as u64),
            available: bytes(frames.free.saturating_sub(frames.min) as u64),
            slab: heap::slab_bytes() as u64,
            kernel_stacks: super::vmalloc::stacks() as u64 * super::vmalloc::STACK_SIZE as u64,
            committed: bytes(space::committed()),
            commit_limit: bytes(space::overcommit_limit()),
            ..MemInfo::default()
        };
        space::for_each_space(|space| {
            let stats = space.stats();
            info.anon += bytes(stats.rss_anon);
            info.mapped += bytes(stats.rss_file + stats.rss_shmem);
            info.page_tables += bytes(stats.page_tables);
        });
        info
    }
}
