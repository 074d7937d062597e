//! `/proc/sysvipc`: what there is, as `ipcs` reads it. Everybody sees all of it, as on Linux.

use fs::Result;

use super::{msg, sem, shm};
use crate::mm::PAGE_SIZE;
use crate::pseudofs::{Out, put};

/// The file `msg`.
///
/// # Errors
/// None.
pub fn queues(out: &mut Out) -> Result<()> {
    put!(
        out,
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      \
         stime      rtime      ctime\n"
    );
    msg::QUEUES.each(|queue| {
        let p = queue.perm_now();
        if let Ok((f, count)) = queue.figures() {
            put!(
                out,
                "{:10} {:10}  {:4o}  {:10} {count:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}\n",
                p.key,
                p.id,
                p.mode,
                f.cbytes,
                f.lspid,
                f.lrpid,
                p.uid,
                p.gid,
                p.cuid,
                p.cgid,
                f.stime,
                f.rtime,
                f.ctime
            );
        }
        Ok(())
    })
}

/// The file `sem`.
///
/// # Errors
/// None.
pub fn sets(out: &mut Out) -> Result<()> {
    put!(
        out,
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
    );
    sem::SETS.each(|set| {
        let p = set.perm_now();
        if let Ok((otime, ctime)) = set.times() {
            put!(
                out,
                "{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {otime:10} {ctime:10}\n",
                p.key,
                p.id,
                p.mode,
                set.count,
                p.uid,
                p.gid,
                p.cuid,
                p.cgid
            );
        }
        Ok(())
    })
}

/// The file `shm`.
///
/// # Errors
/// `ENOMEM`.
pub fn segments(out: &mut Out) -> Result<()> {
    put!(
        out,
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      \
         atime      dtime      ctime                   rss                  swap\n"
    );
    for counted in shm::all()? {
        let (p, f) = (counted.segment.perm_now(), counted.segment.figures());
        put!(
            out,
            "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}\n",
            p.key,
            p.id,
            p.mode,
            counted.segment.size,
            f.cpid,
            f.lpid,
            counted.attached,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            f.atime,
            f.dtime,
            f.ctime,
            counted.resident * PAGE_SIZE as u64,
            0
        );
    }
    Ok(())
}
