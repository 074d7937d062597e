//! Physical memory: what is there, what is taken, and the early allocator on top of it.
//!
//! Pure, so that the host tests it. The firmware's map is kept sorted; what the kernel has taken so far is a short list of
//! ranges; usable memory is the difference, cut to whole frames.

/// A range of physical addresses, `end` not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysRange {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
}

impl PhysRange {
    /// The range from `start` up to `end`; empty if `end` is not behind `start`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end: if end > start { end } else { start },
        }
    }

    /// Length in bytes.
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.end == self.start
    }

    /// Whether all of `other` lies in it.
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The smallest range of whole frames around it.
    pub const fn grow_to_frames(self) -> Self {
        Self::new(self.start & !(FRAME - 1), align_up(self.end, FRAME))
    }

    /// The largest range of whole frames in it.
    pub const fn shrink_to_frames(self) -> Self {
        Self::new(align_up(self.start, FRAME), self.end & !(FRAME - 1))
    }
}

const FRAME: u64 = 4096;
const LARGE_FRAME: u64 = 2 << 20;
/// The most memory that the direct map has room for: 64 TiB.
const DIRECT_MAP_SIZE: u64 = 1 << 46;

const fn align_up(value: u64, to: u64) -> u64 {
    value.saturating_add(to - 1) & !(to - 1)
}

/// What a region of the firmware's map is (E820 types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Memory for the kernel to use.
    Usable,
    /// Not memory, or not ours.
    Reserved,
    /// ACPI tables.
    AcpiTables,
    /// Memory that the firmware keeps.
    AcpiNvs,
    /// Broken memory.
    Unusable,
    /// Memory that keeps its contents.
    Persistent,
}

impl Kind {
    /// The kind that E820 type `value` stands for; unknown ones are reserved.
    pub const fn from_e820(value: u32) -> Self {
        match value {
            1 => Self::Usable,
            3 => Self::AcpiTables,
            4 => Self::AcpiNvs,
            5 => Self::Unusable,
            7 => Self::Persistent,
            _ => Self::Reserved,
        }
    }

    /// The name that Linux gives it in its boot messages and in `/proc/iomem`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Reserved => "reserved",
            Self::AcpiTables => "ACPI data",
            Self::AcpiNvs => "ACPI NVS",
            Self::Unusable => "unusable",
            Self::Persistent => "persistent (type 7)",
        }
    }
}

/// One region of the firmware's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it is.
    pub range: PhysRange,
    /// What it is.
    pub kind: Kind,
}

const MAX_REGIONS: usize = 128;
const MAX_TAKEN: usize = 16;
const NOTHING: PhysRange = PhysRange::new(0, 0);

/// The firmware's map and what the kernel has taken of it.
#[derive(Clone)]
pub struct MemoryMap {
    regions: [Region; MAX_REGIONS],
    len: usize,
    taken: [PhysRange; MAX_TAKEN],
    taken_len: usize,
}

impl MemoryMap {
    /// A map of nothing.
    pub const fn new() -> Self {
        Self {
            regions: [Region {
                range: NOTHING,
                kind: Kind::Reserved,
            }; MAX_REGIONS],
            len: 0,
            taken: [NOTHING; MAX_TAKEN],
            taken_len: 0,
        }
    }

    /// Adds a region; empty ones, and those beyond the 128th, are left out.
    pub fn add(&mut self, region: Region) {
        if !region.range.is_empty() && self.len < MAX_REGIONS {
            self.regions[self.len] = region;
            self.len += 1;
        }
    }

    /// Puts the regions in the order of their addresses.
    pub fn sort(&mut self) {
        self.regions[..self.len].sort_unstable_by_key(|region| region.range.start);
    }

