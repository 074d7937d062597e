//! In-kernel tests of the pool of stacks.

use alloc::vec::Vec;

use executor::time::Instant;
use executor::{cpu, spawn_on};
use test_macros::kernel_test;

use super::stacks;
use super::suspend::{self, Mode};
use super::suspend_ktests::PATIENCE;
use crate::arch::smp;

/// A poll that computes has the stacks taken away that it could be preempted with for an ordinary task.
#[kernel_test]
async fn the_pool_is_filled_again_beneath_a_poll_that_computes() {
    assert_eq!(suspend::mode(), Mode::Full);
    for there in 0..smp::cpu_count() {
        let round = spawn_on(there, "computes", async {
            let mut held = Vec::with_capacity(stacks::limit());
            {
                // Nobody fills it up from here meanwhile; another CPU may, but not beyond all that there can be.
                let _stay = cpu::preempt_disable();
                while stacks::counts().0 > 1 && held.len() < stacks::limit() / 2 {
                    held.extend(stacks::take(true));
                }
            }
            let start = Instant::now();
            // One poll, which gives the CPU up nowhere.
            while stacks::counts().0 <= stacks::target() / 2 {
                assert!(start.elapsed() < PATIENCE, "nobody makes stacks");
                core::hint::spin_loop();
            }
            held.into_iter().for_each(stacks::give);
        });
        assert_eq!(round.await, Ok(()));
    }
}
