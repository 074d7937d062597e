//! The boot CPU's way through the boot, in Rust.

#![allow(
    unsafe_code,
    reason = "hands out the initial RAM disk in the direct map"
)]

use super::early_alloc::EarlyAllocator;
use super::memory_map::{MemoryMap, PhysRange};
use super::paging;
use super::start_info::{StartInfo, StartInfoError};
use crate::arch::cpu::Features;
use crate::arch::{
    ap, apic, calibrate, clock, event, ioapic, layout, load_kernel_page_table, pic, smp, this_cpu,
    tsc,
};
use crate::cmdline::CommandLine;
use crate::{mm, panic, printk, task};
use conquer_once::noblock::OnceCell;

/// What is known about the machine from boot on; fixed before the other CPUs start.
pub struct BootInfo {
    start: StartInfo,
    pml4: u64,
}

static INFO: OnceCell<BootInfo> = OnceCell::uninit();

impl BootInfo {
    /// The kernel command line.
    pub fn cmdline(&self) -> CommandLine<'_> {
        CommandLine::new(self.start.command_line())
    }

    /// Where the initial RAM disk is; its frames are not in [`memory_map`] and belong to whoever unpacks it.
    pub fn initrd(&self) -> Option<PhysRange> {
        self.start.initrd
    }

    /// The initial RAM disk itself, in the direct map.
    pub fn initrd_bytes(&self) -> Option<&'static [u8]> {
        let range = self.start.initrd?;
        // SAFETY: the range lies in memory (checked when it was read), is kept out of every allocator, and is not written.
        Some(unsafe {
            core::slice::from_raw_parts(
                layout::phys_to_virt(range.start) as *const u8,
                range.len() as usize,
            )
        })
    }

    /// The firmware's memory map and what was taken of it at boot.
    pub fn memory(&self) -> &MemoryMap {
        &self.start.memory
    }

    /// Physical address of the ACPI root pointer.
    pub fn rsdp(&self) -> Option<u64> {
        self.start.rsdp
    }
}

/// What the loader told.
///
/// # Panics
/// Before the boot CPU has read it.
pub fn info() -> &'static BootInfo {
    INFO.try_get().expect("the start info is read first")
}

/// The free ranges of physical memory, for the frame allocator to take over: without the image, the initial RAM disk, the
/// boot page tables and the first MiB.
pub fn memory_map() -> impl Iterator<Item = PhysRange> + Clone {
    info().memory().free()
}

/// The virtual address of something that the firmware has at `phys`: in the direct map where that reaches, else in a
/// mapping of its own.
///
/// # Panics
/// If there is no room for the mapping.
pub(super) fn map_firmware(phys: u64, len: u64) -> u64 {
    let wanted = PhysRange::new(phys, phys.saturating_add(len));
    if info()
        .memory()
        .direct_mapped()
        .any(|range| range.contains(wanted))
    {
        return layout::phys_to_virt(phys);
    }
    crate::arch::fixmap::map_device(phys, len).expect("the firmware's tables fit in the fixmap")
}

/// Physical address of the kernel's top page table, whose upper half every address space copies.
pub fn kernel_pml4() -> u64 {
    info().pml4
}

/// Continues the boot in Rust, on the boot CPU, with interrupts off, on the boot stack and the boot page tables.
///
/// `start_info` is the physical address that the loader left in `ebx`.
pub(super) extern "C" fn kmain(start_info: u64) -> ! {
    clock::start();
    printk::init();
    let features = Features::read();
    this_cpu::set_up_first(&features);
    read_start_info(start_info, &features);
    say_hello();
    mm::init::init_machine(features.nx);
    super::acpi::init();
    pic::disable();
    event::choose_mode();
    apic::init(&features);
    this_cpu::finish_first();
    calibrate::run();
    crate::random::init();
    ioapic::init();
    smp::init();
    task::platform::init();
    task::init();
    crate::irq::poll::init();
    event::init();
    ap::start_others(&features);
    log::info!("boot: machine up after {} us", tsc::now_ns() / 1000);
    task::place::init();
    crate::work::init();
    crate::process::autogroup::init();
    ap::release_others();
    executor::spawn("main", main()).detach();
    task::run()
}

/// The first task, with the whole machine at hand.
async fn main() {
    crate::init::set_limits();
    task::suspend::init();
    if let Err(error) = crate::devtmpfs::init() {
        log::error!("devtmpfs: {error}");
    }
    crate::tty::init();
    crate::rtc::init();
    crate::process::oom::init();
    if let Err(error) = crate::procfs::init() {
        log::error!("procfs: {error}");
    }
    if let Err(error) = crate::ipc::mqueue::init() {
        log::error!("mqueue: {error}");
    }
    if let Err(error) = crate::cgroup::init() {
        log::error!("cgroup2: {error}");
    }
    if let Err(error) = crate::sysfs::init() {
        log::error!("sysfs: {error}");
    }
    crate::devices::init().await;
    #[cfg(feature = "ktest")]
    super::tests::run().await;
    #[cfg(not(feature = "ktest"))]
    crate::init::run();
}

/// Makes what another CPU must have before others know of it.
pub fn ap_prepare() {
    task::init();
    event::init_cpu();
}

/// Continues the boot of another CPU, once all are up.
pub fn ap_main() -> ! {
    task::run()
}

/// The first lines of the log.
fn say_hello() {
    log::info!("Wake {}", env!("CARGO_PKG_VERSION"));
    log::info!("Command line: {}", info().cmdline().text());
    for region in info().memory().regions() {
        let last = region.range.end.saturating_sub(1);
        log::info!(
            "BIOS-e820: [mem {:#018x}-{last:#018x}] {}",
            region.range.start,
            region.kind.name()
        );
    }
}

/// Copies the start info, takes what is in use out of the memory map, and moves to the kernel's page tables.
fn read_start_info(at: u64, features: &Features) {
    let mut start = match StartInfo::read(at) {
        Ok(start) => start,
        Err(StartInfoError::BadMagic) => panic!("the loader left no PVH start info at {at:#x}"),
        Err(StartInfoError::NoMemoryMap) => panic!("the loader gave no memory map"),
    };
    printk::console::start(CommandLine::new(start.command_line()));
    let line = CommandLine::new(start.command_line());
    if let Some(seconds) = line.number("panic") {
        panic::set_timeout(seconds.clamp(i32::MIN.into(), i32::MAX.into()) as i32);
    }
    if let Some(limit) = line.size("mem") {
        start.memory.limit(limit, start.initrd);
    }
    let image = layout::image();
    start.memory.take(PhysRange::new(0, 1 << 20));
    start.memory.take(PhysRange::new(
        layout::image_to_phys(image.start),
        layout::image_to_phys(image.end),
    ));
    if let Some(initrd) = start.initrd {
        if start.memory.usable().any(|range| range.contains(initrd)) {
            start.memory.take(initrd);
        } else {
            let PhysRange { start: first, end } = initrd;
            log::error!("initrd: [mem {first:#x}-{end:#x}] is not in memory, disabled");
            start.initrd = None;
        }
    }

    let mut frames = EarlyAllocator::new(&mut start.memory);
    let pml4 = paging::build(&start.memory, &mut frames, features);
    frames.finish(&mut start.memory);

    // Fails only if it was set before, which a CPU that boots once does not do.
    let _ = INFO.try_init_once(|| BootInfo { start, pml4 });
    load_kernel_page_table();
}
