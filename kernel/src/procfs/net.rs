//! `/proc/PID/net`: the tables of a network that has no devices yet, each with its heading alone.

use alloc::vec::Vec;

use fs::Result;

use super::ino;

use crate::pseudofs::{Entry, Fixed, Out, put};

/// A table: its name, and what writes it.
type File = (&'static str, fn(&mut Out) -> Result<()>);

/// The directory.
pub(super) fn directory() -> Fixed {
    let files: [File; 8] = [
        ("dev", dev),
        ("arp", arp),
        ("route", route),
        ("tcp", inet),
        ("udp", inet),
        ("raw", inet),
        ("unix", unix),
        ("netlink", netlink),
    ];
    let entry =
        |(at, (name, show)): (usize, File)| (name, Entry::text(ino::NET + at as u64, 0o444, show));
    Fixed(files.into_iter().enumerate().map(entry).collect::<Vec<_>>())
}

fn dev(out: &mut Out) -> Result<()> {
    put!(
        out,
        "Inter-|   Receive                                                |  Transmit\n"
    );
    put!(
        out,
        " face |bytes    packets errs drop fifo frame compressed multicast"
    );
    put!(
        out,
        "|bytes    packets errs drop fifo colls carrier compressed\n"
    );
    Ok(())
}

fn arp(out: &mut Out) -> Result<()> {
    put!(
        out,
        "IP address       HW type     Flags       HW address            Mask     Device\n"
    );
    Ok(())
}

fn route(out: &mut Out) -> Result<()> {
    let heading =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    put!(out, "{heading:<127}\n");
    Ok(())
}

fn inet(out: &mut Out) -> Result<()> {
    let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
    put!(out, "{heading:<149}\n");
    Ok(())
}

fn unix(out: &mut Out) -> Result<()> {
    put!(
        out,
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
    );
    Ok(())
}

fn netlink(out: &mut Out) -> Result<()> {
    put!(
        out,
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
    );
    Ok(())
}
