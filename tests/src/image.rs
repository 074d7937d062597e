//! Builds the kernel image, each flavour in a place of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Which kernel to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Optimised, as users boot it.
    Release,
    /// With debug assertions and overflow checks, for the tests of user programs.
    Checked,
    /// Like `Checked`, and runs the in-kernel tests in place of `/init`.
    KernelTest,
}

impl Flavour {
    fn profile(self) -> &'static str {
        match self {
            Flavour::Release => "release",
            Flavour::Checked | Flavour::KernelTest => "ktest",
        }
    }

    fn features(self) -> &'static str {
        match self {
            Flavour::Release | Flavour::Checked => "image",
            Flavour::KernelTest => "image,ktest",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Flavour::Release => "wake",
            Flavour::Checked => "wake-checked",
            Flavour::KernelTest => "wake-ktest",
        }
    }
}

/// Variables that would change what cargo builds for the kernel: inherited flags replace the kernel's own.
const SHUNNED: [&str; 6] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
];

/// A cargo command at the root of the workspace, free of inherited flags, in the target directory `dir`.
#[must_use]
pub fn cargo(dir: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut cmd = Command::new(cargo);
    cmd.current_dir(crate::root());
    for name in SHUNNED {
        cmd.env_remove(name);
    }
    // What cargo tells the program it runs about that program's package says nothing about the kernel.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text.starts_with("CARGO_BIN_")
        {
            cmd.env_remove(&name);
        }
    }
    cmd.env("CARGO_TARGET_DIR", crate::root().join("target").join(dir));
    cmd
}

/// Builds the kernel and gives the path of the image. Cargo's messages go to standard error.
///
/// # Errors
/// When the build fails.
pub fn build(flavour: Flavour) -> Result<PathBuf> {
    let mut cmd = cargo("kernel");
    cmd.args([
        "build",
        "-p",
        "kernel",
        "--bin",
        "wake",
        "--target",
        "x86_64-unknown-none",
    ]);
    cmd.args([
        "--features",
        flavour.features(),
        "--profile",
        flavour.profile(),
    ]);
    if std::env::var_os("CI").is_none() {
        cmd.arg("--quiet");
    }
    cmd.stdout(std::io::stderr());
    if !cmd.status().context("running cargo")?.success() {
        bail!("the kernel does not build");
    }
    let built = crate::root()
        .join("target/kernel/x86_64-unknown-none")
        .join(flavour.profile())
        .join("wake");
    let image = crate::work_dir("images")?.join(flavour.file_name());
    let fresh = image.with_extension(format!("new{}", std::process::id()));
    std::fs::copy(&built, &fresh).with_context(|| format!("copying {}", built.display()))?;
    crate::symbols::fill(&fresh)?;
    // Renamed over the old one, which a running QEMU may still be reading.
    std::fs::rename(&fresh, &image)?;
    Ok(image)
}
