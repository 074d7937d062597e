//! Every interleaving of what is lock-free, and of what waits.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p executor --test loom --release --target-dir target/loom`
//!
//! Each model has two or three threads and few steps; preemptions are bounded by three. The models named after a
//! mistake make it, and must fail.
#![cfg(loom)]

/// A model that makes a mistake, which must be found.
macro_rules! mistake {
    ($name:ident, $mistake:ident, $model:expr) => {
        #[test]
        #[ignore = "makes a mistake; run by `every_mistake_is_found`"]
        fn $name() {
            executor::mutants::Mutant::$mistake.make();
            $model;
        }
    };
}

mod away;
mod ends;
mod machine;
mod mutexes;
mod rcu;
mod slots;
mod spinning;
mod stacks;
mod suspended;
mod suspended_in;
mod timers;
mod waiting;
mod wakes;

/// Runs each model that makes a mistake in a process of its own, for a deadlock found ends the process.
#[test]
fn every_mistake_is_found() {
    let me = std::env::current_exe().unwrap();
    let run = |args: &[&str]| {
        let out = std::process::Command::new(&me).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        (out.status.success(), text)
    };
    // Nothing else is ignored.
    let (_, listed) = run(&["--list", "--ignored", "--format", "terse"]);
    let names: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    assert!(!names.is_empty(), "{listed}");
    for name in names {
        let (passed, text) = run(&["--ignored", "--exact", name]);
        assert!(text.contains("running 1 test"), "{name}: {text}");
        assert!(!passed, "{name}: the mistake was not found");
    }
}
