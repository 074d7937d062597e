//! Finds what the runner needs on this machine and installs what is missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What a command of the runner needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// QEMU and a static busybox: to boot.
    Boot,
    /// A C compiler with the C library's headers as well: to build the user programs of the tests.
    Test,
    /// What makes a Debian root file system, as well.
    Debian,
}

/// Makes sure that what `need` names is there; asks nobody and touches no network when nothing is missing.
///
/// # Errors
/// When something is missing and cannot be installed; the message has the command that would do it.
pub fn ensure(need: Need) -> Result<()> {
    install_targets()?;
    let mut missing: Vec<&str> = Vec::new();
    if find_program("qemu-system-x86_64").is_none() {
        missing.push("qemu-system-x86");
    }
    if busybox().is_none() {
        missing.push("busybox-static");
    }
    if need == Need::Test {
        if find_program("gcc").is_none() {
            missing.push("gcc");
        }
        if !Path::new("/usr/include/stdio.h").exists() {
            missing.push("libc6-dev");
        }
    }
    if need == Need::Debian {
        if find_program("debootstrap").is_none() && !Path::new("/usr/sbin/debootstrap").exists() {
            missing.push("debootstrap");
        }
        if find_program("cpio").is_none() {
            missing.push("cpio");
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        install_packages(&missing)
    }
}

/// Where a statically linked busybox is, if there is one.
#[must_use]
pub fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| is_static(path))
}

/// Whether `path` is an ELF that asks for no interpreter.
fn is_static(path: &Path) -> bool {
    use object::read::elf::{FileHeader, ProgramHeader};
    let Ok(data) = std::fs::read(path) else {
        return false;
    };
    let Ok(header) = object::elf::FileHeader64::<object::Endianness>::parse(&*data) else {
        return false;
    };
    let Ok(endian) = header.endian() else {
        return false;
    };
    let Ok(segments) = header.program_headers(endian, &*data) else {
        return false;
    };
    !segments
        .iter()
        .any(|segment| segment.p_type(endian) == object::elf::PT_INTERP)
}

/// A program in the search path.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Adds the Rust targets that are missing, looking at the toolchain's own directory first.
fn install_targets() -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let out = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .context("running rustc")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
    for target in ["x86_64-unknown-none", "x86_64-unknown-linux-musl"] {
        if sysroot
            .join("lib/rustlib")
            .join(target)
            .join("lib")
            .is_dir()
        {
            continue;
        }
        eprintln!("wake: adding the Rust target {target}");
        let done = Command::new("rustup")
            .args(["target", "add", target])
            .stdout(Stdio::null())
            .status();
        if !done.is_ok_and(|status| status.success()) {
            bail!(
                "the Rust target {target} is missing; install it with: rustup target add {target}"
            );
        }
    }
    Ok(())
}

fn install_packages(names: &[&str]) -> Result<()> {
    let list = names.join(" ");
    let by_hand = format!("apt-get install -y --no-install-recommends {list}");
    if find_program("apt-get").is_none() {
        bail!("missing: {list}. Install them (on Debian: {by_hand})");
    }
    let Some(sudo) = as_root() else {
        let how = match find_program("sudo") {
            Some(_) => "Run this, then try again:\n\n    sudo",
            None => "As root, run this, then try again:\n\n   ",
        };
        bail!("missing: {list}, and no rights to install them. {how} {by_hand}\n");
    };
    eprintln!("wake: installing {list} (apt-get)");
    let install = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-q",
        "install",
        "-y",
        "--no-install-recommends",
    ];
    let install = || run_loudly(&[sudo, &install, names].concat());
    // The lists on a fresh machine may be empty or old: fetch them, then install.
    let updated = run_loudly(&[sudo, &["apt-get", "-q", "update"]].concat());
    if !install() {
        let hint = if updated {
            ""
        } else {
            " (and `apt-get update` failed: is there a network?)"
        };
        bail!("installing {list} failed{hint}. By hand: {by_hand}");
    }
    Ok(())
}

/// The words before a command that make it run as root: none for root, `sudo` where that asks nothing, else `None`.
#[must_use]
pub fn as_root() -> Option<&'static [&'static str]> {
    if nix::unistd::geteuid().is_root() {
        Some(&[])
    } else if runs(&["sudo", "-n", "true"]) {
        Some(&["sudo", "-n"])
    } else {
        None
    }
}

fn runs(command: &[&str]) -> bool {
    let mut cmd = Command::new(command[0]);
    cmd.args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    cmd.status().is_ok_and(|status| status.success())
}

/// Runs a command with its output on our standard error, so that standard output stays clean.
pub(crate) fn run_loudly(command: &[&str]) -> bool {
    let mut cmd = Command::new(command[0]);
    cmd.args(&command[1..])
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    cmd.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_no_static_busybox() {
        assert!(
            !is_static(Path::new("/bin/true")),
            "Debian's /bin/true is dynamic"
        );
        assert!(!is_static(Path::new("/etc/passwd")));
        assert!(!is_static(Path::new("/nonexistent")));
    }
}
