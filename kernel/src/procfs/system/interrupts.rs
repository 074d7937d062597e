//! `/proc/interrupts`.

use fs::Result;

use crate::arch::{irq, smp, vectors};
use crate::pseudofs::{Out, put};

pub(super) fn show(out: &mut Out) -> Result<()> {
    let cpus = smp::cpu_count();
    put!(out, "{:11}", "");
    for cpu in 0..cpus {
        put!(out, "CPU{cpu:<8}");
    }
    put!(out, "\n");
    for vector in vectors::DEVICE_FIRST..=vectors::DEVICE_LAST {
        if let Some(name) = irq::name(vector) {
            counts(out, format_args!("{vector:3}"), cpus, vector);
            put!(out, "  IO-APIC   {name}\n");
        }
    }
    for (label, vector) in [
        ("LOC", vectors::TIMER),
        ("RES", vectors::RESCHEDULE),
        ("CAL", vectors::CALL),
    ] {
        counts(out, format_args!("{label}"), cpus, vector);
        put!(out, "  {}\n", vectors::name(vector));
    }
    put!(out, "ERR: {:10}\n", irq::unexpected());
    Ok(())
}

fn counts(out: &mut Out, label: core::fmt::Arguments<'_>, cpus: u32, vector: u8) {
    put!(out, "{label}:");
    for cpu in 0..cpus {
        put!(out, " {:10}", irq::count(cpu, vector));
    }
}
