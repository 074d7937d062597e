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
    // Bounds on time hold where the clock counts instructions, and elsewhere as long as the host has time.
    let (strict, all): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|program| program.name.starts_with("strict::"));
    let group = |label: String, machine: Machine, programs: &[Program]| {
        let programs = programs.to_vec();
        Group {
            label,
            tests: programs
                .iter()
                .map(|program| program.name.clone())
                .collect(),
            run: Box::new(move |wanted, report| run(&machine, &programs, wanted, report)),
        }
    };
    let with_cpus = |smp: u32| Machine {
        smp,
        ..Machine::default()
    };
    let mut groups: Vec<Group> = [1, 2, 4]
        .map(|smp| group(format!("smp={smp}"), with_cpus(smp), &all))
        .into();
    let counted = Machine {
        icount: true,
        ..with_cpus(1)
    };
    groups.push(group("icount".into(), counted, &strict));
    // Last, since it is long: every system call a thousand times, at random.
    // One seed, so that a failure repeats; `cargo run -- fuzz` takes a new one each time.
    let mut fuzz = vec![soak::fuzz_program(20)];
    fuzz[0].argv.extend(["--seed".into(), "1".into()]);
    groups.push(Group {
        label: "smp=2".into(),
        tests: vec!["fuzz".into()],
        run: Box::new(move |wanted, report| run(&with_cpus(2), &fuzz, wanted, report)),
    });
    Ok(groups)
}

fn run(
    machine: &Machine,
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
    programs::run(machine, &kernel, &agent, &chosen, &mut |record| {
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
