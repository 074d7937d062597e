//! What the ACPI tables tell, read once and kept in plain form.
//!
//! Source: ACPI 6.5, chapter 5 (tables), and the HPET and MCFG specifications.

#![allow(unsafe_code, reason = "reads the firmware's tables in physical memory")]

use super::aml::{self, SleepType};
use super::list::List;
use acpi::address::AddressSpace;
use acpi::fadt::Fadt;
use acpi::madt::{Madt, MadtEntry};
use acpi::mcfg::Mcfg;
use acpi::sdt::SdtHeader;
use acpi::{AcpiHandler, AcpiResult, AcpiTables, HpetInfo, PhysicalMapping};
use conquer_once::noblock::OnceCell;
use core::ptr::NonNull;

/// An I/O interrupt controller.
#[derive(Clone, Copy, Debug)]
pub struct IoApic {
    /// Its identity, for messages.
    pub id: u8,
    /// Physical address of its registers.
    pub address: u64,
    /// The first global system interrupt that it serves.
    pub gsi_base: u32,
}

/// A legacy interrupt that is wired in another way than its number says.
#[derive(Clone, Copy, Debug)]
pub struct Override {
    /// The ISA interrupt.
    pub irq: u8,
    /// Where it arrives.
    pub gsi: u32,
    /// Whether it is active low.
    pub active_low: bool,
    /// Whether it is level-triggered.
    pub level: bool,
}

/// A port and the byte that resets the machine.
#[derive(Clone, Copy, Debug)]
pub struct ResetRegister {
    /// I/O port.
    pub port: u16,
    /// What to write there.
    pub value: u8,
}

/// A memory-mapped PCI configuration space.
#[derive(Clone, Copy, Debug)]
pub struct PciConfigSpace {
    /// Physical address of bus 0.
    pub base: u64,
    /// Segment group.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

/// A counter that runs at 3.579545 MHz.
#[derive(Clone, Copy, Debug)]
pub struct PmTimer {
    /// I/O port.
    pub port: u16,
    /// 32 bits wide, not 24.
    pub wide: bool,
}

/// The registers of what the chipset itself wants to tell, two bytes each.
#[derive(Clone, Copy, Debug)]
pub struct Pm1Events {
    /// I/O port of what happened.
    pub status: u16,
    /// I/O port of what interrupts.
    pub enable: u16,
}

/// The most CPUs that are looked at.
pub const MAX_CPUS: usize = 64;

/// What the tables tell; empty where there are none.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Physical address of the local APICs' registers.
    pub local_apic: u64,
    /// APIC identities of the usable CPUs, in the order of the table.
    pub cpus: List<u32, MAX_CPUS>,
    /// The I/O interrupt controllers.
    pub io_apics: List<IoApic, 8>,
    /// Legacy interrupts that are wired otherwise.
    pub overrides: List<Override, 16>,
    /// The local interrupt pin (0 or 1) that carries NMIs, if any.
    pub nmi_pin: Option<u8>,
    /// Physical address of the HPET's registers.
    pub hpet: Option<u64>,
    /// The power management timer.
    pub pm_timer: Option<PmTimer>,
    /// The PM1a event registers.
    pub pm1a_events: Option<Pm1Events>,
    /// The legacy interrupt by which the chipset tells.
    pub sci: u8,
    /// Whether the power button is wired to the PM1 event registers.
    pub fixed_power_button: bool,
    /// Port of the PM1a control register.
    pub pm1a_control: Option<u16>,
    /// Port of the PM1b control register.
    pub pm1b_control: Option<u16>,
    /// Port and value by which the firmware hands the power registers over.
    pub acpi_enable: Option<(u16, u8)>,
    /// How to switch off.
    pub s5: Option<SleepType>,
    /// How to reset.
    pub reset: Option<ResetRegister>,
    /// Index of the century in the CMOS clock, or 0.
    pub century_register: u8,
    /// Memory-mapped PCI configuration spaces.
    pub pci: List<PciConfigSpace, 4>,
}

static TABLES: OnceCell<Tables> = OnceCell::uninit();

