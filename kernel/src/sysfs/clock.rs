//! `devices/system/clocksource` and `clockevents`.
//!
//! Source: Linux's Documentation/ABI/testing/sysfs-devices-system-clocksource.

use alloc::format;

use fs::{Credentials, Errno, Result};

use super::tree::Tree;
use crate::arch::{clock, smp};
use crate::pseudofs::{Out, Setting, put};

const SOURCES: &str = "devices/system/clocksource/clocksource0";
const EVENTS: &str = "devices/system/clockevents";
/// Longest name that is taken.
const NAME_MAX: usize = 31;

pub(super) fn add(tree: &Tree) {
    tree.text(&format!("{SOURCES}/available_clocksource"), available);
    let current = Setting {
        show: current,
        store: select,
    };
    tree.setting(&format!("{SOURCES}/current_clocksource"), current);
    for cpu in 0..smp::cpu_count() {
        let name = "lapic\n";
        tree.constant(&format!("{EVENTS}/clockevent{cpu}/current_device"), name);
    }
}

fn available(out: &mut Out) -> Result<()> {
    clock::each_available(|source| put!(out, "{} ", source.name()));
    put!(out, "\n");
    Ok(())
}

fn current(out: &mut Out) -> Result<()> {
    put!(
        out,
        "{}\n",
        clock::current().map_or("jiffies", |source| source.name())
    );
    Ok(())
}

/// A name that is none of those available leaves the choice to the ratings, as on Linux.
fn select(text: &[u8], _: &Credentials) -> Result<()> {
    let name = text.strip_suffix(b"\n").unwrap_or(text);
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Errno::EINVAL);
    }
    clock::select(core::str::from_utf8(name).unwrap_or_default());
    Ok(())
}
