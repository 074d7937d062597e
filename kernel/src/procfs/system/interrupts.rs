//! `/proc/interrupts` and `/proc/softirqs`.
//!
//! Source: Linux's `show_interrupts` and `arch_show_interrupts` (what is not there on this machine is not listed).

use executor::softirq;
use fs::Result;

use crate::arch::{irq, smp, vectors};
use crate::irq as lines;
use crate::pseudofs::{Out, put};

pub(super) fn show(out: &mut Out) -> Result<()> {
    let cpus = smp::online();
    put!(out, "{:11}", "");
    for cpu in smp::each(cpus) {
        put!(out, "CPU{cpu:<8}");
    }
    put!(out, "\n");
    for line in lines::existing() {
        let now = line.snapshot();
        if now.actions.is_empty() && line.total() == 0 {
            continue;
        }
        put!(out, "{:3}: ", line.number());
        for cpu in smp::each(cpus) {
            put!(out, "{:10} ", line.count_on(cpu));
        }
        put!(out, " {:>8}", now.chip.unwrap_or("None"));
        put!(out, " {:3}-{:<8}", now.hw, now.flow.name());
        for (at, name) in now.actions.iter().enumerate() {
            put!(out, "{}{name}", if at == 0 { "  " } else { ", " });
        }
        put!(out, "\n");
    }
    for vector in vectors::NAMED {
        put!(out, "{}: ", vectors::label(vector));
        for cpu in smp::each(cpus) {
            put!(out, "{:10} ", irq::count(cpu, vector));
        }
        put!(out, " {}\n", vectors::name(vector));
    }
    put!(out, "ERR: {:10}\n", irq::unexpected());
    Ok(())
}

pub(super) fn show_softirqs(out: &mut Out) -> Result<()> {
    let cpus = smp::online();
    put!(out, "{:20}", "");
    for cpu in smp::each(cpus) {
        put!(out, "CPU{cpu:<8}");
    }
    put!(out, "\n");
    for (at, vector) in softirq::Vector::ALL.into_iter().enumerate() {
        put!(out, "{:>12}:", vector.name());
        for cpu in smp::each(cpus) {
            put!(out, " {:10}", softirq::counts(cpu)[at]);
        }
        put!(out, "\n");
    }
    Ok(())
}
