//! Hands the linker script to the link of the bare-metal image.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=link.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    println!("cargo:rustc-link-arg-bin=wake=-T{dir}/link.ld");
    println!("cargo:rustc-link-arg-bin=wake=-no-pie");
    println!("cargo:rustc-link-arg-bin=wake=--build-id=none");
}
