//! Address spaces on the host: what a program would see.

mod calls;
mod faults;
mod model;

use super::*;
use crate::mm::init::init_host;
use crate::mm::phys::PAGE_SIZE;
use fs::Mapping;
use std::vec::Vec;

pub(super) const PAGE: u64 = PAGE_SIZE as u64;
const ENOUGH: Limits = Limits::DEFAULT;

/// A space for tests.
fn space() -> Arc<AddressSpace> {
    init_host();
    AddressSpace::new(ENOUGH).unwrap()
}

fn request(pages: u64, prot: Prot, flags: MapFlags) -> MapRequest {
    MapRequest {
        low: false,
        addr: 0,
        len: pages * PAGE,
        prot,
        flags,
        backing: Backing::Anon,
    }
}

const RW: Prot = Prot::READ.union(Prot::WRITE);

/// Private anonymous memory.
fn anon(space: &AddressSpace, pages: u64) -> u64 {
    space.mmap(request(pages, RW, MapFlags::PRIVATE)).unwrap()
}

fn anon_at(space: &AddressSpace, addr: u64, pages: u64, prot: Prot) -> u64 {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    space
        .mmap(MapRequest {
            low: false,
            addr,
            ..request(pages, prot, flags)
        })
        .unwrap()
}

/// A file of this many pages, each filled with its index plus one.
fn file(pages: u64) -> Arc<Mapping> {
    init_host();
    let mapping = Mapping::anonymous(pages * PAGE);
    for index in 0..pages {
        let page = mapping.get_page(index).unwrap();
        page.write_at(0, &[index as u8 + 1; PAGE_SIZE]);
    }
    mapping
}

fn map_file(
    space: &AddressSpace,
    mapping: &Arc<Mapping>,
    offset: u64,
    pages: u64,
    prot: Prot,
    flags: MapFlags,
) -> u64 {
    let backing = FileBacking {
        mapping: mapping.clone(),
        file: None,
        offset: offset * PAGE,
        name: None,
    };
    space
        .mmap(MapRequest {
            low: false,
            backing: Backing::File(backing),
            ..request(pages, prot, flags)
        })
        .unwrap()
}

/// As a program's load or store of one byte does: through the page tables, with faults.
fn access(space: &AddressSpace, addr: u64, write: Option<u8>) -> core::result::Result<u8, Fault> {
    use crate::mm::pagetable::bits::{PRESENT, WRITE};
    for _ in 0..3 {
        let state = space.state.lock();
        let needed = if write.is_some() {
            PRESENT | WRITE
        } else {
            PRESENT
        };
        if let Some((entry, 0)) = state.pages.find(addr)
            && entry.get().has(needed)
        {
            let at = entry
                .get()
                .pfn()
                .virt()
                .wrapping_add(addr as usize % PAGE_SIZE);
            #[expect(unsafe_code, reason = "plays the CPU")]
            // SAFETY: the frame is mapped, and the lock keeps it so.
            unsafe {
                if let Some(byte) = write {
                    at.write(byte);
                }
                return Ok(at.read());
            }
        }
        drop(state);
        space.handle_fault(
            addr,
            Access {
                write: write.is_some(),
                exec: false,
                user: true,
            },
        )?;
    }
    panic!("the fault at {addr:#x} is not resolved");
}

fn load(space: &AddressSpace, addr: u64) -> core::result::Result<u8, Fault> {
    access(space, addr, None)
}

fn store(space: &AddressSpace, addr: u64, byte: u8) -> core::result::Result<(), Fault> {
    access(space, addr, Some(byte)).map(drop)
}

/// The mappings in pages, with rights.
fn maps(space: &AddressSpace) -> Vec<(u64, u64, u32)> {
    let mut maps = Vec::new();
    space.for_each_vma(0, &mut |vma| {
        maps.push((vma.start / PAGE, vma.end / PAGE, vma.prot.bits()));
        true
    });
    maps
}
