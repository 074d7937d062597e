//! The applets of busybox: each case of `tests/busybox` has to give what it gave on Linux.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tests::golden::{self, Case, Expected, List};
use tests::harness::{self, Group, Outcome};
use tests::machine::Machine;
use tests::programs;
use tests::setup::{self, Need};

fn main() -> ExitCode {
    match groups() {
        Ok(groups) => harness::main(groups, 1),
        Err(error) => {
            eprintln!("busybox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn groups() -> Result<Vec<Group>> {
    setup::ensure(Need::Test)?;
    let mut groups = Vec::new();
    for (name, list) in golden::lists(&golden::directory())? {
        let file = golden::golden_file(&name);
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let expected = golden::parse_expected(&text).with_context(|| file.display().to_string())?;
        groups.push(Group {
            label: "smp=2".into(),
            tests: list.cases.iter().map(|case| case.name.clone()).collect(),
            run: Box::new(move |wanted, report| run(&list, &expected, wanted, report)),
        });
    }
    Ok(groups)
}

fn run(
    list: &List,
    expected: &BTreeMap<String, Expected>,
    wanted: &[String],
    report: &mut dyn FnMut(&str, Outcome),
) -> Result<()> {
    let (kernel, agent) = programs::kernel_and_agent()?;
    let chosen = list.cases.iter().filter(|case| wanted.contains(&case.name));
    let programs: Vec<_> = chosen.map(Case::program).collect();
    programs::run(
        &Machine::default(),
        &kernel,
        &agent,
        &programs,
        &mut |record| {
            let outcome = match expected.get(&record.name) {
                Some(expected) => golden::compare(&record, expected),
                None => Err(
                    "Linux's output is not recorded: cargo run -- golden --kernel VMLINUZ".into(),
                ),
            };
            report(&record.name, outcome);
        },
    )
}
