//! The runner as its users meet it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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

/// A directory that stands for a machine without QEMU: all that the runner finds there is what a test puts into it.
struct BareMachine(PathBuf);

impl BareMachine {
    /// Has a compiler with its targets, `env`, and an `apt-get` that notes its words, and for `install` makes a QEMU that
    /// ends at once.
    fn new(name: &str) -> Self {
        // What is not looked up by the search path is there.
        setup::ensure(Need::Boot).expect("the tools are there");
        // Not under target/, where another user perhaps cannot go.
        let dir = std::env::temp_dir().join(format!("wake-{name}-{}", std::process::id()));
        for target in ["x86_64-unknown-none", "x86_64-unknown-linux-musl"] {
            fs::create_dir_all(dir.join("lib/rustlib").join(target).join("lib"))
                .expect("it is new");
        }
        let machine = Self(dir);
        let dir = machine.0.display();
        machine.program("rustc", &format!("echo {dir}"));
        let qemu = "printf '#!/bin/sh\\nexit 0\\n' > $0.qemu; chmod 755 $0.qemu; mv $0.qemu ${0%apt-get}qemu-system-x86_64";
        let body = format!(
            "echo $* >> {dir}/log\ncase $* in *install*) PATH=/bin:/usr/bin; {qemu};; esac"
        );
        machine.program("apt-get", &body);
        symlink("/usr/bin/env", machine.0.join("env")).expect("it is new");
        machine.copy(Path::new(env!("CARGO_BIN_EXE_tests")), "runner");
        machine
    }

    fn program(&self, name: &str, body: &str) {
        let text = self.0.join(format!("{name}.text"));
        fs::write(&text, format!("#!/bin/sh\n{body}\n")).expect("there is room");
        fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).expect("it is ours");
        self.copy(&text, name);
    }

    /// Copies a program here, by another process: what this one writes is open in a child that another test has just
    /// forked as well, and until that child executes its program, nobody can execute this one (ETXTBSY).
    fn copy(&self, from: &Path, name: &str) {
        let copied = Command::new("cp").arg(from).arg(self.0.join(name)).status();
        assert!(copied.expect("it starts").success(), "there is room");
    }

    /// Runs `boot` there, with any file in place of a kernel.
    fn boot(&self, user: Option<u32>) -> Output {
        let mut command = Command::new(self.0.join("runner"));
        command.args(["boot", "--kernel", "/bin/sh"]);
        command
            .env("PATH", &self.0)
            .env("RUSTC", self.0.join("rustc"));
        command.current_dir("/").stdin(Stdio::null());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.output().expect("it starts")
    }

    /// What `apt-get` was asked for.
    fn log(&self) -> String {
        fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        Path::new(&self.0).join(name).exists()
    }
}

impl Drop for BareMachine {
    fn drop(&mut self) {
        // What cannot be removed does no harm in the directory for such files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A [`BareMachine`] without a C compiler, where the linker's place is taken by ours.
struct NoLinker(BareMachine);

impl NoLinker {
    fn new(name: &str) -> Self {
        let machine = BareMachine::new(name);
        for tool in ["id", "flock"] {
            symlink(Path::new("/usr/bin").join(tool), machine.0.join(tool)).expect("it is new");
        }
        let dir = machine.0.display();
        let cc = format!("printf '#!/bin/sh\\necho linked $*\\n' > {dir}/cc; chmod 755 {dir}/cc");
        let body =
            format!("echo $* >> {dir}/log\ncase $* in *install*) PATH=/bin:/usr/bin; {cc};; esac");
        machine.program("apt-get", &body);
        machine.copy(&tests::root().join(".cargo/cc"), "linker");
        Self(machine)
    }

    fn link(&self, user: Option<u32>) -> Output {
        let mut command = Command::new(self.0.0.join("linker"));
        command.args(["a.o", "-o", "b c"]).env("PATH", &self.0.0);
        command.current_dir("/").stdin(Stdio::null());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.output().expect("it starts")
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn what_is_missing_is_installed_once() {
    if !is_root() {
        // Without a sudo that asks nothing this user installs nothing, which is the next test's matter.
        return;
    }
    let machine = BareMachine::new("install");
    let said = String::from_utf8_lossy(&machine.boot(None).stderr).into_owned();
    assert!(
        said.contains("wake: installing qemu-system-x86 (apt-get)"),
        "{said}"
    );
    let asked = "-q update\n-q install -y --no-install-recommends qemu-system-x86\n";
    assert_eq!(machine.log(), asked, "{said}");
    machine.boot(None);
    assert_eq!(machine.log(), asked, "the second run needs nothing");
}

#[test]
fn without_rights_the_one_command_is_printed() {
    let machine = BareMachine::new("rights");
    let out = machine.boot(is_root().then_some(65534));
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    let command = "As root, run this, then try again:\n\n    \
        apt-get install -y --no-install-recommends qemu-system-x86\n";
    assert!(said.contains(command), "{said}");
    assert!(machine.log().is_empty() && !machine.has("qemu-system-x86_64"));
}

#[test]
fn a_missing_linker_is_installed_once() {
    if !is_root() {
        // As for what the runner installs.
        return;
    }
    let machine = NoLinker::new("linker");
    for _ in 0..2 {
        let out = machine.link(None);
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{out:?}");
        assert_eq!(said, "linked a.o -o b c\n");
    }
    let asked = "-q update\ninstall -y --no-install-recommends -q gcc libc6-dev\n";
    assert_eq!(machine.0.log(), asked);
}

#[test]
fn without_rights_a_missing_linker_is_named_with_all_that_will_be_missing() {
    let machine = NoLinker::new("unlinked");
    let out = machine.link(is_root().then_some(65534));
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    let command = "As root, run this, then try again: apt-get install -y --no-install-recommends \
        gcc libc6-dev qemu-system-x86 busybox-static\n";
    assert!(said.contains(command), "{said}");
    assert!(machine.0.log().is_empty() && !machine.0.has("cc"));
}
