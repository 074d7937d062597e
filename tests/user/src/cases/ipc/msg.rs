//! Message queues.

use super::{
    CREAT, EXCL, NOWAIT, PERM, PRIVATE, RMID, SET, STAT, cases, key, owners, set_owner, shown,
};
use crate::sys::*;

cases![
    queues_are_found_by_their_key,
    messages_keep_their_order,
    messages_are_chosen_by_type,
    long_messages_are_cut_or_refused,
    messages_are_looked_at,
    senders_wait_for_room,
    receivers_wait_for_messages,
    waits_for_messages_end,
    a_queue_knows_who_used_it,
    rights_of_queues_are_checked,
    bad_message_calls,
    queues_are_shown,
];

const NOERROR: i32 = 0o10000;
const EXCEPT: i32 = 0o20000;
const COPY: i32 = 0o40000;

/// `struct msqid64_ds`.
type Words = [u64; 15];
const CBYTES: usize = PERM + 3;
const COUNT: usize = PERM + 4;
const QBYTES: usize = PERM + 5;
const PIDS: usize = PERM + 6;

fn msgget(key: i32, flags: i32) -> Result<i32> {
    call(libc::SYS_msgget, &[key as usize, flags as usize]).map(|id| id as i32)
}

fn msgctl(id: i32, command: i32, arg: usize) -> Result<usize> {
    call(libc::SYS_msgctl, &[id as usize, command as usize, arg])
}

fn send(id: i32, kind: i64, text: &[u8], flags: i32) -> Result<usize> {
    let message = [&kind.to_ne_bytes(), text].concat();
    let args = [
        id as usize,
        message.as_ptr() as usize,
        text.len(),
        flags as usize,
    ];
    call(libc::SYS_msgsnd, &args)
}

/// A message's type and text.
fn receive(id: i32, kind: i64, room: usize, flags: i32) -> Result<(i64, Vec<u8>)> {
    let mut message = vec![0xee_u8; 8 + room + 1];
    let at = message.as_mut_ptr() as usize;
    let args = [id as usize, at, room, kind as usize, flags as usize];
    let len = call(libc::SYS_msgrcv, &args)?;
    assert!(message[8 + len..].iter().all(|byte| *byte == 0xee));
    let kind = i64::from_ne_bytes(message[..8].try_into().expect("eight bytes"));
    Ok((kind, message[8..8 + len].to_vec()))
}

/// The text of the next message of a type.
fn take(id: i32, kind: i64) -> String {
    let (_, text) = ok(receive(id, kind, 100, NOWAIT));
    String::from_utf8(text).expect("it was text")
}

fn queue() -> i32 {
    ok(msgget(PRIVATE, 0o600))
}

fn stat(id: i32) -> Words {
    let mut words: Words = [0; 15];
    ok(msgctl(id, STAT, words.as_mut_ptr() as usize));
    words
}

fn remove(id: i32) {
    ok(msgctl(id, RMID, 0));
}

/// Waits until a child sleeps.
fn until_asleep(pid: i32) {
    let path = format!("/proc/{pid}/status");
    soon(|| proc_field(&path, "State").is_some_and(|state| state.starts_with('S')));
}

fn queues_are_found_by_their_key() {
    let key = key(1);
    assert_eq!(msgget(key, 0), Err(libc::ENOENT));
    let id = ok(msgget(key, CREAT | EXCL | 0o600));
    assert_eq!(msgget(key, CREAT | EXCL | 0o600), Err(libc::EEXIST));
    assert_eq!(msgget(key, 0), Ok(id));
    assert_eq!(stat(id)[QBYTES], 16384);
    remove(id);
    assert_eq!(msgget(key, 0), Err(libc::ENOENT));
    assert_eq!(send(id, 1, b"x", 0), Err(libc::EINVAL));
}

fn messages_keep_their_order() {
    let id = queue();
    let texts: Vec<Vec<u8>> = (0..10).map(|n| vec![n; usize::from(n) * 800]).collect();
    for text in &texts[..4] {
        ok(send(id, 1, text, NOWAIT));
    }
    for text in &texts[..4] {
        assert_eq!(receive(id, 0, 8000, NOWAIT), Ok((1, text.clone())));
    }
    // The longest one.
    ok(send(id, 9, &[7; 8192], NOWAIT));
    assert_eq!(receive(id, 0, 8192, NOWAIT), Ok((9, vec![7; 8192])));
    assert_eq!(receive(id, 0, 8192, NOWAIT), Err(libc::ENOMSG));
    remove(id);
}

