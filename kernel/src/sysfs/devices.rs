//! Character devices: their directories, and the links that find them by class and by number.

use alloc::format;

use super::tree::Tree;
use crate::tty::{console, serial};

/// Devices without hardware: class, name, number.
const VIRTUAL: [(&str, &str, (u32, u32)); 9] = [
    ("mem", "full", (1, 7)),
    ("mem", "kmsg", (1, 11)),
    ("mem", "null", (1, 3)),
    ("mem", "random", (1, 8)),
    ("mem", "urandom", (1, 9)),
    ("mem", "zero", (1, 5)),
    ("tty", "console", (console::AUX_MAJOR, 1)),
    ("tty", "ptmx", (console::AUX_MAJOR, 2)),
    ("tty", "tty", (console::AUX_MAJOR, 0)),
];

pub(super) fn add(tree: &mut Tree) {
    for (class, name, number) in VIRTUAL {
        add_device(tree, "devices/virtual", class, name, number);
    }
    tree.constant("devices/virtual/tty/console/active", "ttyS0\n");
    for index in (0..serial::PORTS).filter(|&index| serial::terminal(index).is_some()) {
        let number = (serial::MAJOR, serial::FIRST_MINOR + index as u32);
        add_device(
            tree,
            "devices/platform/serial8250",
            "tty",
            &format!("ttyS{index}"),
            number,
        );
    }
}

fn add_device(tree: &mut Tree, parent: &str, class: &str, name: &str, (major, minor): (u32, u32)) {
    let path = format!("{parent}/{class}/{name}");
    tree.constant(&format!("{path}/dev"), format!("{major}:{minor}\n"));
    tree.constant(
        &format!("{path}/uevent"),
        format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\n"),
    );
    tree.link(&format!("{path}/subsystem"), &format!("class/{class}"));
    tree.link(&format!("class/{class}/{name}"), &path);
    tree.link(&format!("dev/char/{major}:{minor}"), &path);
}
