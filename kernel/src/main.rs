//! The kernel image. All of it is in the library; the linker script's entry point pulls it in.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use kernel as _;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the kernel image is built for x86_64-unknown-none; `cargo run` does it");
}
