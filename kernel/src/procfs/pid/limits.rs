//! `limits`.

use fs::Result;

use super::Subject;
use crate::process::rlimit::RLIM_INFINITY;
use crate::pseudofs::{Out, put};

/// Names and units, by number of the resource.
const NAMES: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

pub(super) fn show(subject: &Subject, out: &mut Out) -> Result<()> {
    let limits = *subject.process.rlimits.lock();
    put!(
        out,
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit",
        "Soft Limit",
        "Hard Limit",
        "Units"
    );
    for (number, (name, unit)) in NAMES.into_iter().enumerate() {
        let limit = limits.by_number(number as u64)?;
        put!(out, "{name:<25} ");
        for value in [limit.cur, limit.max] {
            match value {
                RLIM_INFINITY => put!(out, "{:<20} ", "unlimited"),
                value => put!(out, "{value:<20} "),
            }
        }
        if unit.is_empty() {
            put!(out, "\n");
        } else {
            put!(out, "{unit:<10}\n");
        }
    }
    Ok(())
}
