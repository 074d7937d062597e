//! `devices/system/clocksource` and `clockevents`, and the attributes of the battery-backed clock.
//!
//! Source: Linux's Documentation/ABI/testing/sysfs-devices-system-clocksource.

use alloc::format;

use fs::{Credentials, Errno, Result};

use super::tree::Tree;
use crate::arch::{clock, event, smp};
use crate::pseudofs::{Out, Setting, put};
use crate::rtc;

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
        let path = format!("{EVENTS}/clockevent{cpu}/current_device");
        tree.constant(&path, format!("{}\n", event::local().traits().name));
    }
    tree.text(&format!("{EVENTS}/broadcast/current_device"), broadcast);
}

/// Adds what `class/rtc/rtc0` tells besides its number.
pub(super) fn add_rtc(tree: &Tree, path: &str) {
    tree.constant(&format!("{path}/name"), "rtc_cmos\n");
    tree.constant(&format!("{path}/hctosys"), "1\n");
    tree.constant(
        &format!("{path}/max_user_freq"),
        format!("{}\n", rtc::MAX_USER_RATE),
    );
    tree.text(&format!("{path}/date"), rtc::show_date);
    tree.text(&format!("{path}/time"), rtc::show_time);
    tree.text(&format!("{path}/since_epoch"), rtc::show_since_epoch);
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

/// The device that serves all CPUs, while one does; Linux's file is as empty without.
fn broadcast(out: &mut Out) -> Result<()> {
    if let Some(served) = event::served() {
        put!(out, "{}\n", served.device.name);
    }
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
