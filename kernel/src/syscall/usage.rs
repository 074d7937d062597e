//! What processes have used: `getrusage(2)` and `times(2)`.

use executor::time::Instant;
use fs::Errno;

use super::{Call, Plain, SysResult};
use crate::process::process::{TICK_NS, UsageSum};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(98, getrusage), (100, times)];

/// `struct rusage`, as words: four of times, the resident set, and fourteen counters of which Linux keeps four.
pub(super) fn rusage(sum: &UsageSum) -> [u64; 18] {
    let sec = |ns: u64| ns / 1_000_000_000;
    let usec = |ns: u64| ns / 1000 % 1_000_000;
    let mut words = [0; 18];
    words[..5].copy_from_slice(&[
        sec(sum.user_ns),
        usec(sum.user_ns),
        sec(sum.system_ns),
        usec(sum.system_ns),
        sum.max_rss_kib,
    ]);
    words[8] = sum.minor_faults;
    words[9] = sum.major_faults;
    words[16] = sum.voluntary_switches;
    words[17] = sum.involuntary_switches;
    words
}

fn getrusage(call: &mut Call<'_>) -> SysResult {
    const SELF: i32 = 0;
    const CHILDREN: i32 = -1;
    const THREAD: i32 = 1;
    let process = call.thread.process();
    let mut sum = match call.int(0) {
        SELF => process.usage(),
        CHILDREN => process.accounts.lock().children,
        THREAD => {
            let mut sum = UsageSum::default();
            sum.add(call.thread);
            sum
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if call.int(0) != CHILDREN
        && let Some(space) = process.mm()
    {
        sum.max_rss_kib = sum.max_rss_kib.max(space.stats().rss_peak * 4);
    }
    usermem::write(call.arg(1), &rusage(&sum))?;
    Ok(0)
}

fn times(call: &mut Call<'_>) -> SysResult {
    if call.arg(0) != 0 {
        let own = call.thread.process().usage();
        let children = call.thread.process().accounts.lock().children;
        let ticks = [
            own.user_ns,
            own.system_ns,
            children.user_ns,
            children.system_ns,
        ]
        .map(|ns| ns / TICK_NS);
        usermem::write(call.arg(0), &ticks)?;
    }
    Ok(Instant::now().as_ns() / TICK_NS)
}
