//! Debian 12 on Wake: a root file system by debootstrap, booted from memory.
//!
//! The file system is made once for each set of packages and kept as an archive under `target/debian`. What differs from
//! boot to boot (process 1, the script) is a small archive behind it: the kernel unpacks one after the other.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::archive::Archive;
use crate::initramfs::Session;
use crate::machine::Machine;
use crate::session;
use crate::setup::{self, Need};

/// The release, and where its packages come from unless `WAKE_DEBIAN_MIRROR` says otherwise.
const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";

/// What takes much room and no program reads.
const PRUNED: [&str; 6] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
];

/// Boots Debian with the packages `with` to bash, or to `script`, and gives the exit code.
///
/// # Errors
/// When the root file system cannot be made, or QEMU does not start.
pub fn run(machine: &Machine, with: &[String], script: &[String]) -> Result<u8> {
    let base = archive(with)?;
    let script = (!script.is_empty()).then(|| format!("{}\n", script.join(" ")).into_bytes());
    session::run_with(&with_memory(machine), script, &|path, session| {
        write_initrd(&base, session, path)
    })
}

/// The same machine with enough memory to hold a Debian, unless it was told how much to have.
#[must_use]
pub fn with_memory(machine: &Machine) -> Machine {
    let mut machine = machine.clone();
    if machine.mem == Machine::default().mem {
        machine.mem = "2G".into();
    }
    machine
}

/// The root file system with the packages `with`, as an archive; made where there is none yet.
///
/// # Errors
/// When something is missing, there is no right to make it, or debootstrap fails.
pub fn archive(with: &[String]) -> Result<PathBuf> {
    let name = archive_name(with)?;
    let dir = crate::work_dir("debian")?;
    let archive = dir.join(format!("{name}.cpio"));
    if archive.exists() {
        return Ok(archive);
    }
    setup::ensure(Need::Debian)?;
    let Some(sudo) = setup::as_root() else {
        bail!("making a Debian root file system wants root, or a sudo that asks nothing");
    };
    let root = dir.join(format!("{name}.{}", std::process::id()));
    let mirror = std::env::var("WAKE_DEBIAN_MIRROR").unwrap_or_else(|_| MIRROR.into());
    eprintln!(
        "wake: making a Debian root file system in {}",
        root.display()
    );
    let root_text = root.to_str().context("the workspace's path is no text")?;
    let made = setup::run_loudly(
        &[
            sudo,
            &[
                "debootstrap",
                "--variant=minbase",
                SUITE,
                root_text,
                &mirror,
            ],
        ]
        .concat(),
    ) && install(sudo, root_text, with);
    let packed = if made {
        pack(sudo, &root, &archive)
    } else {
        Err(anyhow::anyhow!(
            "the root file system could not be made: see above"
        ))
    };
    let removed =
        setup::run_loudly(&[sudo, &["rm", "-rf", "--one-file-system", root_text]].concat());
    packed?;
    if !removed {
        eprintln!("wake: {root_text} could not be removed");
    }
    Ok(archive)
}

/// Installs packages by the new system's own apt, which finds what they depend on: debootstrap itself does not always.
fn install(sudo: &[&str], root: &str, with: &[String]) -> bool {
    if with.is_empty() {
        return true;
    }
    let apt = [
        "chroot",
        root,
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-q",
        "install",
        "-y",
        "--no-install-recommends",
    ];
    let names: Vec<&str> = with.iter().map(String::as_str).collect();
    setup::run_loudly(&[sudo, &apt, &names].concat())
}

/// The name of the archive: the packages, sorted.
fn archive_name(with: &[String]) -> Result<String> {
    let plain = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    if let Some(bad) = with.iter().find(|name| !plain(name)) {
        bail!("{bad:?} is not the name of a package");
    }
    let mut names: Vec<&str> = with.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let name = [&["minbase"], &names[..]].concat().join("_");
    // A file's name has at most 255 bytes.
    if name.len() > 200 {
        bail!("too many packages");
    }
    Ok(name)
}

