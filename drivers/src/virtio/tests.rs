//! The drivers against a simulated device that lies in every way it can.

use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use std::sync::Mutex;
use std::vec::Vec;

use executor::platform::host::block_on;
use executor::platform::{self, VirtualTime};
use executor::yield_now;

use super::BLOCK;
use crate::block::{BlockDevice, BlockError, Disk, SECTOR};
use crate::device::{CharDevice, Interface, Model, Published, TerminalPort, Upper};
use crate::pci::{Address, PciBus};
use crate::simulated::{Asked, LineFaults, SimulatedPci, SimulatedVirtio, VirtioFaults};

pub(super) const NAME: &str = "0000:00:04.0";
const SECTORS: usize = 100;
pub(super) const EVENT_INDEX: u64 = 1 << 29;
const FLUSH: u64 = 1 << 9;

#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) disks: Arc<Mutex<Vec<Arc<Disk>>>>,
    pub(super) chars: Arc<Mutex<Vec<Arc<dyn CharDevice>>>>,
    pub(super) ports: Arc<Mutex<Vec<Arc<dyn TerminalPort>>>>,
    pub(super) entropy: Arc<Mutex<Vec<u8>>>,
}

impl Upper for Seen {
    fn publish(&self, _: &str, interface: Interface) -> Option<Published> {
        match interface {
            Interface::Disk(disk) => self.disks.lock().unwrap().push(disk),
            Interface::Char { device, .. } => self.chars.lock().unwrap().push(device),
            Interface::Terminal(port) => self.ports.lock().unwrap().push(port),
            Interface::Input(_) => {}
        }
        Some(Published::nowhere())
    }
    fn entropy(&self, bytes: &[u8]) {
        self.entropy.lock().unwrap().extend(bytes);
    }
}

/// Plays a disk: header, data, status.
fn disk(contents: Arc<Mutex<Vec<u8>>>) -> impl FnMut(&Asked) -> Vec<u8> + Send {
    move |asked| {
        let mut contents = contents.lock().unwrap();
        let kind = u32::from_le_bytes(asked.read[..4].try_into().unwrap());
        let sector = u64::from_le_bytes(asked.read[8..16].try_into().unwrap());
        let at = sector as usize * SECTOR;
        let data = asked.writable - 1;
        match kind {
            0 => [&contents[at..at + data], &[0]].concat(),
            1 => {
                let bytes = &asked.read[16..];
                contents[at..at + bytes.len()].copy_from_slice(bytes);
                std::vec![0]
            }
            4 => std::vec![0],
            8 => {
                let mut name = b"simulated".to_vec();
                name.resize(data, 0);
                name.push(0);
                name
            }
            _ => std::vec![2],
        }
    }
}

struct Bench {
    machine: Arc<SimulatedPci>,
    virtio: SimulatedVirtio,
    bus: Arc<PciBus>,
    seen: Seen,
    contents: Arc<Mutex<Vec<u8>>>,
    clock: &'static VirtualTime,
}

impl Bench {
    async fn settle(&self) {
        for _ in 0..40 {
            yield_now().await;
        }
    }

    fn device(&self) -> Arc<dyn BlockDevice> {
        self.seen.disks.lock().unwrap()[0].device.clone()
    }

    fn is_bound(&self) -> bool {
        let device = self.bus.device(NAME);
        device.is_some_and(|device| device.driver().is_some())
    }

    async fn read(&self, sector: u64) -> Result<Vec<u8>, BlockError> {
        let device = self.device();
        let buffer = device.buffer(SECTOR).unwrap();
        let read = device.read(sector, buffer).await;
        read.map(|b| b.to_vec()).map_err(|failed| failed.error)
    }

    /// Reads with a device that does something wrong with the answer.
    async fn read_with(&self, faults: VirtioFaults) -> Result<Vec<u8>, BlockError> {
        self.virtio.set_faults(faults);
        self.read(3).await
    }
}

