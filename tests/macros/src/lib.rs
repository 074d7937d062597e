//! Macros for tests.