    /// All regions, in the order of their addresses.
    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.len]
    }

    /// Makes as if memory ended at `limit` (`mem=`), but for `keep`: what the loader has put further up stays in reach.
    pub fn limit(&mut self, limit: u64, keep: Option<PhysRange>) {
        let kept = keep
            .map(PhysRange::grow_to_frames)
            .filter(|keep| self.usable().any(|range| range.contains(*keep)))
            .map(|keep| PhysRange::new(keep.start.max(limit), keep.end.max(limit)));
        for region in &mut self.regions[..self.len] {
            if region.kind == Kind::Usable {
                region.range =
                    PhysRange::new(region.range.start.min(limit), region.range.end.min(limit));
            }
        }
        if let Some(range) = kept {
            self.add(Region {
                range,
                kind: Kind::Usable,
            });
            self.sort();
        }
    }

    /// Marks the frames that `range` touches as in use.
    ///
    /// # Panics
    /// If there are more such ranges than the boot code has reasons to make.
    pub fn take(&mut self, range: PhysRange) {
        if range.is_empty() {
            return;
        }
        assert!(self.taken_len < MAX_TAKEN, "too many ranges taken at boot");
        self.taken[self.taken_len] = range.grow_to_frames();
        self.taken_len += 1;
    }

    /// Makes the range that was taken last end at `end`.
    pub fn shrink_last_taken(&mut self, end: u64) {
        if let Some(last) = self.taken[..self.taken_len].last_mut() {
            *last = PhysRange::new(last.start, align_up(end, FRAME).min(last.end));
        }
    }

    /// All memory, in bytes, taken or not.
    pub fn total(&self) -> u64 {
        self.usable().map(|range| range.len()).sum()
    }

    /// The end of the highest memory.
    pub fn end(&self) -> u64 {
        self.usable().map(|range| range.end).max().unwrap_or(0)
    }

    /// The ranges of memory, taken or not, in whole frames.
    pub fn usable(&self) -> impl Iterator<Item = PhysRange> + Clone + '_ {
        let usable = self
            .regions()
            .iter()
            .filter(|region| region.kind == Kind::Usable);
        usable
            .map(|region| region.range.shrink_to_frames())
            .filter(|range| !range.is_empty())
    }

    /// The ranges of memory that are not taken, in whole frames, in the order of their addresses.
    pub fn free(&self) -> impl Iterator<Item = PhysRange> + Clone + '_ {
        self.usable().flat_map(|range| Free {
            map: self,
            rest: range,
        })
    }

    /// What the direct map covers: all that is or holds memory, and the rest of the 2 MiB around it, where firmware
    /// likes to keep its tables. In the order of the addresses, none twice.
    pub fn direct_mapped(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let mut done = 0;
        let backed = |region: &&Region| {
            matches!(region.kind, Kind::Usable | Kind::AcpiTables | Kind::AcpiNvs)
                && !region.range.is_empty()
        };
        self.regions().iter().filter(backed).map(move |region| {
            let PhysRange { start, end } = region.range;
            let end = align_up(end, LARGE_FRAME).min(DIRECT_MAP_SIZE);
            let range = PhysRange::new((start & !(LARGE_FRAME - 1)).max(done), end);
            done = done.max(end);
            range
        })
    }

    /// The largest free range that lies beneath `limit`.
    pub fn largest_free_below(&self, limit: u64) -> Option<PhysRange> {
        let below = self
            .free()
            .map(|range| PhysRange::new(range.start.min(limit), range.end.min(limit)));
        below
            .filter(|range| !range.is_empty())
            .max_by_key(|range| range.len())
    }
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self::new()
    }
}

/// What is left of `rest` without the taken ranges.
#[derive(Clone)]
struct Free<'a> {
    map: &'a MemoryMap,
    rest: PhysRange,
}