fn with<F: Future<Output = ()> + Send>(features: u64, test: impl FnOnce(Arc<Bench>) -> F + Send) {
    block_on(async {
        let clock = VirtualTime::install();
        let machine = SimulatedPci::new();
        let contents: Vec<u8> = (0..SECTORS * SECTOR).map(|n| (n / SECTOR) as u8).collect();
        let contents = Arc::new(Mutex::new(contents));
        let mut config = std::vec![0; 24];
        config[..8].copy_from_slice(&(SECTORS as u64).to_le_bytes());
        let virtio = SimulatedVirtio::plug(
            &machine,
            Address::new(0, 4, 0),
            super::kind::BLOCK,
            1,
            features,
            config,
            disk(contents.clone()),
        );
        let seen = Seen::default();
        let bus = PciBus::new("pci", &Model::new(seen.clone()));
        bus.add_driver(&BLOCK);
        for function in machine.scan() {
            bus.add_device(NAME, "devices/pci0000:00/0000:00:04.0", function);
        }
        bus.settle().await;
        let bench = Arc::new(Bench {
            machine,
            virtio,
            bus,
            seen,
            contents,
            clock,
        });
        assert!(bench.is_bound());
        test(bench.clone()).await;
        bench.bus.remove_device(NAME).await;
        bench.seen.disks.lock().unwrap().clear();
        bench.settle().await;
        assert!(!bench.virtio.is_bus_master());
        assert_eq!(bench.virtio.memory_faults(), 0);
        assert_eq!(bench.machine.memory().live(), 0, "all memory came back");
        platform::register(&(&platform::host::HostPlatform as &dyn platform::Platform));
    });
}

#[test]
fn sectors_are_read_written_and_flushed() {
    for features in [0, EVENT_INDEX, EVENT_INDEX | FLUSH] {
        with(features, |bench| async move {
            assert_eq!(bench.read(7).await.unwrap(), [7; SECTOR]);
            let device = bench.device();
            let mut buffer = device.buffer(2 * SECTOR).unwrap();
            buffer.fill(0xaa);
            device.write(8, buffer).await.unwrap();
            device.flush().await.unwrap();
            let contents = bench.contents.lock().unwrap();
            assert!(contents[8 * SECTOR..10 * SECTOR].iter().all(|b| *b == 0xaa));
            assert_eq!(contents[10 * SECTOR], 10);
            assert_eq!(device.serial(), "simulated");
        });
    }
}

#[test]
fn requests_beyond_the_end_never_reach_the_device() {
    with(EVENT_INDEX, |bench| async move {
        let before = bench.virtio.answered();
        let device = bench.device();
        for (sector, len) in [
            (SECTORS as u64, SECTOR),
            (99, 1024),
            (u64::MAX, SECTOR),
            (0, 100),
        ] {
            let failed = device
                .read(sector, device.buffer(len).unwrap())
                .await
                .unwrap_err();
            assert_eq!(failed.error, BlockError::OutOfRange);
            assert_eq!(
                failed.buffer.map(|b| b.len()),
                Some(len),
                "the buffer comes back"
            );
        }
        assert_eq!(bench.virtio.answered(), before);
    });
}

#[test]
fn many_requests_share_the_queue_and_each_gets_its_own_answer() {
    for features in [0, EVENT_INDEX] {
        with(features, |bench| async move {
            bench.virtio.set_faults(VirtioFaults {
                slow: true,
                ..VirtioFaults::default()
            });
            let tasks: Vec<_> = (0..50)
                .map(|sector| {
                    let bench = bench.clone();
                    executor::spawn("reader", async move { bench.read(sector).await })
                })
                .collect();
            // More requests than descriptors: some wait for room.
            let done = || tasks.iter().all(|task| task.is_finished());
            for _ in 0..100 {
                bench.settle().await;
                if done() {
                    break;
                }
                bench.virtio.work();
            }
            assert!(done());
            for (task, sector) in tasks.into_iter().zip(0_u8..) {
                assert_eq!(task.await.unwrap().unwrap(), [sector; SECTOR]);
            }
        });
    }
}

