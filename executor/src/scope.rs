//! Structured tasks.
