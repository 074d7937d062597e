//! Hands the linker script to the link of the bare-metal image, and builds the vDSO.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=link.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let dir = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    println!("cargo:rustc-link-arg-bin=wake=-T{dir}/link.ld");
    println!("cargo:rustc-link-arg-bin=wake=-no-pie");
    println!("cargo:rustc-link-arg-bin=wake=--build-id=none");
    let out = env::var("OUT_DIR").expect("cargo sets it for build scripts");
    build_vdso(Path::new(&dir), Path::new(&out));
}

/// Compiles the vDSO for the machine's user mode, and checks that it needs nobody to link it.
fn build_vdso(dir: &Path, out: &Path) {
    let source = dir.join("vdso/vdso.rs");
    let script = dir.join("vdso/vdso.ld");
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-changed={}", script.display());
    println!(
        "cargo:rerun-if-changed={}",
        dir.join("src/vdso/data.rs").display()
    );
    let object = out.join("vdso.o");
    let image = out.join("vdso.so");
    let host = env::var("HOST").expect("cargo sets it for build scripts");
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    // The compiler alone, not cargo: it would wait for the lock that is held for this build.
    run(Command::new(rustc)
        .args([
            "--edition",
            "2024",
            "--crate-name",
            "vdso",
            "--crate-type",
            "lib",
            "--emit",
            "obj",
            "--target",
            &host,
        ])
        .args([
            "-C",
            "opt-level=2",
            "-C",
            "panic=abort",
            "-C",
            "relocation-model=pic",
            "-C",
            "codegen-units=1",
        ])
        .args(["-C", "overflow-checks=off", "-C", "force-unwind-tables=yes"])
        .arg("-o")
        .args([&object, &source]));
    // Rust's own linking of shared objects has a version script of its own, so the C compiler does it.
    run(Command::new("cc")
        .args([
            "-shared",
            "-nostdlib",
            "-nostartfiles",
            "-Wl,-soname=linux-vdso.so.1",
            "-Wl,--hash-style=both",
        ])
        .args([
            "-Wl,-Bsymbolic",
            "-Wl,-z,max-page-size=4096",
            "-Wl,--no-undefined",
            "-Wl,--eh-frame-hdr",
            "-s",
        ])
        .arg(format!("-Wl,-T,{}", script.display()))
        .arg("-o")
        .args([&image, &object]));
    check_vdso(&fs::read(&image).expect("the linker has written it"));
}

fn run(command: &mut Command) {
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "{command:?} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(e) => panic!("cannot run {command:?}: {e}"),
    }
}

/// The vDSO is mapped as it lies in the file and never linked: one loaded segment, and no relocation.
fn check_vdso(image: &[u8]) {
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("eight bytes"));
    let half = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let headers = (0..half(56)).map(|n| word(32) as usize + n * half(54));
    let kind = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"));
    const PT_LOAD: u32 = 1;
    const PT_DYNAMIC: u32 = 2;
    const RELOCATIONS: [u64; 3] = [7, 17, 23];
    assert_eq!(
        headers.clone().filter(|at| kind(*at) == PT_LOAD).count(),
        1,
        "vDSO: more than one segment"
    );
    let dynamic = headers
        .clone()
        .find(|at| kind(*at) == PT_DYNAMIC)
        .expect("vDSO: no dynamic section");
    let (start, len) = (word(dynamic + 8) as usize, word(dynamic + 32) as usize);
    for entry in (start..start + len).step_by(16) {
        assert!(
            !RELOCATIONS.contains(&word(entry)),
            "vDSO: it has relocations"
        );
    }
}
