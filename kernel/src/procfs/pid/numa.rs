//! `numa_maps`: on which nodes the pages of each mapping are. There is one.
//!
//! Source: numa(7).

use fs::Result;

use super::Subject;
use super::maps::{name, rows, survey};
use crate::pseudofs::{Out, put};

pub(super) fn maps(subject: &Subject, out: &mut Out) -> Result<()> {
    let Some(space) = subject.process.mm() else {
        return Ok(());
    };
    for row in rows(&space) {
        put!(out, "{:08x} default", row.start);
        match (&row.file, row.name) {
            (Some(_), _) => {
                out.bytes(b" file=");
                name(&row)
                    .iter()
                    .flatten()
                    .for_each(|byte| escaped(out, *byte));
            }
            (None, Some("[heap]")) => out.bytes(b" heap"),
            (None, Some("[stack]")) => out.bytes(b" stack"),
            _ => {}
        }
        let pages = survey(&space, &row);
        let dirty = pages.shared_dirty + pages.private_dirty;
        let mapped = pages.resident != pages.anonymous && pages.resident != dirty;
        for (name, count, shown) in [
            ("anon", pages.anonymous, pages.anonymous > 0),
            ("dirty", dirty, dirty > 0),
            ("mapped", pages.resident, mapped),
            ("mapmax", pages.most_maps, pages.most_maps > 1),
            ("N0", pages.resident, pages.resident > 0),
            ("kernelpagesize_kB", 4, pages.resident > 0),
        ] {
            if shown {
                put!(out, " {name}={count}");
            }
        }
        put!(out, "\n");
    }
    Ok(())
}

/// What would look like the end of the name is shown in octal.
fn escaped(out: &mut Out, byte: u8) {
    if b"\n\t= ".contains(&byte) {
        put!(out, "\\{byte:03o}");
    } else {
        out.bytes(&[byte]);
    }
}
