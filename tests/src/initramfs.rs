//! The initramfs that the runner boots with: busybox, the few files of `/etc` that programs look for, device nodes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::archive::{Archive, Node};

/// What runs once the system is up.
#[derive(Clone, Debug)]
pub enum Session {
    /// A login shell on the console, started again when it ends.
    Shell,
    /// The same shell; when it ends, the machine powers off. For input that arrives bit by bit.
    OneShell,
    /// A script, fed to a shell as its standard input; then the machine powers off.
    Script(Vec<u8>),
    /// A program (with its arguments) in place of a shell; then the machine powers off.
    Program(String),
}

/// Builds the base archive with what `session` needs.
///
/// # Errors
/// When busybox is missing or does not run.
pub fn build(session: &Session) -> Result<Archive> {
    let busybox =
        crate::setup::busybox().context("there is no static busybox (Debian: busybox-static)")?;
    let mut archive = Archive::new();
    for dir in [
        "bin", "dev/pts", "dev/shm", "etc", "home", "mnt", "opt", "proc", "run", "sbin", "sys",
        "usr/bin", "usr/sbin", "var/log", "var/run",
    ] {
        archive.dir(dir, 0o755);
    }
    archive.dir("root", 0o700);
    archive.dir("tmp", 0o1777);
    archive.dir("var/tmp", 0o1777);
    add_devices(&mut archive);
    archive.file("bin/busybox", 0o755, std::fs::read(&busybox)?);
    for applet in applets(&busybox)? {
        archive.symlink(&applet, "/bin/busybox");
    }
    archive.symlink("init", "/sbin/init");
    archive.symlink("linuxrc", "/sbin/init");
    for (path, mode, text) in ETC {
        archive.file(path, *mode, *text);
    }
    archive.file("etc/inittab", 0o644, inittab(session));
    match session {
        Session::Script(script) => {
            archive.file("root/script", 0o644, script.clone());
            archive.file("etc/session", 0o755, session_script("ash -s < script"));
        }
        Session::OneShell => archive.file("etc/session", 0o755, session_script("ash -l")),
        Session::Shell | Session::Program(_) => {}
    }
    Ok(archive)
}

/// The paths of all applets, without their leading slash.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let out = Command::new(busybox)
        .arg("--list-full")
        .output()
        .context("running busybox")?;
    if !out.status.success() {
        bail!("busybox --list-full failed");
    }
    let text = String::from_utf8(out.stdout).context("busybox --list-full")?;
    Ok(text
        .lines()
        .filter(|path| *path != "bin/busybox" && *path != "linuxrc")
        .map(str::to_string)
        .collect())
}

/// The nodes that a program may need before, or without, a devtmpfs.
fn add_devices(archive: &mut Archive) {
    let nodes: [(&str, u32, u32, u32); 10] = [
        ("console", 0o600, 5, 1),
        ("full", 0o666, 1, 7),
        ("kmsg", 0o644, 1, 11),
        ("null", 0o666, 1, 3),
        ("ptmx", 0o666, 5, 2),
        ("random", 0o666, 1, 8),
        ("tty", 0o666, 5, 0),
        ("ttyS0", 0o600, 4, 64),
        ("urandom", 0o666, 1, 9),
        ("zero", 0o666, 1, 5),
    ];
    for (name, mode, major, minor) in nodes {
        archive.add(&format!("dev/{name}"), mode, Node::Char(major, minor));
    }
}

fn inittab(session: &Session) -> String {
    let run = match session {
        Session::Shell => "ttyS0::respawn:-/bin/ash".to_string(),
        Session::OneShell | Session::Script(_) => "ttyS0::once:-/etc/session".to_string(),
        Session::Program(command) => format!("ttyS0::once:{command}"),
    };
    format!(
        "::sysinit:/etc/init.d/rcS\n{run}\n::ctrlaltdel:/sbin/reboot\n::shutdown:/bin/umount -a -r\n"
    )
}

/// Reports on the second serial port that it is ready, runs a shell, reports its exit code, and powers off.
fn session_script(shell: &str) -> String {
    format!(
        "#!/bin/ash\n. /etc/profile\nreport() {{ [ ! -c /dev/ttyS1 ] || echo \"$@\" > /dev/ttyS1; }}\n\
         report ready\n{shell}\nreport exit $?\npoweroff\n"
    )
}

const ETC: &[(&str, u32, &str)] = &[
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/ash\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nuser:x:1000:1000:user:/home/user:/bin/ash\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    (
        "etc/shadow",
        0o600,
        "root::19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    ),
    (
        "etc/group",
        0o644,
        "root:x:0:\ndaemon:x:1:\ntty:x:5:\ndisk:x:6:\nuser:x:1000:\nnogroup:x:65534:\n",
    ),
    ("etc/hostname", 0o644, "wake\n"),
    ("etc/hosts", 0o644, "127.0.0.1\tlocalhost wake\n"),
    (
        "etc/fstab",
        0o644,
        "proc /proc proc defaults 0 0\nsysfs /sys sysfs defaults 0 0\ndevpts /dev/pts devpts mode=620,gid=5 0 0\ntmpfs /dev/shm tmpfs mode=1777 0 0\n",
    ),
    ("etc/shells", 0o644, "/bin/sh\n/bin/ash\n"),
    ("etc/securetty", 0o600, "console\nttyS0\n"),
    (
        "etc/os-release",
        0o644,
        "NAME=\"Wake\"\nID=wake\nPRETTY_NAME=\"Wake\"\n",
    ),
    ("etc/profile", 0o644, PROFILE),
    ("etc/init.d/rcS", 0o755, RC),
];

/// The window's size arrives in `LINES` and `COLUMNS` and goes to the terminal, where programs look for it.
const PROFILE: &str = r#"export PATH=/sbin:/usr/sbin:/bin:/usr/bin
export HOME=/root
if [ -n "$LINES" ] && [ -n "$COLUMNS" ]; then
	stty rows "$LINES" cols "$COLUMNS" 2>/dev/null
	unset LINES COLUMNS
fi
PS1='\w \$ '
cd
"#;

const RC: &str = r#"#!/bin/ash
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
hostname -F /etc/hostname
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_what_programs_look_for() {
        crate::setup::ensure(crate::setup::Need::Boot).expect("the tools are there");
        let archive = build(&Session::Shell).expect("busybox runs");
        for path in [
            "init",
            "bin/busybox",
            "bin/ash",
            "sbin/init",
            "dev/console",
            "etc/passwd",
            "etc/inittab",
            "tmp",
        ] {
            assert!(archive.contains(path), "{path}");
        }
    }
}
