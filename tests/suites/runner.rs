//! The runner as its users meet it.

use std::process::Command;

use object::{Object, ObjectSection, SectionKind};
use tests::image::{self, Flavour};
use tests::setup::{self, Need};

fn runner(args: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_tests"))
        .args(args)
        .output()
        .expect("it starts");
    (
        out.status.code(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

#[test]
fn unknown_options_are_refused() {
    for args in [
        &["--bogus"][..],
        &["bogus"],
        &["boot", "--bogus"],
        &["boot", "--smp", "0"],
        &["boot", "--smp", "many"],
        &["boot", "--mem", "much"],
        &["boot", "extra"],
        &["build", "--release"],
        &["fuzz", "--seconds", "-1"],
    ] {
        let (code, said) = runner(args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.contains("error: "), "{args:?}: {said}");
    }
}

#[test]
fn missing_files_are_named() {
    for option in ["--kernel", "--initrd", "--disk"] {
        let (code, said) = runner(&["boot", option, "/no/such/file"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("/no/such/file: No such file"), "{said}");
    }
}

#[test]
fn release_kernel_is_under_4_mib_stripped() {
    setup::ensure(Need::Boot).expect("the tools are there");
    let image = image::build(Flavour::Release).expect("the kernel builds");
    let data = std::fs::read(image).expect("it was just built");
    let file = object::File::parse(&*data).expect("it is an ELF");
    let keep = |kind| {
        !matches!(
            kind,
            SectionKind::Debug | SectionKind::Metadata | SectionKind::UninitializedData
        )
    };
    let size: u64 = file
        .sections()
        .filter(|section| section.address() != 0 && keep(section.kind()))
        .map(|section| section.size())
        .sum();
    assert!((100_000..4 << 20).contains(&size), "{size} bytes");
}
