//! Programs for the guest: builds those of `tests/user`, and packs an initramfs whose agent runs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::archive::Archive;
use crate::batch::{self, Record};
use crate::image::{self, Flavour};
use crate::initramfs::{self, Session};
use crate::machine::Machine;

/// One program to run in the guest.
#[derive(Clone, Debug)]
pub struct Program {
    /// The test's name.
    pub name: String,
    /// Its bound in seconds; the machine counts as hung after three minutes of silence.
    pub seconds: u32,
    /// Path in the guest and arguments.
    pub argv: Vec<String>,
    /// Files that it needs: path in the guest, mode, contents.
    pub files: Vec<(String, u32, Vec<u8>)>,
    /// What it has to write, where the test knows.
    pub output: Option<&'static str>,
}

impl Program {
    /// A script for the guest's shell.
    #[must_use]
    pub fn script(name: &str, script: &str) -> Self {
        let path = format!("tests/{name}");
        Self {
            name: name.to_string(),
            seconds: 90,
            argv: vec!["/bin/ash".into(), format!("/{path}")],
            files: vec![(path, 0o644, script.into())],
            output: None,
        }
    }
}

/// Builds the Rust program of `tests/user` for the guest and gives its path. It runs on the host as well.
///
/// # Errors
/// When the build fails.
pub fn usertests() -> Result<PathBuf> {
    let target = "x86_64-unknown-linux-musl";
    let mut cmd = image::cargo("user");
    cmd.args([
        "build",
        "--quiet",
        "-p",
        "usertests",
        "--release",
        "--target",
        target,
    ]);
    cmd.stdout(std::io::stderr());
    if !cmd.status().context("running cargo")?.success() {
        bail!("tests/user does not build");
    }
    Ok(crate::root()
        .join("target/user")
        .join(target)
        .join("release/usertests"))
}

/// The kernel and the agent for tests of programs, built on the first call.
///
/// With `WAKE_TEST_KERNEL` in the environment it is that kernel: this is how the tests themselves are tested on Linux.
///
/// # Errors
/// When one of them does not build.
pub fn kernel_and_agent() -> Result<(PathBuf, PathBuf)> {
    static BUILT: OnceLock<Result<(PathBuf, PathBuf), String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let build = || {
            let kernel = match std::env::var_os("WAKE_TEST_KERNEL") {
                Some(kernel) => kernel.into(),
                None => image::build(Flavour::Checked)?,
            };
            anyhow::Ok((kernel, usertests()?))
        };
        build().map_err(|error| format!("{error:#}"))
    });
    built.clone().map_err(anyhow::Error::msg)
}

/// The names of the cases in the program that [`usertests`] has built.
///
/// # Errors
/// When it does not run here.
pub fn usertest_names(program: &Path) -> Result<Vec<String>> {
    let out = Command::new(program)
        .arg("list")
        .output()
        .context("running usertests")?;
    if !out.status.success() {
        bail!("usertests list failed");
    }
    Ok(String::from_utf8(out.stdout)?
        .lines()
        .map(str::to_string)
        .collect())
}

/// A case of [`usertests`] as a program to run.
#[must_use]
pub fn usertest(name: &str) -> Program {
    Program {
        name: name.to_string(),
        seconds: 120,
        argv: ["/bin/usertests", "run", name].map(str::to_string).into(),
        files: Vec::new(),
        output: None,
    }
}

/// The C programs of `tests/user/c`: source, compiler options, whether it needs libraries, output.
const C_PROGRAMS: [(&str, &[&str], bool, &str); 9] = [
    (
        "hello_static",
        &["-static", "-lm"],
        false,
        "arguments 2 given\nnumbers -42 deadbeef 1.414214 1.000000e+300 text\nline 1\nNo such file or directory\n\
         Fri Jan  2 00:00:00 1970\nshell b\nat exit\n",
    ),
    (
        "hello_dynamic",
        &["-Wl,--no-as-needed", "-lm"],
        true,
        "libc is loaded\nobjects several\ncos 1.000\nsin 0.841\ndlopen: cannot open\nunwound all\n",
    ),
    ("threads", &["-pthread"], true, "all threads done\n"),
    (
        "avx",
        &["-static", "-O1"],
        false,
        "both kept their registers\n",
    ),
    ("signals", &["-static", "-pthread"], false, "passed\n"),
    ("processes", &["-static", "-pthread"], false, "passed\n"),
    ("timers", &["-static", "-pthread"], false, "passed\n"),
    ("futexes", &["-static", "-pthread"], false, "passed\n"),
    ("memory", &["-static", "-pthread"], false, "passed\n"),
];

