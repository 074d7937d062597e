//! `devices/system/cpu`.

use alloc::format;

use fs::Result;

use super::tree::Tree;
use crate::arch::{percpu, smp};
use crate::procfs::system::cpu_list;
use crate::pseudofs::{Out, put};

const DIR: &str = "devices/system/cpu";

pub(super) fn add(tree: &Tree) {
    for name in ["online", "possible", "present"] {
        tree.text(&format!("{DIR}/{name}"), all);
    }
    tree.constant(&format!("{DIR}/offline"), "\n");
    tree.constant(&format!("{DIR}/isolated"), "\n");
    tree.constant(
        &format!("{DIR}/kernel_max"),
        format!("{}\n", percpu::MAX_CPUS - 1),
    );
    for cpu in 0..smp::cpu_count() {
        let own = format!("{DIR}/cpu{cpu}");
        let topology = format!("{own}/topology");
        if cpu > 0 {
            // The first one cannot be taken away, and has no such file.
            tree.constant(&format!("{own}/online"), "1\n");
        }
        tree.constant(
            &format!("{topology}/physical_package_id"),
            format!("{cpu}\n"),
        );
        for name in ["core_id", "die_id"] {
            tree.constant(&format!("{topology}/{name}"), "0\n");
        }
        for name in [
            "core_siblings",
            "thread_siblings",
            "core_cpus",
            "package_cpus",
            "die_cpus",
        ] {
            tree.constant(
                &format!("{topology}/{name}"),
                format!("{:x}\n", 1u64 << cpu),
            );
            tree.constant(&format!("{topology}/{name}_list"), format!("{cpu}\n"));
        }
        tree.link(&format!("bus/cpu/devices/cpu{cpu}"), &own);
    }
}

fn all(out: &mut Out) -> Result<()> {
    cpu_list(out, smp::cpu_count());
    put!(out, "\n");
    Ok(())
}
