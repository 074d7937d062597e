//! Cases whose expected output is taken from Linux: small shell scripts, one for each way to call a program.
//!
//! A list, `tests/busybox/*.cases`, is text:
//!
//! ```text
//! === sort numbers
//! printf '10\n9\n' | sort -n
//! ~~~ mkfs.ext2: wants a disk (issue "Storage")
//! ```
//!
//! A line `=== PROGRAM WHAT` starts a case: all lines up to the next one are a script for `ash`, run in an empty
//! directory, with both outputs in one. A line `~~~ PROGRAM: REASON` stands for a program without cases. What comes before the
//! first of them is a comment. What Linux made of the cases is kept beside the list, in `*.golden`: a line
//! `=== PROGRAM WHAT exit=CODE` and the output in the form of [`crate::batch`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::batch::{Record, Verdict, escape};
use crate::machine::Machine;
use crate::programs::{self, Program};
use crate::setup::{self, Need};

/// One case of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// `PROGRAM::WHAT`, with dashes for spaces.
    pub name: String,
    /// The program.
    pub program: String,
    /// The script.
    pub script: String,
}

/// What every script starts with: `try` runs a command, shows the first line of what it says (but for the
/// banner with busybox's version), and keeps its exit code.
const PRELUDE: &str = r#"try() {
	"$@" > /tmp/said 2>&1
	code=$?
	grep -v '^BusyBox\|^$' /tmp/said | head -n 1
	rm /tmp/said
	return $code
}
"#;

impl Case {
    /// The case as a program to run in the guest.
    #[must_use]
    pub fn program(&self) -> Program {
        Program::script(&self.name, &format!("{PRELUDE}{}", self.script))
    }
}

/// A list of cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The cases in their order.
    pub cases: Vec<Case>,
    /// Programs without cases, with the reason.
    pub without: BTreeMap<String, String>,
}

/// What a case gave on Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The exit code.
    pub code: i32,
    /// The output, still escaped, one line of the protocol each.
    pub output: String,
}

/// Where the lists are.
#[must_use]
pub fn directory() -> PathBuf {
    crate::root().join("tests/busybox")
}

/// The lists of a directory, by file name without its ending.
///
/// # Errors
/// When a list cannot be read or is malformed.
pub fn lists(dir: &Path) -> Result<BTreeMap<String, List>> {
    let mut lists = BTreeMap::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "cases") {
            let text = std::fs::read_to_string(&path)?;
            let list = parse(&text).with_context(|| path.display().to_string())?;
            let stem = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            lists.insert(stem, list);
        }
    }
    Ok(lists)
}

/// The golden file that belongs to a list of this name.
#[must_use]
pub fn golden_file(list: &str) -> PathBuf {
    directory().join(format!("{list}.golden"))
}

/// Runs the cases of all lists, or of those that are named, on another kernel and writes down what they give.
///
/// # Errors
/// When a case does not run to its end there, or a list that is named does not exist.
pub fn record(machine: &Machine, names: &[String]) -> Result<()> {
    let kernel = machine
        .kernel
        .as_deref()
        .context("which kernel? Say --kernel VMLINUZ")?;
    machine.check_files()?;
    setup::ensure(Need::Test)?;
    let mut lists = lists(&directory())?;
    if let Some(unknown) = names.iter().find(|name| !lists.contains_key(*name)) {
        bail!("there is no list {unknown} in {}", directory().display());
    }
    lists.retain(|name, _| names.is_empty() || names.contains(name));
    let agent = programs::usertests()?;
    let total = lists.values().map(|list| list.cases.len()).sum::<usize>();
    let bar = indicatif::ProgressBar::new(total as u64);
    let mut bad = Vec::new();
    for (name, list) in &lists {
        let programs: Vec<_> = list.cases.iter().map(Case::program).collect();
        let mut text = String::new();
        programs::run(machine, kernel, &agent, &programs, &mut |record| {
            bar.inc(1);
            match describe(&record) {
                Ok(golden) => text.push_str(&golden),
                Err(error) => bad.push(format!("{error:#}")),
            }
        })?;
        std::fs::write(golden_file(name), text)?;
    }
    bar.finish_and_clear();
    if !bad.is_empty() {
        bail!("{}", bad.join("\n"));
    }
    println!("{total} cases recorded");
    Ok(())
}

/// Reads a list.
///
/// # Errors
/// When a header is malformed or a name is there twice.
pub fn parse(text: &str) -> Result<List> {
    let mut list = List::default();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("=== ") {
            let (program, what) = title
                .split_once(' ')
                .with_context(|| format!("no name in {line:?}"))?;
            let name = format!("{program}::{}", what.trim().replace(' ', "-"));
            if list.cases.iter().any(|case| case.name == name) {
                bail!("{name} is there twice");
            }
            list.cases.push(Case {
                name,
                program: program.to_string(),
                script: String::new(),
            });
        } else if let Some(title) = line.strip_prefix("~~~ ") {
            let (program, reason) = title
                .split_once(": ")
                .with_context(|| format!("no reason in {line:?}"))?;
            list.without.insert(program.to_string(), reason.to_string());
        } else if let Some(case) = list.cases.last_mut() {
            case.script.push_str(line);
            case.script.push('\n');
        }
    }
    Ok(list)
}

