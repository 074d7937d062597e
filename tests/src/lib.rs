//! The runner: builds the kernel, packs an initramfs, boots both in QEMU, and judges what comes out.
//!
//! `cargo run` boots to a shell ([`session`]); `cargo test` runs the suites under `tests/suites`, which use the same
//! parts. Start reading at [`machine`], the description of one virtual machine, and [`qemu`], one run of it.
//!
//! Nothing here is part of the kernel image. What runs inside a booted machine lives in `tests/user`.

pub mod archive;
pub mod batch;
pub mod compare;
pub mod debian;
pub mod gantt;
pub mod golden;
pub mod harness;
pub mod image;
pub mod initramfs;
pub mod ktests;
pub mod machine;
pub mod postmortem;
pub mod programs;
pub mod pty;
pub mod qemu;
pub mod session;
pub mod setup;
pub mod soak;
pub mod stressors;
pub mod symbols;
pub mod terminal;

use std::path::PathBuf;

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    let dir = if manifest.join("src/initramfs.rs").exists() {
        manifest
    } else {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    };
    dir.parent()
        .expect("the runner's package lies inside the workspace")
        .to_path_buf()
}

/// A directory under `target/` for files that the runner makes; created if missing.
///
/// # Errors
/// When the directory cannot be created.
pub fn work_dir(name: &str) -> anyhow::Result<PathBuf> {
    let dir = root().join("target").join(name);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The README's driver, so that it compiles and does what it says.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
