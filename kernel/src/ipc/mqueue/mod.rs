//! POSIX message queues: files of a file system of their own, which is there whether it is mounted or not.
//!
//! [`queue`] is the queue; [`node`] shows it as a file: `mq_open` finds it by name in the file system's one directory, and a
//! mount (`mount -t mqueue`) shows that directory to everybody.
//!
//! Source: mq_overview(7), and Linux 6.1 `ipc/mqueue.c` where that is not exact.

pub mod limits;
pub mod node;
pub mod queue;

pub use node::{OpenQueue, init};
pub use queue::{Attr, Queue};
