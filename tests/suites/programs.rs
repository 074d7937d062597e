//! Programs of several kinds on a booted machine: the cases of `tests/user`, and C programs of Debian's glibc.

use std::process::ExitCode;

use anyhow::Result;
use tests::batch::{Record, Verdict};
use tests::harness::{self, Group, Outcome};
use tests::machine::Machine;
use tests::programs::{self, Program};
use tests::setup::{self, Need};
use tests::soak;

fn main() -> ExitCode {
    match groups() {
        Ok(groups) => harness::main(groups, 1),
        Err(error) => {
            eprintln!("programs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn groups() -> Result<Vec<Group>> {
    setup::ensure(Need::Test)?;
    let agent = programs::usertests()?;
    let mut all = programs::c_programs()?;
    all.extend(
        programs::usertest_names(&agent)?
            .iter()
            .map(|name| programs::usertest(name)),
    );
    let group = |smp: u32| {
        let all = all.clone();
        Group {
            label: format!("smp={smp}"),
            tests: all.iter().map(|program| program.name.clone()).collect(),
            run: Box::new(move |wanted, report| run(smp, &all, wanted, report)),
        }
    };
    let mut groups: Vec<Group> = [1, 2, 4].map(group).into();
    // Last, since it is long: every system call a thousand times, at random.
    // One seed, so that a failure repeats; `cargo run -- fuzz` takes a new one each time.
    let mut fuzz = vec![soak::fuzz_program(20)];
    fuzz[0].argv.extend(["--seed".into(), "1".into()]);
    groups.push(Group {
        label: "smp=2".into(),
        tests: vec!["fuzz".into()],
        run: Box::new(move |wanted, report| run(2, &fuzz, wanted, report)),
    });
    Ok(groups)
}

fn run(
    smp: u32,
    all: &[Program],
    wanted: &[String],
    report: &mut dyn FnMut(&str, Outcome),
) -> Result<()> {
    let (kernel, agent) = programs::kernel_and_agent()?;
    let chosen: Vec<_> = all
        .iter()
        .filter(|program| wanted.contains(&program.name))
        .cloned()
        .collect();
    let machine = Machine {
        smp,
        ..Machine::default()
    };
    programs::run(&machine, &kernel, &agent, &chosen, &mut |record| {
        let expected = chosen
            .iter()
            .find(|program| program.name == record.name)
            .and_then(|program| program.output);
        report(&record.name, judge(&record, expected));
    })
}

/// A program passes with exit code 0 and, where that is known, the right output.
fn judge(record: &Record, expected: Option<&str>) -> Outcome {
    let output = String::from_utf8_lossy(&record.output);
    match &record.verdict {
        Verdict::Exit(0) => match expected {
            Some(expected) if expected != output => {
                Err(format!("output:\n{output}expected:\n{expected}"))
            }
            _ => Ok(()),
        },
        Verdict::Exit(code) => Err(format!("exit code {code}\n{output}")),
        Verdict::Failed(why) | Verdict::Crashed(why) => {
            Err(format!("{why}\noutput so far:\n{output}"))
        }
        Verdict::Ok | Verdict::Skipped(_) => Err("it ended without an exit code".into()),
    }
}
