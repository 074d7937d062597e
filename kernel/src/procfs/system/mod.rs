//! Figures of the whole system.

mod cpuinfo;
mod interrupts;
mod kmsg;
mod latency;
mod memory;
mod stat;
mod timers;

use alloc::sync::Arc;
use alloc::vec;

use executor::time::Instant;
use fs::Result;

use super::ino;
use crate::process::table;
use crate::pseudofs::{Entry, Fixed, Node, Out, put};
use crate::task::load::{self, LOAD_SHIFT};
use crate::{arch, boot, devices, ipc, syscall, uts};

pub use kmsg::Kmsg;

/// Nanoseconds in a hundredth of a second, the unit of times in `/proc`.
pub const TICK_NS: u64 = 10_000_000;

/// A file: its name, mode, and what writes it.
type File = (&'static str, u32, fn(&mut Out) -> Result<()>);

/// The fixed files of the top directory.
pub(super) const FILES: &[File] = &[
    ("buddyinfo", 0o444, memory::buddyinfo),
    ("cgroups", 0o444, cgroups),
    ("cmdline", 0o444, cmdline),
    ("consoles", 0o444, consoles),
    ("cpuinfo", 0o444, cpuinfo::show),
    ("devices", 0o444, devices),
    ("diskstats", 0o444, nothing),
    ("execdomains", 0o444, execdomains),
    ("filesystems", 0o444, filesystems),
    ("interrupts", 0o444, interrupts::show),
    ("iomem", 0o400, memory::iomem),
    ("ioports", 0o400, nothing),
    ("loadavg", 0o444, loadavg),
    ("locks", 0o444, nothing),
    ("meminfo", 0o444, memory::meminfo),
    ("misc", 0o444, nothing),
    ("modules", 0o444, nothing),
    ("partitions", 0o444, devices::proc_partitions),
    ("softirqs", 0o444, interrupts::show_softirqs),
    ("stat", 0o444, stat::show),
    ("swaps", 0o444, swaps),
    ("timer_list", 0o400, timers::show),
    ("uptime", 0o444, uptime),
    ("version", 0o444, version),
    ("vmstat", 0o444, memory::vmstat),
];

/// The files of `/proc/wake`: what only this kernel has.
pub(super) fn wake() -> Fixed {
    let missing = Entry::text(ino::FIXED + 0x1000, 0o444, missing_calls);
    let latency = Node::Text(Arc::new(latency::Latency));
    Fixed(vec![
        ("latency", Entry::new(ino::FIXED + 0x1001, 0o644, latency)),
        ("missing_syscalls", missing),
    ])
}

/// The files of `/proc/bus`.
pub(super) fn bus() -> Fixed {
    let devices = Entry::text(ino::FIXED + 0x2000, 0o444, devices::proc_devices);
    let pci = Entry::dir(ino::FIXED + 0x2001, Fixed(vec![("devices", devices)]));
    let devices = Entry::text(ino::FIXED + 0x2002, 0o444, devices::proc_input_devices);
    let input = Entry::dir(ino::FIXED + 0x2003, Fixed(vec![("devices", devices)]));
    Fixed(vec![("input", input), ("pci", pci)])
}

/// The files of `/proc/sysvipc`.
pub(super) fn sysvipc() -> Fixed {
    let file = |at, show| Entry::text(ino::FIXED + 0x3000 + at, 0o444, show);
    Fixed(vec![
        ("msg", file(0, ipc::show::queues)),
        ("sem", file(1, ipc::show::sets)),
        ("shm", file(2, ipc::show::segments)),
    ])
}

/// The files of `/proc/driver`.
pub(super) fn driver() -> Fixed {
    let rtc = Entry::text(ino::FIXED + 0x2000, 0o444, crate::rtc::show_driver);
    Fixed(vec![("rtc", rtc)])
}

fn nothing(_: &mut Out) -> Result<()> {
    Ok(())
}

/// System calls that were asked for and do not exist: number, times.
fn missing_calls(out: &mut Out) -> Result<()> {
    for number in 0..syscall::NUMBERS {
        match syscall::missing_count(number) {
            0 => {}
            count => put!(out, "{number} {count}\n"),
        }
    }
    Ok(())
}

fn cgroups(out: &mut Out) -> Result<()> {
    put!(out, "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
    put!(out, "cpu\t0\t{}\t1\n", crate::cgroup::count());
    Ok(())
}

fn cmdline(out: &mut Out) -> Result<()> {
    put!(out, "{}\n", boot::info().cmdline().text());
    Ok(())
}

fn consoles(out: &mut Out) -> Result<()> {
    put!(out, "{:<21}-W- (EC p a)  {:>4}:{}\n", "ttyS0", 4, 64);
    Ok(())
}

fn devices(out: &mut Out) -> Result<()> {
    out.string(fs::device::show_devices);
    Ok(())
}

fn execdomains(out: &mut Out) -> Result<()> {
    put!(out, "0-0\tLinux           \t[kernel]\n");
    Ok(())
}

fn filesystems(out: &mut Out) -> Result<()> {
    out.string(fs::superblock::show_filesystems);
    Ok(())
}

/// The averages, runnable and all threads, the newest process number.
fn loadavg(out: &mut Out) -> Result<()> {
    for average in load::averages() {
        // Rounded to hundredths.
        let rounded = average + (1 << LOAD_SHIFT) / 200;
        let part = ((rounded & ((1 << LOAD_SHIFT) - 1)) * 100) >> LOAD_SHIFT;
        put!(out, "{}.{part:02} ", rounded >> LOAD_SHIFT);
    }
    let running = super::running_threads();
    let table = table::lock();
    put!(
        out,
        "{running}/{} {}\n",
        table.thread_count(),
        table.last_pid()
    );
    Ok(())
}

fn swaps(out: &mut Out) -> Result<()> {
    put!(out, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    Ok(())
}

fn uptime(out: &mut Out) -> Result<()> {
    let up = Instant::now().as_ns() / TICK_NS;
    let idle: u64 = (0..arch::smp::cpu_count())
        .map(|cpu| load::times(cpu).idle)
        .sum::<u64>()
        / TICK_NS;
    put!(
        out,
        "{}.{:02} {}.{:02}\n",
        up / 100,
        up % 100,
        idle / 100,
        idle % 100
    );
    Ok(())
}

fn version(out: &mut Out) -> Result<()> {
    put!(
        out,
        "{} version {} (wake@wake) (rustc) {}\n",
        uts::SYSNAME,
        uts::RELEASE,
        uts::VERSION
    );
    Ok(())
}
