//! What the loader tells: the PVH start info, read once and copied.
//!
//! Source: Xen, xen/include/public/arch-x86/hvm/start_info.h.

#![allow(
    unsafe_code,
    reason = "reads the loader's structures in physical memory"
)]

use super::memory_map::{Kind, MemoryMap, PhysRange, Region};
use crate::arch::layout::phys_to_virt;

/// `XEN_HVM_START_MAGIC_VALUE`: "xEn3" with the top bit of the E set.
const MAGIC: u32 = 0x336e_c578;
/// Longest command line that is kept, as on Linux.
pub const COMMAND_LINE_SIZE: usize = 2048;
/// The boot page tables map this much; loaders put their structures beneath it.
const REACHABLE: u64 = 1 << 32;

/// `struct hvm_start_info`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawStartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    nr_modules: u32,
    modlist_paddr: u64,
    cmdline_paddr: u64,
    rsdp_paddr: u64,
    // From version 1.
    memmap_paddr: u64,
    memmap_entries: u32,
    reserved: u32,
}

/// `struct hvm_modlist_entry`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawModule {
    paddr: u64,
    size: u64,
    cmdline_paddr: u64,
    reserved: u64,
}

/// `struct hvm_memmap_table_entry`; the types are those of E820.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawRegion {
    addr: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

/// The loader's hand-over, copied out of its memory.
pub struct StartInfo {
    /// What the physical address space holds.
    pub memory: MemoryMap,
    /// The first module, which is the initial RAM disk.
    pub initrd: Option<PhysRange>,
    /// Physical address of the ACPI root pointer.
    pub rsdp: Option<u64>,
    command_line: [u8; COMMAND_LINE_SIZE],
    command_line_len: usize,
}

/// Why a start info cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartInfoError {
    /// There is none at the given address.
    BadMagic,
    /// It is of a version that has no memory map.
    NoMemoryMap,
}

impl StartInfo {
    /// Reads the start info at physical address `at`.
    ///
    /// # Context
    /// Boot, on the boot page tables, before anything has been allocated.
    pub fn read(at: u64) -> Result<Self, StartInfoError> {
        let raw: RawStartInfo = read_phys(at)
            .filter(|raw: &RawStartInfo| raw.magic == MAGIC)
            .ok_or(StartInfoError::BadMagic)?;
        if raw.version < 1 || raw.memmap_entries == 0 {
            return Err(StartInfoError::NoMemoryMap);
        }
        let mut memory = MemoryMap::new();
        for index in 0..u64::from(raw.memmap_entries) {
            let entry: Option<RawRegion> =
                read_phys(raw.memmap_paddr + index * size_of::<RawRegion>() as u64);
            let Some(entry) = entry else { break };
            memory.add(Region {
                range: PhysRange::new(entry.addr, entry.addr.saturating_add(entry.size)),
                kind: Kind::from_e820(entry.kind),
            });
        }
        memory.sort();

        let module: Option<RawModule> = if raw.nr_modules > 0 {
            read_phys(raw.modlist_paddr)
        } else {
            None
        };
        let mut info = Self {
            memory,
            initrd: module
                .filter(|m| m.size > 0)
                .map(|m| PhysRange::new(m.paddr, m.paddr.saturating_add(m.size))),
            rsdp: (raw.rsdp_paddr != 0).then_some(raw.rsdp_paddr),
            command_line: [0; COMMAND_LINE_SIZE],
            command_line_len: 0,
        };
        if raw.cmdline_paddr != 0 {
            info.copy_command_line(raw.cmdline_paddr);
        }
        Ok(info)
    }

    fn copy_command_line(&mut self, at: u64) {
        for (index, slot) in self.command_line[..COMMAND_LINE_SIZE - 1]
            .iter_mut()
            .enumerate()
        {
            match read_phys::<u8>(at + index as u64) {
                None | Some(0) => break,
                // Not ASCII, so not ours to read: options are.
                Some(byte) if !byte.is_ascii() => *slot = b'?',
                Some(byte) => *slot = byte,
            }
            self.command_line_len = index + 1;
        }
    }

    /// The command line; bytes beyond ASCII have become `?`.
    pub fn command_line(&self) -> &str {
        core::str::from_utf8(&self.command_line[..self.command_line_len]).unwrap_or("")
    }
}

/// Reads a plain value at a physical address, or nothing where the boot page tables do not reach.
fn read_phys<T: Copy>(at: u64) -> Option<T> {
    let end = at.checked_add(size_of::<T>() as u64)?;
    if end > REACHABLE {
        return None;
    }
    // SAFETY: 1. the direct map of the boot page tables covers `at..end`; 2. `T` is one of the integer-only structures
    // above, of which every bit pattern is valid; 3. nobody writes the loader's memory while the boot CPU runs alone.
    Some(unsafe { (phys_to_virt(at) as *const T).read_unaligned() })
}