/// Packs the tree `root` into `archive`, with its owners, times, links and devices.
fn pack(sudo: &[&str], root: &Path, archive: &Path) -> Result<()> {
    let paths: Vec<String> = PRUNED
        .iter()
        .map(|path| root.join(path).display().to_string())
        .collect();
    let mut prune = [sudo, &["rm", "-rf"]].concat();
    prune.extend(paths.iter().map(String::as_str));
    if !setup::run_loudly(&prune) {
        bail!("{}: cannot be pruned", root.display());
    }
    let fresh = archive.with_extension(format!("new{}", std::process::id()));
    let script = "cd \"$1\" && find . -xdev -print0 | LC_ALL=C sort -z | cpio --null --create --format=newc --quiet";
    let command = [sudo, &["sh", "-c", script, "sh"]].concat();
    let mut cmd = Command::new(command[0]);
    cmd.args(&command[1..]).arg(root).stdin(Stdio::null());
    cmd.stdout(File::create(&fresh).with_context(|| format!("{}", fresh.display()))?);
    if !cmd.status().context("running cpio")?.success() {
        bail!("cpio failed");
    }
    std::fs::rename(&fresh, archive)?;
    Ok(())
}

/// Writes the archive `base` and, behind it, what `session` needs to `path`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write_initrd(base: &Path, session: &Session, path: &Path) -> Result<()> {
    std::fs::copy(base, path).with_context(|| format!("copying {}", base.display()))?;
    let mut out = File::options().append(true).open(path)?;
    std::io::Write::write_all(&mut out, &overlay(session)?.bytes()).context("writing the initramfs")
}

/// Process 1 and its helpers: the minimal Debian has no init and no `poweroff` of its own.
fn overlay(session: &Session) -> Result<Archive> {
    let busybox =
        setup::busybox().context("there is no static busybox (Debian: busybox-static)")?;
    let mut archive = Archive::new();
    archive.file("usr/local/lib/wake/busybox", 0o755, std::fs::read(busybox)?);
    archive.file(
        "usr/local/sbin/poweroff",
        0o755,
        "#!/bin/sh\nexec /usr/local/lib/wake/busybox poweroff -f\n",
    );
    archive.file("etc/hostname", 0o644, "wake\n");
    archive.file("etc/hosts", 0o644, "127.0.0.1\tlocalhost wake\n");
    let shell = match session {
        Session::Script(script) => {
            archive.file("root/script", 0o644, script.clone());
            "bash -l /root/script"
        }
        Session::Program(program) => program,
        Session::Shell | Session::OneShell => "bash -l",
    };
    archive.file("init", 0o755, INIT.replace("@SHELL@", shell));
    Ok(archive)
}

/// Mounts what a Debian has mounted, runs a shell on the console, reports as the runner's own sessions do.
///
/// The first part of a session is the child's work: its parent stays process 1 and reaps.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2> /dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,gid=5,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
hostname wake
if [ -n "$LINES" ] && [ -n "$COLUMNS" ]; then
	stty rows "$LINES" cols "$COLUMNS" < /dev/ttyS0
	unset LINES COLUMNS
fi
report() { [ ! -c /dev/ttyS1 ] || echo "$@" > /dev/ttyS1; }
cd /root
report ready
setsid --ctty --wait @SHELL@ < /dev/ttyS0 > /dev/ttyS0 2>&1
report exit $?
exec poweroff
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_packages_does_not_matter() {
        let name =
            |list: &[&str]| archive_name(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            name(&["gcc", "python3", "gcc"]).ok().as_deref(),
            Some("minbase_gcc_python3")
        );
        assert_eq!(name(&[]).ok().as_deref(), Some("minbase"));
    }

    #[test]
    fn names_that_are_no_packages_are_refused() {
        for bad in ["", "-x", "a b", "../etc", "a/b"] {
            assert!(archive_name(&[bad.to_string()]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_overlay_has_an_init_that_runs_the_script() {
        setup::ensure(Need::Boot).expect("the tools are there");
        let archive = overlay(&Session::Script(b"true".to_vec())).expect("busybox is there");
        assert!(archive.contains("init") && archive.contains("root/script"));
    }
}
