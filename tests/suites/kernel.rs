//! The in-kernel tests: each `#[kernel_test]` of the kernel, on machines with 1, 2 and 4 CPUs.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use tests::batch::{self, Verdict};
use tests::harness::{self, Group, Outcome};
use tests::image::{self, Flavour};
use tests::machine::Machine;
use tests::setup::{self, Need};

/// What the drivers' tests want to find.
const DEVICES: [&str; 3] = ["edu", "virtio-rng-pci", "virtio-blk-pci,drive=zeros"];
/// A disk that reads as zeros.
const DRIVE: &str = "if=none,id=zeros,driver=null-co,read-zeroes=on,size=16M";

/// More names than this on the command line, and the kernel runs all its tests.
const MAX_NAMES: usize = 20;

fn main() -> ExitCode {
    match groups() {
        Ok(groups) => harness::main(groups, 1),
        Err(error) => {
            eprintln!("in-kernel tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn groups() -> Result<Vec<Group>> {
    setup::ensure(Need::Boot)?;
    let image = image::build(Flavour::KernelTest)?;
    let names = tests::ktests::names(&image)?;
    let group = |smp: u32| {
        let image = image.clone();
        Group {
            label: format!("smp={smp}"),
            tests: names.clone(),
            run: Box::new(move |tests, report| run(&image, smp, tests, report)),
        }
    };
    Ok([1, 2, 4].map(group).into())
}

fn run(
    image: &Path,
    smp: u32,
    tests: &[String],
    report: &mut dyn FnMut(&str, Outcome),
) -> Result<()> {
    let all = tests::ktests::names(image)?;
    let mut boot = |_: &Path, left: &[String]| {
        let mut words = vec!["panic=-1".to_string()];
        if left.len() <= MAX_NAMES {
            words.push(format!("ktest.only={}", left.join(",")));
        } else if let Some(at) = all
            .iter()
            .position(|name| *name == left[0])
            .filter(|at| *at > 0)
        {
            words.push(format!("ktest.after={}", all[at - 1]));
        }
        let mut command = Machine {
            smp,
            device: DEVICES.map(String::from).into(),
            ..Machine::default()
        }
        .command(image, None, &words);
        command.args(["-drive", DRIVE]);
        Ok(command)
    };
    batch::run(tests, &mut boot, &mut |record| {
        let outcome = match record.verdict {
            Verdict::Ok | Verdict::Skipped(_) => Ok(()),
            Verdict::Failed(why) | Verdict::Crashed(why) => Err(why),
            Verdict::Exit(code) => Err(format!("an exit code, {code}, from a test without one")),
        };
        report(&record.name, outcome);
    })
}