impl Iterator for Free<'_> {
    type Item = PhysRange;

    fn next(&mut self) -> Option<PhysRange> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let taken = &self.map.taken[..self.map.taken_len];
            let Self { rest, .. } = self;
            // A taken range over the start moves the start; otherwise the next one ends the free range.
            if let Some(over) = taken
                .iter()
                .find(|t| t.start <= rest.start && rest.start < t.end)
            {
                *rest = PhysRange::new(over.end.min(rest.end), rest.end);
                continue;
            }
            let end = taken
                .iter()
                .map(|t| t.start)
                .filter(|start| *start > rest.start)
                .min()
                .unwrap_or(rest.end);
            let found = PhysRange::new(rest.start, end.min(rest.end));
            *rest = PhysRange::new(found.end, rest.end);
            return Some(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(regions: &[(u64, u64, u32)], taken: &[(u64, u64)]) -> MemoryMap {
        let mut map = MemoryMap::new();
        for &(start, end, kind) in regions {
            map.add(Region {
                range: PhysRange::new(start, end),
                kind: Kind::from_e820(kind),
            });
        }
        map.sort();
        for &(start, end) in taken {
            map.take(PhysRange::new(start, end));
        }
        map
    }

    fn free(map: &MemoryMap) -> Vec<(u64, u64)> {
        map.free().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn free_is_usable_without_taken() {
        let map = map(
            &[
                (0x10_0000, 0x80_0000, 1),
                (0, 0x9_fc00, 1),
                (0x80_0000, 0x90_0000, 2),
            ],
            &[
                (0, 0x1000),
                (0x20_0100, 0x20_0200),
                (0x10_0000, 0x18_0000),
                (0x7f_f000, 0x100_0000),
            ],
        );
        assert_eq!(
            free(&map),
            [
                (0x1000, 0x9_f000),
                (0x18_0000, 0x20_0000),
                (0x20_1000, 0x7f_f000)
            ]
        );
        assert_eq!(map.total(), 0x9_f000 + 0x70_0000);
        assert_eq!(map.end(), 0x80_0000);
    }

    #[test]
    fn overlapping_taken_ranges_count_once() {
        let map = map(
            &[(0, 0x10_000, 1)],
            &[(0x2000, 0x6000), (0x4000, 0x8000), (0x5000, 0x5001)],
        );
        assert_eq!(free(&map), [(0, 0x2000), (0x8000, 0x1_0000)]);
    }

    #[test]
    fn everything_taken_leaves_nothing() {
        assert!(free(&map(&[(0x1000, 0x3000, 1)], &[(0, 0x10_0000)])).is_empty());
    }

    #[test]
    fn partial_frames_are_not_memory() {
        assert!(free(&map(&[(0x1001, 0x1fff, 1), (0x5000, 0x5fff, 1)], &[])).is_empty());
    }

    #[test]
    fn limit_cuts_memory_only() {
        let mut map = map(
            &[(0, 0x8000, 1), (0x8000, 0x9000, 3), (0x9000, 0x10_000, 1)],
            &[],
        );
        map.limit(0x4000, None);
        assert_eq!(free(&map), [(0, 0x4000)]);
        assert_eq!(map.regions()[1].range.len(), 0x1000);
    }

    #[test]
    fn limit_keeps_what_the_loader_put_higher() {
        let mut high = map(&[(0, 0x10_000, 1)], &[]);
        high.limit(0x4000, Some(PhysRange::new(0x8000, 0x8800)));
        assert_eq!(free(&high), [(0, 0x4000), (0x8000, 0x9000)]);
        let mut across = map(&[(0, 0x10_000, 1)], &[]);
        across.limit(0x4000, Some(PhysRange::new(0x3000, 0x5000)));
        assert_eq!(across.usable().map(|r| r.len()).sum::<u64>(), 0x5000);
        let mut elsewhere = map(&[(0, 0x10_000, 1)], &[]);
        elsewhere.limit(0x4000, Some(PhysRange::new(0x20_000, 0x21_000)));
        assert_eq!(free(&elsewhere), [(0, 0x4000)]);
    }

    #[test]
    fn the_direct_map_covers_what_surrounds_memory_once() {
        let map = map(
            &[
                (0, 0x9_fc00, 1),
                (0x10_0000, 0x3f_0000, 1),
                (0x3f_0000, 0x3f_8000, 3),
                (0x50_0000, 0x60_0000, 2),
                (0x1_0010_0000, 0x1_0020_0000, 1),
            ],
            &[],
        );
        let ranges: Vec<_> = map
            .direct_mapped()
            .filter(|range| !range.is_empty())
            .map(|range| (range.start, range.end))
            .collect();
        assert_eq!(
            ranges,
            [
                (0, 0x20_0000),
                (0x20_0000, 0x40_0000),
                (0x1_0000_0000, 0x1_0020_0000)
            ]
        );
    }

    #[test]
    fn the_early_range_gives_back_what_it_did_not_use() {
        let mut map = map(&[(0, 0x10_000, 1)], &[]);
        let range = map.largest_free_below(0x8000).expect("there is memory");
        assert_eq!(range, PhysRange::new(0, 0x8000));
        map.take(range);
        map.shrink_last_taken(0x1800);
        assert_eq!(free(&map), [(0x2000, 0x10_000)]);
    }

    #[test]
    fn a_region_at_the_end_of_the_address_space_does_not_wrap() {
        let map = map(&[(u64::MAX - 0x2800, u64::MAX, 1)], &[]);
        assert_eq!(free(&map), [(0xffff_ffff_ffff_e000, 0xffff_ffff_ffff_f000)]);
    }
}
