//! Devices with nodes: their directories, and the links that find them by class and by number.

use alloc::format;
use alloc::string::String;

use super::tree::Tree;
use crate::rtc;
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

pub(super) fn add(tree: &Tree) {
    for (class, name, number) in VIRTUAL {
        add_device(tree, "devices/virtual", Class::Char(class), name, number);
    }
    tree.constant("devices/virtual/tty/console/active", "ttyS0\n");
    for index in (0..serial::PORTS).filter(|&index| serial::terminal(index).is_some()) {
        let number = (serial::MAJOR, serial::FIRST_MINOR + index as u32);
        add_device(
            tree,
            "devices/platform/serial8250",
            Class::Char("tty"),
            &format!("ttyS{index}"),
            number,
        );
    }
    if rtc::is_there() {
        let parent = "devices/platform/rtc_cmos";
        add_device(tree, parent, Class::Char("rtc"), "rtc0", rtc::NUMBER);
        super::clock::add_rtc(tree, &format!("{parent}/rtc/rtc0"));
    }
}

/// What kind of node a device has, and where it is listed.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    /// A character device of this class.
    Char(&'static str),
    /// One whose directory is right below its parent's, which is of the same class; its node is in a directory of its own.
    CharBelow(&'static str),
    /// A disk.
    Disk,
    /// A part of the disk whose directory its own is in.
    Partition,
}

impl Class {
    /// The directory below `class`.
    fn name(self) -> &'static str {
        match self {
            Self::Char(class) | Self::CharBelow(class) => class,
            Self::Disk | Self::Partition => "block",
        }
    }

    fn by_number(self) -> &'static str {
        match self {
            Self::Char(_) | Self::CharBelow(_) => "char",
            Self::Disk | Self::Partition => "block",
        }
    }

    fn path(self, parent: &str, name: &str) -> String {
        match self {
            Self::Char(class) => format!("{parent}/{class}/{name}"),
            Self::Disk => format!("{parent}/block/{name}"),
            Self::CharBelow(_) | Self::Partition => format!("{parent}/{name}"),
        }
    }
}

/// Adds a device with a node below the directory `parent`, and returns its own.
pub fn add_device(
    tree: &Tree,
    parent: &str,
    class: Class,
    name: &str,
    (major, minor): (u32, u32),
) -> String {
    let path = class.path(parent, name);
    tree.constant(&format!("{path}/dev"), format!("{major}:{minor}\n"));
    let kind = match class {
        Class::Char(_) | Class::CharBelow(_) => "",
        Class::Disk => "DEVTYPE=disk\n",
        Class::Partition => "DEVTYPE=partition\n",
    };
    let dir = match class {
        Class::CharBelow(class) => format!("{class}/"),
        _ => String::new(),
    };
    tree.constant(
        &format!("{path}/uevent"),
        format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={dir}{name}\n{kind}"),
    );
    let (list, by_number) = (class.name(), class.by_number());
    tree.link(&format!("{path}/subsystem"), &format!("class/{list}"));
    tree.link(&format!("class/{list}/{name}"), &path);
    if matches!(class, Class::Disk) {
        tree.link(&format!("block/{name}"), &path);
    }
    tree.link(&format!("dev/{by_number}/{major}:{minor}"), &path);
    path
}

/// Takes back what [`add_device`] added.
pub fn remove_device(
    tree: &Tree,
    parent: &str,
    class: Class,
    name: &str,
    (major, minor): (u32, u32),
) {
    let (list, by_number) = (class.name(), class.by_number());
    tree.remove(&format!("dev/{by_number}/{major}:{minor}"));
    if matches!(class, Class::Disk) {
        tree.remove(&format!("block/{name}"));
    }
    tree.remove(&format!("class/{list}/{name}"));
    tree.remove(&class.path(parent, name));
}
