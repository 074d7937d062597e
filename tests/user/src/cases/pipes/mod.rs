//! Pipes, FIFOs, and waiting for readiness: poll, select, epoll, eventfd, inotify.

mod epoll;
mod events;
mod fifo;
mod pipe;
mod polling;

use crate::cases::parts;

parts![pipe, fifo, polling, epoll, events];
