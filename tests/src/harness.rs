//! Shows tests that run inside machines as lines of `cargo test`.
//!
//! The tests of a [`Group`] share boots, but each is a line of its own, `name [label]`, that appears when it is done.
//! The usual filters work, and only what they leave is run.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

/// What a test came to: nothing to say, or why it failed.
pub type Outcome = std::result::Result<(), String>;
/// Runs the named tests of a group, giving each outcome to the callback.
pub type Run = Box<dyn FnOnce(&[String], &mut dyn FnMut(&str, Outcome)) -> Result<()> + Send>;

/// Tests that run in the same machine, one after another.
pub struct Group {
    /// What tells this group's lines from others with the same names, such as `smp=2`.
    pub label: String,
    /// The names, in the order in which they run.
    pub tests: Vec<String>,
    /// How to run them.
    pub run: Run,
}

type Results = Arc<(Mutex<HashMap<String, Outcome>>, Condvar)>;

/// Runs what the command line asks for, at most `jobs` groups at a time.
#[must_use]
pub fn main(groups: Vec<Group>, jobs: usize) -> ExitCode {
    let mut args = Arguments::from_args();
    // Trials only wait for their results, in the order of the lines.
    args.test_threads = Some(1);
    let results = Results::default();
    let mut trials = Vec::new();
    let mut work = Vec::new();
    for Group { label, tests, run } in groups {
        let line = move |name: &str| format!("{name} [{label}]");
        let wanted: Vec<String> = tests
            .into_iter()
            .filter(|name| selected(&args, &line(name)))
            .collect();
        for name in &wanted {
            let (line, results) = (line(name), Arc::clone(&results));
            trials.push(Trial::test(line.clone(), move || wait_for(&results, &line)));
        }
        if !wanted.is_empty() {
            work.push((line, wanted, run));
        }
    }
    if !args.list {
        work.reverse(); // taken from the end
        let work = Arc::new(Mutex::new(work));
        for _ in 0..jobs {
            let (work, results) = (Arc::clone(&work), Arc::clone(&results));
            std::thread::spawn(move || {
                loop {
                    let Some((line, wanted, run)) =
                        work.lock().expect("nobody panics with this lock").pop()
                    else {
                        return;
                    };
                    let mut report = |name: &str, outcome| finish(&results, line(name), outcome);
                    if let Err(error) = run(&wanted, &mut report) {
                        for name in &wanted {
                            finish(&results, line(name), Err(format!("{error:#}")));
                        }
                    }
                    for name in &wanted {
                        finish(&results, line(name), Err("the suite lost this test".into()));
                    }
                }
            });
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}

/// Whether the filters of the command line leave this line; they work as those of libtest do.
fn selected(args: &Arguments, line: &str) -> bool {
    let hit = |pattern: &String| {
        if args.exact {
            line == pattern
        } else {
            line.contains(pattern.as_str())
        }
    };
    args.filter.as_ref().is_none_or(hit) && !args.skip.iter().any(hit) && !args.ignored
}

/// Stores a result; the first one counts.
fn finish(results: &Results, line: String, outcome: Outcome) {
    results
        .0
        .lock()
        .expect("nobody panics with this lock")
        .entry(line)
        .or_insert(outcome);
    results.1.notify_all();
}

fn wait_for(results: &Results, line: &str) -> std::result::Result<(), Failed> {
    let mut map = results.0.lock().expect("nobody panics with this lock");
    loop {
        if let Some(outcome) = map.get(line) {
            return outcome.clone().map_err(Failed::from);
        }
        map = results.1.wait(map).expect("nobody panics with this lock");
    }
}
