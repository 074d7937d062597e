//! `devices/system/cpu`.

use alloc::format;

use fs::Result;

use super::tree::Tree;
use crate::arch::{percpu, smp, topology};
use crate::irq::mask::{List, Mask};
use crate::procfs::system::cpu_list;
use crate::pseudofs::{Out, put};
use crate::task::place;

const DIR: &str = "devices/system/cpu";

pub(super) fn add(tree: &Tree) {
    for name in ["online", "possible", "present"] {
        tree.text(&format!("{DIR}/{name}"), all);
    }
    tree.constant(&format!("{DIR}/offline"), "\n");
    tree.constant(
        &format!("{DIR}/isolated"),
        format!("{}\n", List(place::isolated())),
    );
    tree.constant(
        &format!("{DIR}/kernel_max"),
        format!("{}\n", percpu::MAX_CPUS - 1),
    );
    for cpu in 0..smp::cpu_count() {
        let own = format!("{DIR}/cpu{cpu}");
        if cpu > 0 {
            // The first one cannot be taken away, and has no such file.
            tree.constant(&format!("{own}/online"), "1\n");
        }
        add_topology(tree, cpu, &format!("{own}/topology"));
        tree.link(&format!("bus/cpu/devices/cpu{cpu}"), &own);
    }
}

/// Says where CPU `cpu` sits.
fn add_topology(tree: &Tree, cpu: u32, dir: &str) {
    let at = topology::locate(cpu);
    for (name, number) in [
        ("physical_package_id", at.package),
        ("die_id", at.die_id),
        ("core_id", at.core_id),
    ] {
        tree.constant(&format!("{dir}/{name}"), format!("{number}\n"));
    }
    let [core, die, package] = [
        topology::mates(cpu, |at| at.core),
        topology::mates(cpu, |at| at.die),
        topology::mates(cpu, |at| at.package),
    ];
    for (name, set) in [
        ("core_cpus", core),
        ("thread_siblings", core),
        ("die_cpus", die),
        ("package_cpus", package),
        ("core_siblings", package),
    ] {
        let cpus = smp::cpu_count();
        tree.constant(
            &format!("{dir}/{name}"),
            format!("{}\n", Mask { set, cpus }),
        );
        tree.constant(&format!("{dir}/{name}_list"), format!("{}\n", List(set)));
    }
}

fn all(out: &mut Out) -> Result<()> {
    cpu_list(out, smp::cpu_count());
    put!(out, "\n");
    Ok(())
}