fn messages_are_chosen_by_type() {
    let id = queue();
    for (kind, text) in [
        (5, "five"),
        (3, "three"),
        (7, "seven"),
        (3, "again"),
        (1, "one"),
    ] {
        ok(send(id, kind, text.as_bytes(), 0));
    }
    assert_eq!(take(id, 3), "three");
    assert_eq!(take(id, -4), "one");
    assert_eq!(take(id, -4), "again");
    assert_eq!(receive(id, -4, 100, NOWAIT), Err(libc::ENOMSG));
    assert_eq!(receive(id, 9, 100, NOWAIT), Err(libc::ENOMSG));
    let (kind, _) = ok(receive(id, 5, 100, NOWAIT | EXCEPT));
    assert_eq!(kind, 7);
    assert_eq!(take(id, 0), "five");
    remove(id);
}

fn long_messages_are_cut_or_refused() {
    let id = queue();
    ok(send(id, 1, b"a long one", 0));
    assert_eq!(receive(id, 0, 4, NOWAIT), Err(libc::E2BIG));
    assert_eq!(
        receive(id, 0, 6, NOWAIT | NOERROR),
        Ok((1, b"a long".to_vec()))
    );
    assert_eq!(receive(id, 0, 100, NOWAIT), Err(libc::ENOMSG));
    // One without a text.
    ok(send(id, 4, b"", 0));
    assert_eq!(receive(id, 0, 0, NOWAIT), Ok((4, vec![])));
    remove(id);
}

fn messages_are_looked_at() {
    let id = queue();
    ok(send(id, 5, b"first", 0));
    ok(send(id, 6, b"second", 0));
    assert_eq!(
        receive(id, 1, 100, COPY | NOWAIT),
        Ok((6, b"second".to_vec()))
    );
    assert_eq!(
        receive(id, 0, 100, COPY | NOWAIT),
        Ok((5, b"first".to_vec()))
    );
    assert_eq!(receive(id, 2, 100, COPY | NOWAIT), Err(libc::ENOMSG));
    assert_eq!(receive(id, 0, 100, COPY), Err(libc::EINVAL));
    assert_eq!(
        receive(id, 0, 100, COPY | NOWAIT | EXCEPT),
        Err(libc::EINVAL)
    );
    assert_eq!(stat(id)[COUNT], 2);
    remove(id);
}

fn senders_wait_for_room() {
    let id = queue();
    ok(send(id, 1, &[1; 8192], NOWAIT));
    ok(send(id, 1, &[2; 8192], NOWAIT));
    assert_eq!(send(id, 1, b"x", NOWAIT), Err(libc::EAGAIN));
    let sender = child(|| send(id, 2, b"more", 0).map_or(1, |_| 0));
    until_asleep(sender);
    assert_eq!(stat(id)[COUNT], 2);
    assert_eq!(receive(id, 1, 8192, 0), Ok((1, vec![1; 8192])));
    assert_eq!(wait(sender), Ended::Exit(0));
    assert_eq!(take(id, 2), "more");
    remove(id);
    // As many without a text as there could be bytes.
    let id = queue();
    let mut words = stat(id);
    words[QBYTES] = 3;
    ok(msgctl(id, SET, words.as_ptr() as usize));
    for _ in 0..3 {
        ok(send(id, 1, b"", NOWAIT));
    }
    assert_eq!(send(id, 1, b"", NOWAIT), Err(libc::EAGAIN));
    remove(id);
}

fn receivers_wait_for_messages() {
    let id = queue();
    let receivers: Vec<_> = (1..=3)
        .map(|kind| {
            let pid = child(|| {
                let (found, text) = ok(receive(id, kind, 100, 0));
                i32::from(found != kind || text != [kind as u8])
            });
            until_asleep(pid);
            pid
        })
        .collect();
    for kind in [2, 3, 1] {
        ok(send(id, kind, &[kind as u8], 0));
        assert_eq!(wait(receivers[kind as usize - 1]), Ended::Exit(0));
    }
    assert_eq!(stat(id)[COUNT], 0);
    remove(id);
}

fn waits_for_messages_end() {
    let id = queue();
    let receiver = child(|| i32::from(receive(id, 0, 1, 0) != Err(libc::EIDRM)));
    until_asleep(receiver);
    remove(id);
    assert_eq!(wait(receiver), Ended::Exit(0));

    let id = queue();
    ok(send(id, 1, &[1; 8192], 0));
    ok(send(id, 1, &[1; 8192], 0));
    let sender = child(|| i32::from(send(id, 1, b"x", 0) != Err(libc::EIDRM)));
    until_asleep(sender);
    remove(id);
    assert_eq!(wait(sender), Ended::Exit(0));

    let id = queue();
    let receiver = child(|| {
        handle_with(libc::SIGUSR1, |_, _, _| (), libc::SA_RESTART, &[]);
        i32::from(receive(id, 0, 1, 0) != Err(libc::EINTR))
    });
    until_asleep(receiver);
    ok(kill(receiver, libc::SIGUSR1));
    assert_eq!(wait(receiver), Ended::Exit(0));
    remove(id);
}