#[test]
fn an_index_out_of_range_fails_the_request_and_ends_the_device() {
    for wrong_id in [16, 1000, u32::MAX] {
        with(EVENT_INDEX, |bench| async move {
            let faults = VirtioFaults {
                wrong_id: Some(wrong_id),
                ..VirtioFaults::default()
            };
            assert_eq!(bench.read_with(faults).await, Err(BlockError::Device));
            bench.settle().await;
            assert!(!bench.is_bound());
            assert!(!bench.virtio.is_bus_master(), "it was stopped");
            assert_eq!(bench.read(1).await, Err(BlockError::Device));
        });
    }
}

#[test]
fn an_answer_to_what_was_not_asked_ends_the_device() {
    with(0, |bench| async move {
        let faults = VirtioFaults {
            repeat: 1,
            ..VirtioFaults::default()
        };
        // The first one is right; what follows is not.
        let _ = bench.read_with(faults).await;
        bench.settle().await;
        assert!(!bench.is_bound());
    });
}

#[test]
fn a_used_index_that_jumps_ends_the_device() {
    with(0, |bench| async move {
        let faults = VirtioFaults {
            index_jump: 999,
            ..VirtioFaults::default()
        };
        assert_eq!(bench.read_with(faults).await, Err(BlockError::Device));
        bench.settle().await;
        assert!(!bench.is_bound());
    });
}

#[test]
fn a_length_beyond_the_buffer_fails_that_request_only() {
    with(EVENT_INDEX, |bench| async move {
        let faults = VirtioFaults {
            wrong_len: Some(100_000),
            ..VirtioFaults::default()
        };
        assert_eq!(bench.read_with(faults).await, Err(BlockError::Device));
        assert_eq!(bench.read(3).await.unwrap(), [3; SECTOR]);
        assert!(bench.is_bound());
    });
}

#[test]
fn interrupts_with_nothing_pending_are_passed_over() {
    with(EVENT_INDEX, |bench| async move {
        for _ in 0..10 {
            bench.machine.message_line(0).spurious();
            bench.settle().await;
        }
        assert_eq!(bench.read(3).await.unwrap(), [3; SECTOR]);
    });
}

#[test]
fn interrupts_that_are_late_double_or_lost_cost_time_only() {
    with(EVENT_INDEX, |bench| async move {
        let line = bench.machine.message_line(0);
        let fault = |faults| line.set_faults(faults);
        fault(LineFaults {
            duplicate: 3,
            ..LineFaults::default()
        });
        assert_eq!(bench.read(3).await.unwrap(), [3; SECTOR]);
        fault(LineFaults {
            hold: true,
            ..LineFaults::default()
        });
        let reader = bench.clone();
        let late = executor::spawn("reader", async move { reader.read(4).await });
        bench.settle().await;
        assert!(!late.is_finished());
        line.deliver();
        assert_eq!(late.await.unwrap().unwrap(), [4; SECTOR]);
        fault(LineFaults {
            lose: 1,
            ..LineFaults::default()
        });
        let reader = bench.clone();
        let lost = executor::spawn("reader", async move { reader.read(5).await });
        bench.settle().await;
        assert!(!lost.is_finished());
        assert!(bench.clock.advance_to_next());
        assert_eq!(lost.await.unwrap().unwrap(), [5; SECTOR]);
        assert_eq!(bench.read(6).await.unwrap(), [6; SECTOR]);
    });
}

#[test]
fn a_disk_that_resets_itself_costs_its_requests_an_error() {
    with(EVENT_INDEX, |bench| async move {
        bench.virtio.reset();
        let reader = bench.clone();
        let task = executor::spawn("reader", async move { reader.read(1).await });
        bench.settle().await;
        assert!(bench.clock.advance_to_next());
        assert_eq!(task.await.unwrap(), Err(BlockError::TimedOut));
    });
}

