//! Readiness: which events a file has, and how a waiter hears of the next one.

bitflags::bitflags! {
    /// Events of `poll(2)` and `epoll(7)`, with their Linux values.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PollEvents: u32 {
        /// Data to read.
        const IN = 0x001;
        /// Urgent data.
        const PRI = 0x002;
        /// Room to write.
        const OUT = 0x004;
        /// Error; always reported.
        const ERR = 0x008;
        /// Hang-up; always reported.
        const HUP = 0x010;
        /// Not an open descriptor.
        const NVAL = 0x020;
        /// Normal data to read.
        const RDNORM = 0x040;
        /// Priority band data to read.
        const RDBAND = 0x080;
        /// Room for normal data.
        const WRNORM = 0x100;
        /// Room for priority data.
        const WRBAND = 0x200;
        /// Unused by Linux.
        const MSG = 0x400;
        /// The peer shut down writing.
        const RDHUP = 0x2000;
    }
}

/// What `poll` registers a waiter with.
pub struct PollTable<'a> {
    _waker: &'a core::task::Waker,
}
