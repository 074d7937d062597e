//! Long runs for a user: many boots of one script, random system calls, measurements.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::batch::{ScratchDir, Verdict, last_lines};
use crate::image::{self, Flavour};
use crate::initramfs::{self, Session};
use crate::machine::Machine;
use crate::programs::{self, Program};
use crate::qemu::{End, Qemu};
use crate::setup::{self, Need};
use crate::terminal;

/// Twenty lines that use most of the system.
const SCRIPT: &str = r#"set -e
cd /tmp
mkdir -p a/b/c
echo one > a/one
cp a/one a/b/two
mv a/b/two a/b/c/three
ln -s ../one a/b/link
cat a/one a/b/c/three a/b/link | sort | uniq -c
for i in 1 2 3 4 5 6 7 8; do echo $i & done | sort | tr -d '\n'
wait
seq 500 | awk '{ s += $1 } END { print s }'
mkfifo p; (echo through > p) & cat p; wait
sleep 0.05 & sleep 0.02; wait
sh -c 'trap "echo caught" TERM; kill -TERM $$; echo on'
dd if=/dev/zero of=z bs=4096 count=64 2> /dev/null
md5sum z | cut -c1-8
find /tmp | wc -l
ps | wc -l > /dev/null
mount -t tmpfs t a/b/c; umount a/b/c
rm -r a z p; echo soak is well
"#;

/// The last line of [`SCRIPT`]'s output.
const WELL: &str = "soak is well";

fn kernel(machine: &Machine) -> Result<std::path::PathBuf> {
    machine.check_files()?;
    setup::ensure(Need::Boot)?;
    match &machine.kernel {
        Some(kernel) => Ok(kernel.clone()),
        None => image::build(Flavour::Release),
    }
}

/// Boots the script so many times; every boot has to end well within `--timeout` seconds (60 by default).
///
/// # Errors
/// When a boot fails: the message has its console.
pub fn soak(machine: &Machine, boots: u64) -> Result<()> {
    let kernel = kernel(machine)?;
    terminal::catch_signals();
    let limit = Duration::from_secs(machine.timeout.unwrap_or(60));
    let scratch = ScratchDir::new()?;
    let (console, initrd) = (
        scratch.path().join("console"),
        scratch.path().join("initrd"),
    );
    std::fs::write(
        &initrd,
        initramfs::build(&Session::Script(SCRIPT.into()))?.bytes(),
    )?;
    let bar = ProgressBar::new(boots).with_style(ProgressStyle::with_template(
        "{pos}/{len} boots {wide_bar} {eta}",
    )?);
    let mut longest = Duration::ZERO;
    for boot in 1..=boots {
        let start = Instant::now();
        let mut command = machine.command(&kernel, Some(&initrd), &["panic=-1".to_string()]);
        command
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "null"]);
        command.stdin(Stdio::null());
        let end = Qemu::start(command)?.wait(Some(limit), terminal::interrupted)?;
        let well = String::from_utf8_lossy(&std::fs::read(&console)?).contains(WELL);
        if end == End::Stopped {
            bail!("stopped after {} boots", boot - 1);
        }
        if !well || !matches!(end, End::Exited(status) if status.success()) {
            bail!(
                "boot {boot} failed: {end:?} after {:?}\n{}",
                start.elapsed(),
                last_lines(&console)
            );
        }
        longest = longest.max(start.elapsed());
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!(
        "{boots} boots at -smp {} without a fault; the longest took {longest:.1?}",
        machine.smp
    );
    Ok(())
}

/// Runs the fuzzer of `tests/user` for so many seconds.
///
/// # Errors
/// When the machine, or the watcher in it, did not stay well.
pub fn fuzz(machine: &Machine, seconds: u32, seed: Option<u64>) -> Result<()> {
    setup::ensure(Need::Test)?;
    let mut program = fuzz_program(seconds);
    if let Some(seed) = seed {
        program
            .argv
            .extend(["--seed".to_string(), seed.to_string()]);
    }
    run_one(machine, program)
}

/// The fuzzer as a program to run.
#[must_use]
pub fn fuzz_program(seconds: u32) -> Program {
    Program {
        name: "fuzz".into(),
        seconds: seconds * 4 + 700,
        argv: ["/bin/usertests", "fuzz", "--seconds", &seconds.to_string()]
            .map(str::to_string)
            .into(),
        files: Vec::new(),
        output: None,
    }
}

/// Runs one program and shows what it wrote.
fn run_one(machine: &Machine, program: Program) -> Result<()> {
    let kernel = kernel(machine)?;
    let agent = programs::usertests()?;
    let mut verdict = None;
    programs::run(machine, &kernel, &agent, &[program], &mut |record| {
        print!("{}", String::from_utf8_lossy(&record.output));
        verdict = Some(record.verdict);
    })?;
    match verdict {
        Some(Verdict::Exit(0)) => Ok(()),
        Some(Verdict::Exit(code)) => bail!("it ended with exit code {code}"),
        Some(Verdict::Failed(why) | Verdict::Crashed(why)) => bail!("{why}"),
        _ => bail!("it did not run"),
    }
}
