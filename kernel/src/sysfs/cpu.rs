//! `devices/system/cpu`.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use fs::file::{Bytes, SlowIo, Transfer};
use fs::{Credentials, Errno, File, Result};

use super::tree::Tree;
use crate::arch::{percpu, smp, topology};
use crate::irq::mask::{List, Mask};
use crate::pseudofs::{Out, Text, put};
use crate::task::{hotplug, place};

const DIR: &str = "devices/system/cpu";

pub(super) fn add(tree: &Tree) {
    for name in ["possible", "present"] {
        tree.text(&format!("{DIR}/{name}"), |out| list(out, place::possible()));
    }
    tree.text(&format!("{DIR}/online"), |out| list(out, smp::online()));
    tree.text(&format!("{DIR}/offline"), |out| {
        list(out, place::possible() & !smp::online())
    });
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
        if hotplug::is_removable(cpu) {
            tree.setting(&format!("{own}/online"), Online(cpu));
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

fn list(out: &mut Out, cpus: u64) -> Result<()> {
    put!(out, "{}\n", List(cpus));
    Ok(())
}

/// Whether a CPU takes part; a write takes it away or brings it back, and waits for that.
struct Online(u32);

impl Text for Online {
    fn show(&self, out: &mut Out) -> Result<()> {
        put!(out, "{}\n", smp::online() >> self.0 & 1);
        Ok(())
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        parse_bool(text)?;
        Err(Errno::EIOCBQUEUED)
    }

    fn slow(&self) -> Option<&dyn SlowIo> {
        Some(self)
    }
}

impl SlowIo for Online {
    fn read_at<'a>(&'a self, _: &'a File, _: u64, _: usize) -> Transfer<'a, Bytes> {
        // Its plain reads do.
        Box::pin(core::future::ready(Err(Errno::EINVAL)))
    }

    fn write_at<'a>(&'a self, _: &'a File, _: u64, bytes: Vec<u8>) -> Transfer<'a, usize> {
        Box::pin(async move {
            hotplug::set_online(self.0, parse_bool(&bytes)?).await?;
            Ok(bytes.len())
        })
    }

    fn sync<'a>(&'a self, _: &'a File) -> Transfer<'a, ()> {
        Box::pin(core::future::ready(Err(Errno::EINVAL)))
    }

    fn chunk(&self) -> usize {
        crate::mm::PAGE_SIZE
    }
}

/// Reads yes or no from its first letters, as Linux's `kstrtobool`.
///
/// # Errors
/// `EINVAL` for anything else.
fn parse_bool(text: &[u8]) -> Result<bool> {
    match text {
        [b'y' | b'Y' | b'1', ..] => Ok(true),
        [b'n' | b'N' | b'0', ..] => Ok(false),
        [b'o' | b'O', b'n' | b'N', ..] => Ok(true),
        [b'o' | b'O', b'f' | b'F', ..] => Ok(false),
        _ => Err(Errno::EINVAL),
    }
}