#[test]
fn silence_costs_an_error_after_half_a_minute() {
    with(EVENT_INDEX, |bench| async move {
        bench.virtio.set_faults(VirtioFaults {
            dead: true,
            ..VirtioFaults::default()
        });
        let reader = bench.clone();
        let task = executor::spawn("reader", async move { reader.read(1).await });
        bench.settle().await;
        assert!(!task.is_finished());
        assert!(bench.clock.advance_to_next());
        bench.settle().await;
        assert_eq!(task.await.unwrap(), Err(BlockError::TimedOut));
    });
}

#[test]
fn removal_in_the_middle_fails_what_waits() {
    with(EVENT_INDEX, |bench| async move {
        bench.virtio.set_faults(VirtioFaults {
            slow: true,
            ..VirtioFaults::default()
        });
        let reader = bench.clone();
        let task = executor::spawn("reader", async move { reader.read(1).await });
        bench.settle().await;
        bench.bus.remove_device(NAME).await;
        assert_eq!(task.await.unwrap(), Err(BlockError::Gone));
        assert_eq!(
            bench.read(2).await,
            Err(BlockError::Gone),
            "and what comes later"
        );
    });
}

#[test]
fn a_dropped_request_leaves_its_buffer_with_the_driver_until_the_answer() {
    with(EVENT_INDEX, |bench| async move {
        bench.virtio.set_faults(VirtioFaults {
            slow: true,
            ..VirtioFaults::default()
        });
        let device = bench.device();
        let before = bench.machine.memory().live();
        let buffer = device.buffer(SECTOR).unwrap();
        {
            let mut read = pin!(device.read(1, buffer));
            poll_fn(|cx| {
                assert!(read.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(
            bench.machine.memory().live(),
            before + 1,
            "the device has it"
        );
        bench.virtio.work();
        bench.settle().await;
        assert_eq!(bench.machine.memory().live(), before);
        bench.virtio.set_faults(VirtioFaults::default());
        assert_eq!(bench.read(5).await.unwrap(), [5; SECTOR]);
    });
}

#[test]
fn notifications_are_saved_while_the_device_is_busy() {
    with(EVENT_INDEX, |bench| async move {
        bench.virtio.set_faults(VirtioFaults {
            slow: true,
            ..VirtioFaults::default()
        });
        let before = bench.virtio.notified();
        let tasks: Vec<_> = (0..4)
            .map(|sector| {
                let bench = bench.clone();
                executor::spawn("reader", async move { bench.read(sector).await })
            })
            .collect();
        bench.settle().await;
        assert_eq!(bench.virtio.notified(), before + 1);
        bench.virtio.work();
        for task in tasks {
            assert!(task.await.unwrap().is_ok());
        }
    });
}

#[test]
fn who_holds_a_disk_that_is_gone_does_not_stop_the_one_that_came_after() {
    with(EVENT_INDEX, |bench| async move {
        let old = bench.seen.disks.lock().unwrap().remove(0);
        assert!(bench.bus.unbind(NAME).await);
        assert!(bench.bus.bind(NAME));
        bench.bus.settle().await;
        drop(old);
        assert!(bench.virtio.is_bus_master());
        assert_eq!(bench.read(6).await.unwrap(), [6; SECTOR]);
    });
}

#[test]
fn partitions_of_a_disk_are_published_with_it() {
    with(0, |bench| async move {
        {
            let mut contents = bench.contents.lock().unwrap();
            contents[..SECTOR].fill(0);
            contents[446 + 4] = 0x83;
            contents[446 + 8] = 10;
            contents[446 + 12] = 20;
            contents[510..512].copy_from_slice(&[0x55, 0xaa]);
        }
        assert!(bench.bus.unbind(NAME).await);
        assert!(bench.bus.bind(NAME));
        bench.bus.settle().await;
        let partitions = bench.seen.disks.lock().unwrap()[1].partitions.clone();
        assert_eq!(partitions.len(), 1);
        assert_eq!((partitions[0].first, partitions[0].sectors), (10, 20));
    });
}