/// What the tables tell.
///
/// # Panics
/// Before [`init`].
pub fn tables() -> &'static Tables {
    try_tables().expect("the ACPI tables are read early")
}

/// What the tables tell, if they have been read.
pub fn try_tables() -> Option<&'static Tables> {
    TABLES.try_get().ok()
}

/// Reads the tables. Missing or broken ones leave their part empty; the machine is then the simplest one.
///
/// # Context
/// Boot, on the kernel's page tables.
pub fn init() {
    let mut tables = Tables {
        local_apic: 0xfee0_0000,
        ..Tables::default()
    };
    match find() {
        Ok(root) => read(&root, &mut tables),
        Err(error) => log::warn!("ACPI: no tables: {error:?}"),
    }
    // Fails only if it was set before.
    let _ = TABLES.try_init_once(|| tables);
}

fn find() -> AcpiResult<AcpiTables<Firmware>> {
    match super::info().rsdp() {
        // SAFETY: the loader says that the root pointer is there; the crate checks signature and sum.
        Some(rsdp) => unsafe { AcpiTables::from_rsdp(Firmware, rsdp as usize) },
        // SAFETY: a PVH start without a root pointer comes from a BIOS.
        None => unsafe { AcpiTables::search_for_rsdp_bios(Firmware) },
    }
}

fn read(root: &AcpiTables<Firmware>, tables: &mut Tables) {
    match root.find_table::<Madt>() {
        Ok(madt) if entries_are_sound(&madt) => read_madt(&madt, tables),
        Ok(_) => log::warn!("ACPI: the MADT is broken"),
        Err(error) => log::warn!("ACPI: no MADT: {error:?}"),
    }
    match root.find_table::<Fadt>() {
        Ok(fadt) => read_fadt(&fadt, tables),
        Err(error) => log::warn!("ACPI: no FADT: {error:?}"),
    }
    tables.hpet = HpetInfo::new(root)
        .ok()
        .map(|hpet| hpet.base_address as u64);
    if let Ok(mcfg) = root.find_table::<Mcfg>() {
        for entry in mcfg.entries() {
            // More segments than fit are no loss: there is one on the machines we know.
            let _ = tables.pci.push(PciConfigSpace {
                base: entry.base_address,
                segment: entry.pci_segment_group,
                first_bus: entry.bus_number_start,
                last_bus: entry.bus_number_end,
            });
        }
    }
}

/// Whether every entry of the MADT has a length that leads to the next one and ends with the table.
fn entries_are_sound(madt: &PhysicalMapping<Firmware, Madt>) -> bool {
    let all = bytes(madt.virtual_start().cast(), madt.region_length());
    let mut rest = &all[size_of::<Madt>().min(all.len())..];
    while let [_, len, ..] = *rest {
        let len = usize::from(len);
        if len < 2 || len > rest.len() {
            return false;
        }
        rest = &rest[len..];
    }
    rest.is_empty()
}

fn read_madt(madt: &PhysicalMapping<Firmware, Madt>, tables: &mut Tables) {
    const ENABLED: u32 = 1;
    tables.local_apic = u64::from(madt.get().local_apic_address);
    for entry in madt.get().entries() {
        let fits = match entry {
            MadtEntry::LocalApic(cpu) if cpu.flags & ENABLED != 0 => {
                tables.cpus.push(u32::from(cpu.apic_id)).is_ok()
            }
            MadtEntry::LocalX2Apic(cpu) if cpu.flags & ENABLED != 0 => {
                tables.cpus.push(cpu.x2apic_id).is_ok()
            }
            MadtEntry::IoApic(chip) => tables
                .io_apics
                .push(IoApic {
                    id: chip.io_apic_id,
                    address: u64::from(chip.io_apic_address),
                    gsi_base: chip.global_system_interrupt_base,
                })
                .is_ok(),
            MadtEntry::InterruptSourceOverride(wire) => tables
                .overrides
                .push(Override {
                    irq: wire.irq,
                    gsi: wire.global_system_interrupt,
                    // MPS flags: 3 is low or level; 0 is the bus's own, which for ISA is high and edge.
                    active_low: wire.flags & 3 == 3,
                    level: wire.flags >> 2 & 3 == 3,
                })
                .is_ok(),
            MadtEntry::LocalApicNmi(nmi) => {
                tables.nmi_pin = Some(nmi.nmi_line & 1);
                true
            }
            MadtEntry::LocalApicAddressOverride(moved) => {
                tables.local_apic = moved.local_apic_address;
                true
            }
            _ => true,
        };
        if !fits {
            log::warn!("ACPI: more in the MADT than there is room for");
        }
    }
}