/// Reads what Linux gave, by the names of the cases.
///
/// # Errors
/// When the file is malformed.
pub fn parse_expected(text: &str) -> Result<BTreeMap<String, Expected>> {
    let mut all = BTreeMap::new();
    let mut current: Option<(String, Expected)> = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("=== ") {
            all.extend(current.take());
            let (name, code) = title
                .split_once(" exit=")
                .with_context(|| format!("no code in {line:?}"))?;
            let code = code
                .parse()
                .with_context(|| format!("no number in {line:?}"))?;
            current = Some((
                name.to_string(),
                Expected {
                    code,
                    output: String::new(),
                },
            ));
        } else if let Some((_, expected)) = &mut current {
            expected.output.push_str(line);
            expected.output.push('\n');
        }
    }
    all.extend(current);
    Ok(all)
}

/// A finished case in the form of a golden file.
///
/// # Errors
/// When it did not run to its end.
pub fn describe(record: &Record) -> Result<String> {
    match &record.verdict {
        Verdict::Exit(code) => Ok(format!(
            "=== {} exit={code}\n{}",
            record.name,
            escape(&record.output)
        )),
        other => bail!(
            "{}: {other:?}\n{}",
            record.name,
            String::from_utf8_lossy(&record.output)
        ),
    }
}

/// Compares a finished case with what Linux gave.
///
/// # Errors
/// What differs, for people to read.
pub fn compare(record: &Record, expected: &Expected) -> std::result::Result<(), String> {
    let output = escape(&record.output);
    let code = match &record.verdict {
        Verdict::Exit(code) => *code,
        Verdict::Failed(why) | Verdict::Crashed(why) => {
            return Err(format!("{why}\noutput so far:\n{output}"));
        }
        Verdict::Ok | Verdict::Skipped(_) => return Err("it ended without an exit code".into()),
    };
    let mut differs = String::new();
    if code != expected.code {
        let _ = writeln!(differs, "exit code {code}, on Linux {}", expected.code);
    }
    if output != expected.output {
        let _ = write!(differs, "output:\n{output}on Linux:\n{}", expected.output);
    }
    if differs.is_empty() {
        Ok(())
    } else {
        Err(differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let list = parse(
            "a comment\n=== cat two lines\ncat <<E\nx\nE\n~~~ nuke: removes the system\n=== cat err\ncat /no\n",
        );
        let list = list.expect("well formed");
        assert_eq!(list.cases[0].name, "cat::two-lines");
        assert_eq!(list.cases[0].script, "cat <<E\nx\nE\n");
        assert_eq!(list.cases[1].script, "cat /no\n");
        assert_eq!(list.without["nuke"], "removes the system");
        assert!(parse("=== cat a\n=== cat a\n").is_err());
        assert!(parse("=== cat\n").is_err());
    }

    /// Programs that cannot fail, whatever they are called with.
    const NEVER_FAIL: [&str; 5] = ["arch", "ascii", "lsmod", "nuke", "reset"];

    #[test]
    fn every_applet_has_two_cases_and_one_that_fails() {
        crate::setup::ensure(crate::setup::Need::Boot).expect("the tools are there");
        let busybox = crate::setup::busybox().expect("busybox was just found or installed");
        let out = std::process::Command::new(busybox)
            .arg("--list")
            .output()
            .expect("busybox runs");
        let applets = String::from_utf8(out.stdout).expect("names are text");
        let mut cases: BTreeMap<String, (usize, bool)> = BTreeMap::new();
        let mut without = BTreeMap::new();
        let mut lacking = Vec::new();
        for (name, list) in lists(&directory()).expect("the lists are well formed") {
            let golden = std::fs::read_to_string(golden_file(&name)).expect("it is recorded");
            let expected = parse_expected(&golden).expect("well formed");
            assert_eq!(list.cases.len(), expected.len(), "{name}: record it again");
            for case in list.cases {
                let Some(expected) = expected.get(&case.name) else {
                    lacking.push(format!("{}: record it", case.name));
                    continue;
                };
                let (count, fails) = cases.entry(case.program).or_default();
                *count += 1;
                *fails |= expected.code != 0;
            }
            without.extend(list.without);
        }
        for applet in applets.lines() {
            match cases.get(applet) {
                Some((2.., true)) if !without.contains_key(applet) => {}
                Some((2.., false)) if NEVER_FAIL.contains(&applet) => {}
                None if without.contains_key(applet) => {}
                found => lacking.push(format!("{applet}: cases and failing ones: {found:?}")),
            }
        }
        assert!(lacking.is_empty(), "{}", lacking.join("\n"));
    }

    #[test]
    fn golden_files_are_read_back() {
        let record = Record {
            name: "cat::x".into(),
            output: b"a\n\n=== b\xff".to_vec(),
            verdict: Verdict::Exit(2),
        };
        let text = describe(&record).expect("it ended");
        let expected = parse_expected(&text).expect("well formed");
        assert_eq!(compare(&record, &expected["cat::x"]), Ok(()));
        let other = Record {
            output: b"a\n".to_vec(),
            ..record.clone()
        };
        assert!(compare(&other, &expected["cat::x"]).is_err());
        let other = Record {
            verdict: Verdict::Exit(0),
            ..record
        };
        assert!(
            compare(&other, &expected["cat::x"]).is_err_and(|why| why.starts_with("exit code 0"))
        );
    }
}
