//! The vDSO: a shared object of the kernel's that every program has mapped, so that it can read the clock by itself.
//!
//! Its source is `kernel/vdso`; the build script compiles it. Here it is put into pages once, with the page of data that it
//! reads ([`Data`]) before it, and mapped by execve(2).

use alloc::sync::Arc;

use conquer_once::spin::OnceCell;
use executor::sync::SpinLock;
use fs::{Errno, Mapping, Result};

use crate::arch::clock;
use crate::mm::{AddressSpace, Backing, FileBacking, MapFlags, MapRequest, PAGE_SIZE, Prot};
use crate::timekeeping;

include!("data.rs");

/// The object, as it is mapped.
static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vdso.so"));

const PAGE: u64 = PAGE_SIZE as u64;

/// The pages that all programs share.
struct Pages {
    code: Arc<Mapping>,
    data: Arc<Mapping>,
}

static PAGES: OnceCell<Pages> = OnceCell::uninit();
/// Writers of the data page, one at a time; counts them.
static SEQUENCE: SpinLock<u32> = SpinLock::new(0);

/// Puts the object and its data into pages.
///
/// # Context
/// Boot, once the clock is calibrated.
/// # Errors
/// `ENOMEM`.
pub fn init() -> Result<()> {
    let code = Mapping::anonymous((IMAGE.len() as u64).next_multiple_of(PAGE));
    for (index, chunk) in IMAGE.chunks(PAGE_SIZE).enumerate() {
        code.get_page(index as u64)?.write_at(0, chunk);
    }
    let data = Mapping::anonymous(PAGE);
    data.get_page(0)?;
    let _ = PAGES.try_init_once(|| Pages { code, data });
    update();
    Ok(())
}

/// Tells programs of a change of the clock.
///
/// # Context
/// Task.
pub fn update() {
    let Ok(pages) = PAGES.try_get() else { return };
    let Ok(page) = pages.data.get_page(0) else {
        return;
    };
    let mut sequence = SEQUENCE.lock();
    let clock = clock::params();
    let new = Data {
        sequence: sequence.wrapping_add(2),
        mode: if clock.is_some() { MODE_TSC } else { 0 },
        base: clock.map_or(0, |clock| clock.ticks),
        mult: clock.map_or(0, |clock| clock.mult),
        offset: timekeeping::offset_ns(),
        ns: clock.map_or(0, |clock| clock.ns),
        tai: timekeeping::tai_ns(),
        raw: u64::from(!timekeeping::was_adjusted()),
    };
    // Odd while the rest is written: a reader that sees it, or sees it change, reads again. The writes go to memory in this
    // order, as x86 keeps stores in order and each is a call the compiler does not see through.
    page.write_at(0, &(*sequence + 1).to_ne_bytes());
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    page.write_at(4, &new.mode.to_ne_bytes());
    page.write_at(8, &new.base.to_ne_bytes());
    page.write_at(16, &new.mult.to_ne_bytes());
    page.write_at(24, &new.offset.to_ne_bytes());
    page.write_at(32, &new.ns.to_ne_bytes());
    page.write_at(40, &new.tai.to_ne_bytes());
    page.write_at(48, &new.raw.to_ne_bytes());
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    page.write_at(0, &new.sequence.to_ne_bytes());
    *sequence = new.sequence;
}

/// Maps the vDSO and its data into `space`; gives the address of the object, 0 if there is none.
///
/// # Errors
/// Those of mapping.
pub fn map(space: &Arc<AddressSpace>) -> Result<u64> {
    let Ok(pages) = PAGES.try_get() else {
        return Ok(0);
    };
    let len = (IMAGE.len() as u64).next_multiple_of(PAGE);
    let request = |addr, len, prot, flags, mapping: &Arc<Mapping>, name| MapRequest {
        low: false,
        addr,
        len,
        prot,
        flags: MapFlags::PRIVATE | flags,
        backing: Backing::File(FileBacking {
            mapping: mapping.clone(),
            file: None,
            offset: 0,
            name: Some(name),
        }),
    };
    // Room for both is found by mapping the data over all of it.
    let at = space.mmap(request(
        0,
        PAGE + len,
        Prot::READ,
        MapFlags::empty(),
        &pages.data,
        "[vvar]",
    ))?;
    let code = at.checked_add(PAGE).ok_or(Errno::ENOMEM)?;
    space.mmap(request(
        code,
        len,
        Prot::READ | Prot::EXEC,
        MapFlags::FIXED,
        &pages.code,
        "[vdso]",
    ))?;
    Ok(code)
}
