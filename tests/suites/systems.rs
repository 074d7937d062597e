//! `tests/systems.toml`: which systems Wake has, and the tests that show each.
//!
//! The file is a table of rows, `ID = ["test", ...]`, where a test is named as `cargo test` shows it, without the label in
//! brackets. Here the names are checked to exist; `.ci/run` checks that they ran and passed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The rows of the file.
fn rows(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut rows = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let (id, list) = match open.take() {
            Some((id, list)) => (id, list + line),
            None => {
                let row = line.split_once('=');
                let (id, list) = row.ok_or(format!("line {number}: no `ID = [...]`"))?;
                (id.trim().to_string(), list.to_string())
            }
        };
        if !list.trim_end().ends_with(']') {
            open = Some((id, list));
            continue;
        }
        let tests: Vec<String> = list
            .split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_string)
            .collect();
        if tests.is_empty() {
            return Err(format!("line {number}: {id} names no test"));
        }
        if rows.insert(id.clone(), tests).is_some() {
            return Err(format!("line {number}: {id} is there twice"));
        }
    }
    match open {
        Some((id, _)) => Err(format!("{id} has no end")),
        None => Ok(rows),
    }
}

/// The last parts of the names of all test functions in the sources under `dir`.
fn functions(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir)
        .expect("sources can be read")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            functions(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).expect("sources are text");
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[kernel_test") {
                    marked = true;
                } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
                    found.insert(rest.split('(').next().unwrap_or("").to_string());
                    marked = false;
                }
            }
        }
    }
}

#[test]
fn every_row_names_tests_that_exist() {
    let root = tests::root();
    let text =
        std::fs::read_to_string(root.join("tests/systems.toml")).expect("the table is there");
    let rows = rows(&text).expect("the table is well formed");
    let mut sources = BTreeSet::new();
    for part in ["executor", "sched", "fs", "drivers", "kernel", "tests"] {
        functions(&root.join(part), &mut sources);
    }
    let mut cases = BTreeSet::new();
    for list in tests::golden::lists(&tests::golden::directory())
        .expect("the lists are well formed")
        .into_values()
    {
        cases.extend(list.cases.into_iter().map(|case| case.name));
    }
    let agent = tests::programs::usertests().expect("tests/user builds");
    cases.extend(tests::programs::usertest_names(&agent).expect("it runs here"));
    cases.extend(tests::programs::c_program_names());
    let boots =
        std::fs::read_to_string(root.join("tests/suites/boots.rs")).expect("sources are text");
    let mut missing = Vec::new();
    for (id, tests) in &rows {
        for test in tests {
            let last = test.rsplit("::").next().unwrap_or("");
            let known = cases.contains(test)
                || sources.contains(last)
                || boots.contains(&format!("\"{test}\""));
            if !known {
                missing.push(format!("{id}: there is no test {test}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn malformed_tables_are_refused() {
    assert_eq!(
        rows("A-1 = [\"x\"]\n# c\nB-2 = [\n  \"y\",\n  \"z\",\n]\n").map(|rows| rows.len()),
        Ok(2)
    );
    for bad in [
        "A-1 = []",
        "A-1 = [\"x\"]\nA-1 = [\"x\"]",
        "A-1",
        "A-1 = [\"x\"",
    ] {
        assert!(rows(bad).is_err(), "{bad}");
    }
}
