//! `tests/systems.toml`: which systems Wake has, and the tests that show each.
//!
//! Each row is a table `[ID]`: `what` it is, the `tests` that show it, named as `cargo test` shows them without the label in
//! brackets, and, while a part is not there, what is `missing`. Here the names are checked to exist; `.ci/run` checks that
//! they ran and passed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One row.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    what: String,
    tests: Vec<String>,
    missing: Option<String>,
}

/// The rows of the file.
fn rows(text: &str) -> Result<BTreeMap<String, Row>, String> {
    let rows: BTreeMap<String, Row> = toml::from_str(text).map_err(|e| e.to_string())?;
    for (id, row) in &rows {
        if row.what.is_empty() || row.tests.is_empty() || row.missing.as_deref() == Some("") {
            return Err(format!("{id} leaves something empty"));
        }
    }
    Ok(rows)
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
    for (id, row) in &rows {
        for test in &row.tests {
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
    let good = "[A-1]\nwhat = \"w\"\ntests = [\"x\"]\n# c\n[B-2]\nwhat = \"w\"\ntests = [\n  \"y\",\n]\nmissing = \"m\"\n";
    assert_eq!(rows(good).map(|rows| rows.len()), Ok(2));
    for bad in [
        "[A-1]\nwhat = \"w\"\ntests = []",
        "[A-1]\nwhat = \"\"\ntests = [\"x\"]",
        "[A-1]\nwhat = \"w\"\ntests = [\"x\"]\nmissing = \"\"",
        "[A-1]\ntests = [\"x\"]",
        "A-1",
    ] {
        assert!(rows(bad).is_err(), "{bad}");
    }
}
