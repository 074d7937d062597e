//! Partition tables: the PC's (MBR, with logical partitions) and GPT's.
//!
//! What a table says is checked against the disk: an entry that reaches beyond its end, or a chain that loops, is left out.
//!
//! Source: UEFI 2.10, chapter 5.

use alloc::vec::Vec;

use super::{BlockDevice, SECTOR};

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number: `vda1` is 1.
    pub number: u32,
    /// Its first sector.
    pub first: u64,
    /// How many it has.
    pub sectors: u64,
}

/// Most partitions of a disk: as many as there are minor numbers for.
pub const MOST: u32 = 15;

const SIGNATURE: [u8; 2] = [0x55, 0xaa];
const TABLE: usize = 446;
const ENTRY: usize = 16;
const TYPE_PROTECTIVE: u8 = 0xee;
const TYPES_EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const FIRST_LOGICAL: u32 = 5;

/// Reads a disk's partition table; an empty list for one without, or that cannot be read.
///
/// # Context
/// Task; waits for the disk.
pub async fn read(disk: &dyn BlockDevice) -> Vec<Partition> {
    let Some(first) = sector(disk, 0).await else {
        return Vec::new();
    };
    let Some(entries) = entries(&first) else {
        return Vec::new();
    };
    if entries.iter().any(|entry| entry.kind == TYPE_PROTECTIVE) {
        return gpt(disk).await;
    }
    let end = disk.geometry().sectors;
    let mut found = Vec::new();
    for (entry, number) in entries.iter().zip(1..) {
        found.extend(entry.partition(number, 0, end));
    }
    let extended = entries
        .iter()
        .find(|entry| TYPES_EXTENDED.contains(&entry.kind));
    if let Some(extended) = extended {
        logical(disk, extended.first, &mut found).await;
    }
    found
}

/// An entry of a PC's table.
struct Entry {
    kind: u8,
    first: u64,
    sectors: u64,
}

impl Entry {
    /// As a partition of a disk of `end` sectors, counted from `base`; `None` if it is empty or does not fit.
    fn partition(&self, number: u32, base: u64, end: u64) -> Option<Partition> {
        let first = base + self.first;
        let fits = first < end && self.sectors <= end - first;
        let used = self.kind != 0 && self.sectors > 0;
        (used && fits && number <= MOST).then_some(Partition {
            number,
            first,
            sectors: self.sectors,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

/// The four entries of a table, if the sector has one.
fn entries(sector: &[u8]) -> Option<[Entry; 4]> {
    if sector[510..512] != SIGNATURE {
        return None;
    }
    let boot = |n: usize| sector[TABLE + n * ENTRY];
    // A file system's boot sector looks alike, but for what would be the entries' first bytes.
    if (0..4).any(|n| boot(n) & 0x7f != 0) {
        return None;
    }
    Some(core::array::from_fn(|n| {
        let entry = &sector[TABLE + n * ENTRY..][..ENTRY];
        Entry {
            kind: entry[4],
            first: word(entry, 8).into(),
            sectors: word(entry, 12).into(),
        }
    }))
}

/// Follows the chain of logical partitions.
async fn logical(disk: &dyn BlockDevice, extended: u64, found: &mut Vec<Partition>) {
    let end = disk.geometry().sectors;
    let mut table = extended;
    for number in FIRST_LOGICAL..=MOST {
        let Some(sector) = sector(disk, table).await else {
            return;
        };
        let Some([own, next, ..]) = entries(&sector) else {
            return;
        };
        found.extend(own.partition(number, table, end));
        if !TYPES_EXTENDED.contains(&next.kind) || next.first == 0 {
            return;
        }
        table = extended + next.first;
    }
}

const GPT_SIGNATURE: &[u8] = b"EFI PART";
const GPT_HEADER_LEN: usize = 92;
/// The most entries that are read, in bytes.
const GPT_MOST: u64 = 128 * 128;

async fn gpt(disk: &dyn BlockDevice) -> Vec<Partition> {
    let end = disk.geometry().sectors;
    let Some(header) = sector(disk, 1).await else {
        return Vec::new();
    };
    let len = word(&header, 12) as usize;
    if !header.starts_with(GPT_SIGNATURE) || !(GPT_HEADER_LEN..=SECTOR).contains(&len) {
        return Vec::new();
    }
    let mut blank = header[..len].to_vec();
    blank[16..20].fill(0);
    let (start, count, size) = (long(&header, 72), word(&header, 80), word(&header, 84));
    let bytes = u64::from(count) * u64::from(size);
    let sane = size >= 128 && size.is_power_of_two() && bytes <= GPT_MOST;
    if crc32(&blank) != word(&header, 16) || !sane {
        log::warn!("partitions: the GPT is broken");
        return Vec::new();
    }
    let mut table = Vec::new();
    for at in 0..bytes.div_ceil(SECTOR as u64) {
        let Some(next) = sector(disk, start.saturating_add(at)).await else {
            return Vec::new();
        };
        table.extend_from_slice(&next);
    }
    table.truncate(bytes as usize);
    if crc32(&table) != word(&header, 88) {
        log::warn!("partitions: the entries of the GPT are broken");
        return Vec::new();
    }
    let entry = |(entry, number): (&[u8], u32)| {
        let used = entry[..16].iter().any(|byte| *byte != 0);
        let (first, last) = (long(entry, 32), long(entry, 40));
        let fits = first <= last && last < end;
        (used && fits && number <= MOST).then_some(Partition {
            number,
            first,
            sectors: last.saturating_sub(first) + 1,
        })
    };
    let entries = table.chunks_exact(size as usize).zip(1..);
    entries.filter_map(entry).collect()
}

/// The checksum of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 }
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// One sector, if it can be read.
async fn sector(disk: &dyn BlockDevice, number: u64) -> Option<[u8; SECTOR]> {
    let geometry = disk.geometry();
    let block = geometry.block_size as usize;
    let per_block = (block / SECTOR) as u64;
    let buffer = disk.buffer(block).ok()?;
    let start = number - number % per_block;
    let read = disk.read(start, buffer).await.ok()?;
    let at = (number - start) as usize * SECTOR;
    read[at..at + SECTOR].try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(u8, u32, u32)]) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        for (n, (kind, first, sectors)) in entries.iter().enumerate() {
            let entry = &mut sector[TABLE + n * ENTRY..][..ENTRY];
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&first.to_le_bytes());
            entry[12..16].copy_from_slice(&sectors.to_le_bytes());
        }
        sector[510..].copy_from_slice(&SIGNATURE);
        sector
    }

    #[test]
    fn entries_that_do_not_fit_are_left_out() {
        let entries = entries(&table(&[
            (0x83, 64, 36),
            (0x83, 64, 37),
            (0, 0, 0),
            (0x83, 200, 1),
        ]));
        let found: Vec<_> = entries
            .expect("it is a table")
            .iter()
            .zip(1..)
            .filter_map(|(entry, number)| entry.partition(number, 0, 100))
            .collect();
        let expected = Partition {
            number: 1,
            first: 64,
            sectors: 36,
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn boot_sectors_of_file_systems_are_no_tables() {
        let mut sector = table(&[(0x83, 1, 1)]);
        sector[TABLE] = 0x41;
        assert!(entries(&sector).is_none());
        assert!(entries(&[0; SECTOR]).is_none());
    }

    #[test]
    fn checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