fn read_fadt(fadt: &PhysicalMapping<Firmware, Fadt>, tables: &mut Tables) {
    let io_port = |register: acpi::address::GenericAddress| {
        let is_port = register.address_space == AddressSpace::SystemIo && register.address != 0;
        is_port
            .then(|| u16::try_from(register.address).ok())
            .flatten()
    };
    tables.pm1a_control = fadt.pm1a_control_block().ok().and_then(io_port);
    tables.pm1b_control = fadt.pm1b_control_block().ok().flatten().and_then(io_port);
    let flags = fadt.flags;
    tables.pm1a_events = fadt.pm1a_event_block().ok().and_then(|block| {
        let half = u16::from(block.bit_width) / 8 / 2;
        let status = io_port(block).filter(|_| half >= 2)?;
        let enable = status.checked_add(half)?;
        Some(Pm1Events { status, enable })
    });
    // A legacy interrupt, or there is none that we could ask for.
    tables.sci = u8::try_from(fadt.sci_interrupt).unwrap_or_default();
    tables.fixed_power_button = !flags.power_button_is_control_method();
    tables.pm_timer = fadt
        .pm_timer_block()
        .ok()
        .flatten()
        .and_then(io_port)
        .map(|port| PmTimer {
            port,
            wide: flags.pm_timer_is_32_bit(),
        });
    let smi_port = u16::try_from(fadt.smi_cmd_port)
        .ok()
        .filter(|port| *port != 0);
    tables.acpi_enable = smi_port
        .filter(|_| fadt.acpi_enable != 0)
        .map(|port| (port, fadt.acpi_enable));
    if flags.supports_system_reset_via_fadt() {
        let port = fadt.reset_register().ok().and_then(io_port);
        tables.reset = port.map(|port| ResetRegister {
            port,
            value: fadt.reset_value,
        });
    }
    tables.century_register = fadt.century;
    tables.s5 = fadt
        .dsdt_address()
        .ok()
        .and_then(|address| read_s5(address as u64));
}

fn read_s5(dsdt: u64) -> Option<SleepType> {
    let header = super::map_firmware(dsdt, size_of::<SdtHeader>() as u64);
    // SAFETY: the FADT says that a table is there, and its header is mapped; the fields are integers.
    let header = unsafe { (header as *const SdtHeader).read_unaligned() };
    let len = u64::from(header.length);
    // A definition block of more than this is a broken length.
    let sound = header.signature.as_str() == "DSDT" && (36..16 << 20).contains(&len);
    let at = NonNull::new(super::map_firmware(dsdt, len) as *mut u8).filter(|_| sound)?;
    aml::find_s5(&bytes(at, len as usize)[36..])
}

/// The bytes of a table that stays where it is.
fn bytes(at: NonNull<u8>, len: usize) -> &'static [u8] {
    // SAFETY: called for mapped tables only; the firmware's tables are never written or freed, nor their mappings undone.
    unsafe { core::slice::from_raw_parts(at.as_ptr(), len) }
}

/// Finds the firmware's tables in the direct map, or maps them for good.
#[derive(Clone, Copy)]
struct Firmware;

impl AcpiHandler for Firmware {
    unsafe fn map_physical_region<T>(
        &self,
        address: usize,
        size: usize,
    ) -> PhysicalMapping<Self, T> {
        let at = super::map_firmware(address as u64, size as u64);
        let at = NonNull::new(at as *mut T).expect("the kernel's half is not at zero");
        // SAFETY: `size` bytes are mapped at `at`, for ever.
        unsafe { PhysicalMapping::new(address, at, size, size, *self) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}