fn a_queue_knows_who_used_it() {
    let id = queue();
    let words = stat(id);
    assert_eq!((words[CBYTES], words[COUNT], words[PIDS]), (0, 0, 0));
    assert_eq!((words[PERM], words[PERM + 1]), (0, 0));
    let sender = child(|| send(id, 1, b"five!", 0).map_or(1, |_| 0));
    assert_eq!(wait(sender), Ended::Exit(0));
    let words = stat(id);
    assert_eq!((words[CBYTES], words[COUNT]), (5, 1));
    assert_eq!(words[PIDS], sender as u64);
    assert_ne!(words[PERM], 0);
    take(id, 0);
    let words = stat(id);
    assert_eq!((words[CBYTES], words[COUNT]), (0, 0));
    assert_eq!(words[PIDS] >> 32, u64::from(std::process::id()));
    remove(id);
}

fn rights_of_queues_are_checked() {
    let id = ok(msgget(PRIVATE, 0o644));
    ok(send(id, 1, b"to all", 0));
    in_child(|| {
        become_user();
        assert_eq!(take(id, 0), "to all");
        assert_eq!(send(id, 1, b"x", NOWAIT), Err(libc::EACCES));
        assert_eq!(msgctl(id, RMID, 0), Err(libc::EPERM));
        let words = stat(id);
        assert_eq!(owners(&words), (0, 0, 0o644));
        assert_eq!(msgctl(id, SET, words.as_ptr() as usize), Err(libc::EPERM));
    });
    let mut words = stat(id);
    set_owner(&mut words, 1000, 0o222);
    words[QBYTES] = 20_000;
    ok(msgctl(id, SET, words.as_ptr() as usize));
    assert_eq!(stat(id)[QBYTES], 20_000);
    in_child(|| {
        become_user();
        assert_eq!(send(id, 1, b"x", NOWAIT), Ok(0));
        assert_eq!(receive(id, 0, 1, NOWAIT), Err(libc::EACCES));
        // More than usual is not for everybody.
        assert_eq!(msgctl(id, SET, words.as_ptr() as usize), Err(libc::EPERM));
        words[QBYTES] = 100;
        ok(msgctl(id, SET, words.as_ptr() as usize));
        remove(id);
    });
}

fn bad_message_calls() {
    let id = queue();
    assert_eq!(send(id, 0, b"x", 0), Err(libc::EINVAL));
    assert_eq!(send(id, -1, b"x", 0), Err(libc::EINVAL));
    assert_eq!(send(id, 1, &[0; 8193], 0), Err(libc::EINVAL));
    assert_eq!(send(-1, 1, b"x", 0), Err(libc::EINVAL));
    assert_eq!(
        call(libc::SYS_msgsnd, &[id as usize, 8, 1, 0]),
        Err(libc::EFAULT)
    );
    let kind = 1_u64;
    let huge = [id as usize, &raw const kind as usize, usize::MAX, 0];
    assert_eq!(call(libc::SYS_msgsnd, &huge), Err(libc::EINVAL));
    let negative = [
        id as usize,
        &raw const kind as usize,
        usize::MAX,
        0,
        NOWAIT as usize,
    ];
    assert_eq!(call(libc::SYS_msgrcv, &negative), Err(libc::EINVAL));
    // A message for a bad place is lost.
    ok(send(id, 1, b"x", 0));
    let args = [id as usize, 8, 1, 0, NOWAIT as usize];
    assert_eq!(call(libc::SYS_msgrcv, &args), Err(libc::EFAULT));
    assert_eq!(stat(id)[COUNT], 0);
    assert_eq!(msgctl(id, STAT, 8), Err(libc::EFAULT));
    assert_eq!(msgctl(id, 99, 0), Err(libc::EINVAL));
    remove(id);
}

fn queues_are_shown() {
    let id = ok(msgget(PRIVATE, 0o640));
    ok(send(id, 1, b"four", 0));
    let line = shown("msg", id).expect("it is shown");
    assert_eq!(line[..5], ["0", &id.to_string(), "640", "4", "1"]);
    const INFO: i32 = 3;
    const INFO_USED: i32 = 12;
    let mut info = [0_i32; 8];
    ok(msgctl(0, INFO_USED, info.as_mut_ptr() as usize));
    assert!(info[0] >= 1 && info[1] >= 1 && info[6] >= 4);
    ok(msgctl(0, INFO, info.as_mut_ptr() as usize));
    let limits = ["msgmax", "msgmnb", "msgmni"].map(|name| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.expect("it is there")
            .trim()
            .parse::<i32>()
            .expect("a number")
    });
    assert_eq!(info[2..5], limits);
    remove(id);
}
