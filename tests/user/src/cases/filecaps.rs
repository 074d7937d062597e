//! Capabilities that a program file gives.

use super::cases;
use crate::sys::*;
use std::process::Command;

cases![
    files_give_capabilities,
    the_bounding_set_keeps_capabilities_back,
    capabilities_of_another_namespace_give_nothing,
    files_that_change_lose_capabilities,
    capabilities_of_files_are_checked,
];

const NAME: &str = "security.capability";
const NET_RAW: u32 = 13;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;

/// The attribute's value: one permitted capability, none to be inherited.
fn value(revision: u32, permitted: u32, effective: bool) -> Vec<u8> {
    let words = [revision | u32::from(effective), 1 << permitted, 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A value of the third revision, for the user namespace whose root is `root`.
fn value_for(root: u32) -> Vec<u8> {
    let mut value = value(REVISION_3, NET_RAW, true);
    value.extend(root.to_le_bytes());
    value
}

fn set(path: &str, value: &[u8]) -> Result {
    setxattr(path, NAME, value, 0)
}

fn get_value(path: &str) -> Result<Vec<u8>> {
    let mut to = vec![0_u8; 64];
    let (path, name) = (c(path), c(NAME));
    let args = [
        path.as_ptr() as usize,
        name.as_ptr() as usize,
        to.as_mut_ptr() as usize,
        to.len(),
    ];
    let len = call(libc::SYS_getxattr, &args)?;
    to.truncate(len);
    Ok(to)
}

/// A copy of this program at `path`.
fn program(path: &str) {
    std::fs::copy("/proc/self/exe", path).expect("it can be copied");
}

/// What the program at `path` has as an ordinary user: permitted and effective set, and `AT_SECURE`.
fn runs(path: &str) -> String {
    let (read, write) = pipe();
    let pid = child(|| {
        become_user();
        let output = Command::new(path).args(["helper", "capabilities"]).output();
        put(write, &output.expect("it runs").stdout);
        0
    });
    close(write);
    let said = get(read, 200);
    assert_eq!(wait(pid), Ended::Exit(0));
    String::from_utf8(said).expect("it is text").trim().into()
}

const NONE: &str = "0000000000000000 0000000000000000 0";
const GIVEN: &str = "0000000000002000 0000000000002000 1";

fn files_give_capabilities() {
    let path = "/tmp/filecaps-gives";
    program(path);
    assert_eq!(runs(path), NONE);
    ok(set(path, &value(REVISION_2, NET_RAW, true)));
    assert_eq!(runs(path), GIVEN);
    // What is permitted only is for the program to raise.
    ok(set(path, &value(REVISION_2, NET_RAW, false)));
    assert_eq!(runs(path), "0000000000002000 0000000000000000 1");
    // Who has promised to gain nothing gains nothing.
    in_child(|| {
        ok(prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
        assert_eq!(runs(path), NONE);
    });
}

fn the_bounding_set_keeps_capabilities_back() {
    let path = "/tmp/filecaps-bounds";
    program(path);
    ok(prctl(libc::PR_CAPBSET_DROP, NET_RAW as usize));
    ok(set(path, &value(REVISION_2, NET_RAW, false)));
    assert_eq!(runs(path), NONE);
    // A program that relies on them, and does not ask what it has, is not run without.
    ok(set(path, &value(REVISION_2, NET_RAW, true)));
    in_child(|| {
        become_user();
        assert_eq!(execve(path, &[path]).expect_err("refused"), libc::EPERM);
    });
}

fn capabilities_of_another_namespace_give_nothing() {
    let path = "/tmp/filecaps-namespace";
    program(path);
    ok(set(path, &value_for(0)));
    assert_eq!(runs(path), GIVEN);
    // Of the initial namespace, it is shown as the revision that knows of no other.
    assert_eq!(get_value(path), Ok(value(REVISION_2, NET_RAW, true)));
    ok(set(path, &value_for(77)));
    assert_eq!(runs(path), NONE);
    assert_eq!(get_value(path), Ok(value_for(77)));
}

fn files_that_change_lose_capabilities() {
    let path = "/tmp/filecaps-changes";
    let good = value(REVISION_2, NET_RAW, true);
    program(path);
    ok(set(path, &good));
    std::os::unix::fs::chown(path, Some(0), None).expect("it is ours");
    assert_eq!(get_value(path), Err(libc::ENODATA));
    ok(set(path, &good));
    let fd = ok(open(path, libc::O_WRONLY | libc::O_APPEND));
    assert_eq!(get_value(path), Ok(good.clone()));
    put(fd, b"x");
    assert_eq!(get_value(path), Err(libc::ENODATA));
    ok(set(path, &good));
    let at = c(path);
    ok(call(libc::SYS_truncate, &[at.as_ptr() as usize, 100]));
    assert_eq!(get_value(path), Err(libc::ENODATA));
}

fn capabilities_of_files_are_checked() {
    let path = "/tmp/filecaps-checked";
    program(path);
    let good = value(REVISION_2, NET_RAW, true);
    assert_eq!(set(path, &good[..19]), Err(libc::EINVAL));
    assert_eq!(set(path, &value_for(0)[..20]), Err(libc::EINVAL));
    assert_eq!(set(path, &value(0x0100_0000, 1, true)), Err(libc::EINVAL));
    let odd = value(REVISION_2 | 2, NET_RAW, true);
    assert_eq!(set(path, &odd), Err(libc::EINVAL));
    in_child(|| {
        become_user();
        assert_eq!(set(path, &good), Err(libc::EPERM));
    });
}