/// The names of the C programs as tests.
pub fn c_program_names() -> impl Iterator<Item = String> {
    C_PROGRAMS.iter().map(|(name, ..)| format!("c::{name}"))
}

/// Compiles the C programs with the machine's own compiler; the dynamic ones bring its C library along.
///
/// # Errors
/// When one does not compile, or a library is not found.
pub fn c_programs() -> Result<Vec<Program>> {
    let sources = crate::root().join("tests/user/c");
    let out = crate::work_dir("c-programs")?;
    let mut programs = Vec::new();
    for (name, options, dynamic, output) in C_PROGRAMS {
        let program = out.join(format!("{name}.{}", std::process::id()));
        let source = sources.join(format!("{name}.c"));
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
        gcc.arg(&program).arg(&source).args(options);
        if !gcc.status().context("running gcc")?.success() {
            bail!("{} does not compile", source.display());
        }
        let guest = format!("/tests/{name}");
        let mut files = vec![(guest.clone(), 0o755, std::fs::read(&program)?)];
        if dynamic {
            files.extend(libraries(&program)?);
        }
        std::fs::remove_file(&program)?;
        programs.push(Program {
            name: format!("c::{name}"),
            seconds: 120,
            argv: vec![guest, "given".into()],
            files,
            output: Some(output),
        });
    }
    Ok(programs)
}

/// The loader and the libraries of a dynamic program, at the paths where the loader looks for them.
fn libraries(program: &Path) -> Result<Vec<(String, u32, Vec<u8>)>> {
    let out = Command::new("ldd")
        .arg(program)
        .output()
        .context("running ldd")?;
    let text = String::from_utf8(out.stdout)?;
    let mut paths: Vec<&str> = text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .collect();
    if !out.status.success() || paths.is_empty() {
        bail!("ldd finds no libraries of {}", program.display());
    }
    // The C library's backtrace() loads this one by itself.
    let unwinder = paths[0]
        .rsplit_once('/')
        .map(|(dir, _)| format!("{dir}/libgcc_s.so.1"));
    let unwinder = unwinder.filter(|path| Path::new(path).exists());
    paths.extend(unwinder.as_deref());
    paths
        .iter()
        .map(|path| Ok((path.to_string(), 0o755, std::fs::read(path)?)))
        .collect()
}

/// Runs `programs` in machines like `machine` with the given kernel, and hands over each result as it comes.
///
/// # Errors
/// When a machine cannot be made. What happens inside of it is a program's result.
pub fn run(
    machine: &Machine,
    kernel: &Path,
    agent: &Path,
    programs: &[Program],
    report: &mut dyn FnMut(Record),
) -> Result<()> {
    let mut base = initramfs::build(&Session::Program("/bin/usertests agent /tests/list".into()))?;
    base.file("bin/usertests", 0o755, std::fs::read(agent)?);
    let names: Vec<String> = programs
        .iter()
        .map(|program| program.name.clone())
        .collect();
    let mut boot = |dir: &Path, left: &[String]| {
        let chosen = programs
            .iter()
            .filter(|program| left.contains(&program.name));
        let initrd = dir.join("initramfs.cpio");
        std::fs::write(&initrd, pack(base.clone(), chosen).bytes())?;
        let words = ["panic=-1".to_string(), "quiet".to_string()];
        Ok(machine.command(kernel, Some(&initrd), &words))
    };
    batch::run(&names, &mut boot, report)
}

fn pack<'a>(mut archive: Archive, programs: impl Iterator<Item = &'a Program>) -> Archive {
    let mut list = String::new();
    for program in programs {
        list.push_str(&format!(
            "{}\t{}\t{}\n",
            program.name,
            program.seconds,
            program.argv.join("\t")
        ));
        for (path, mode, data) in &program.files {
            archive.file(path, *mode, data.clone());
        }
    }
    archive.file("tests/list", 0o644, list);
    archive
}
