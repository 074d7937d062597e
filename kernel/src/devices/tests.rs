//! Drivers against QEMU's devices.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use drivers::block::BlockError;
use drivers::device::{Bus, Describe, Device, Driver, DriverError, Model, NoUpper};
use drivers::edu::Edu;
use drivers::interrupt::Interrupt;
use drivers::pci::PciDevice;
use executor::irq::IrqEvent;
use executor::yield_now;
use fs::Errno;
use test_macros::kernel_test;

use super::{disk, pci_bus};
use crate::arch::smp;
use crate::devtmpfs;

/// Takes the edu device from its driver, and gives it back after `test`.
async fn with_edu<F>(
    interrupt: impl FnOnce(&PciDevice) -> Result<Interrupt, DriverError>,
    test: impl FnOnce(Arc<Edu>) -> F,
) -> Result<(), DriverError>
where
    F: Future<Output = Result<(), DriverError>>,
{
    let devices = pci_bus().devices();
    let device = devices.iter().find(|device| device.is(0x1234, 0x11e8));
    let device = device.expect("the test machine has an edu device");
    pci_bus().settle().await;
    assert_eq!(device.driver(), Some("edu"));
    assert!(pci_bus().unbind(device.name()).await);
    assert_eq!(device.driver(), None);
    let edu = Arc::new(Edu::start(device, interrupt(device)?)?);
    let outcome = test(edu).await;
    assert!(pci_bus().bind(device.name()));
    pci_bus().settle().await;
    assert_eq!(device.driver(), Some("edu"), "it comes back to its driver");
    outcome
}

async fn computes_and_copies(edu: Arc<Edu>) -> Result<(), DriverError> {
    assert_eq!(edu.factorial(10).await?, 3_628_800);
    let mut buffer = edu.buffer(300)?;
    buffer
        .iter_mut()
        .zip(0..)
        .for_each(|(byte, n)| *byte = n as u8 ^ 0x5a);
    let sent = buffer.to_vec();
    let mut buffer = edu.copy_in(buffer).await?;
    buffer.fill(0);
    let buffer = edu.copy_out(buffer).await?;
    assert_eq!(buffer.to_vec(), sent);
    Ok(())
}

#[kernel_test]
async fn edu_works_by_message() -> Result<(), DriverError> {
    with_edu(|device| device.interrupt("edu"), computes_and_copies).await
}

#[kernel_test]
async fn edu_works_by_its_pin() -> Result<(), DriverError> {
    with_edu(|device| device.pin_interrupt("edu"), computes_and_copies).await
}

/// Interrupts one after the other as fast as they are answered, from each CPU in turn, while another task goes on.
async fn storm(edu: Arc<Edu>) -> Result<(), DriverError> {
    const ROUNDS: u32 = 500;
    const BUDGET: u32 = 8;
    let turns = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let (counter, end) = (turns.clone(), over.clone());
    let other = executor::spawn("other", async move {
        while !end.load(Ordering::Relaxed) {
            counter.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    });
    for cpu in 0..smp::cpu_count() {
        let edu = edu.clone();
        let task = executor::spawn_on(cpu, "storm", async move {
            for round in 0..ROUNDS {
                edu.poke(1 << (round % 8)).await?;
                if round % BUDGET == 0 {
                    // Answered before anybody had to wait: it would go on without a pause.
                    yield_now().await;
                }
            }
            Ok::<_, DriverError>(())
        });
        task.await.expect("nobody aborts it")?;
    }
    over.store(true, Ordering::Relaxed);
    other.await.expect("nobody aborts it");
    let turns = turns.load(Ordering::Relaxed);
    let least = (ROUNDS / BUDGET / 2) as usize;
    assert!(turns > least, "the other task had {turns} turns only");
    Ok(())
}

#[kernel_test]
async fn no_message_of_a_storm_is_lost() -> Result<(), DriverError> {
    with_edu(|device| device.interrupt("edu"), storm).await
}

#[kernel_test]
async fn no_level_of_a_storm_is_lost() -> Result<(), DriverError> {
    with_edu(|device| device.pin_interrupt("edu"), storm).await
}

/// A virtio device of the test machine, by its driver.
fn served_by(driver: &str) -> Arc<PciDevice> {
    let devices = pci_bus().devices();
    let found = devices.iter().find(|d| d.driver() == Some(driver));
    found.expect("the test machine has such a device").clone()
}

#[kernel_test]
async fn disk_answers_many_requests_at_once_on_every_cpu() {
    const TASKS: u64 = 32;
    const EACH: u64 = 40;
    let disk = disk::device("vda").expect("the test machine has a disk");
    let sectors = disk.geometry().sectors;
    let read = |task: u64| {
        let disk = disk.clone();
        let cpu = (task % u64::from(smp::cpu_count())) as u32;
        executor::spawn_on(cpu, "reader", async move {
            let mut buffer = disk.buffer(4096).expect("memory for a test");
            for round in 0..EACH {
                buffer.fill(0xff);
                let sector = (task * 977 + round * 131) * 8 % (sectors - 8);
                let answer = disk.read(sector, buffer).await;
                buffer = answer.expect("the disk works");
                assert!(buffer.iter().all(|byte| *byte == 0), "it reads as zeros");
            }
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(read).collect();
    for task in tasks {
        task.await.expect("nobody aborts it");
    }
}

#[kernel_test]
async fn disk_that_is_unbound_fails_its_requests_and_loses_its_node() {
    let device = served_by("virtio_blk");
    let disk = disk::device("vda").expect("the test machine has a disk");
    assert!(pci_bus().unbind(device.name()).await);
    let buffer = disk.buffer(512).expect("memory for a test");
    let failed = disk.read(0, buffer).await.expect_err("nobody serves it");
    assert_eq!(failed.error, BlockError::Gone);
    assert_eq!(devtmpfs::remove("vda"), Err(Errno::ENOENT));
    assert!(pci_bus().bind(device.name()));
    pci_bus().settle().await;
    assert_eq!(device.driver(), Some("virtio_blk"));
    assert!(disk::device("vda").is_some(), "its name is free again");
}

/// A device whose driver panics: in its own future, or in a task that it has spawned.
struct Fragile {
    driver_panics: AtomicBool,
    helper_panics: AtomicBool,
    /// Raised for the one that panics.
    go: IrqEvent,
    helpers: AtomicUsize,
    wills: AtomicUsize,
}

impl Describe for Fragile {}

impl Fragile {
    fn new(driver_panics: bool, helper_panics: bool) -> Self {
        Self {
            driver_panics: driver_panics.into(),
            helper_panics: helper_panics.into(),
            go: IrqEvent::new(),
            helpers: AtomicUsize::new(0),
            wills: AtomicUsize::new(0),
        }
    }
}

/// Counts a helper for as long as its future is there.
struct Helper(Arc<Device<Fragile>>);

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.helpers.fetch_sub(1, Ordering::Relaxed);
    }
}

static FRAGILE: Driver<Fragile> = Driver {
    name: "fragile",
    matches: |_| true,
    run: |device| Box::pin(fragile(device)),
};

async fn fragile(device: Arc<Device<Fragile>>) -> Result<(), DriverError> {
    device.helpers.fetch_add(1, Ordering::Relaxed);
    let helper = Helper(device.clone());
    let help = async move {
        if helper.0.helper_panics.load(Ordering::Relaxed) {
            helper.0.go.wait().await;
            panic!("a helper's panic, which a test wants");
        }
        core::future::pending::<()>().await;
    };
    device.spawn("helper", help).detach();
    let own = Arc::downgrade(&device);
    device.if_it_dies(move || {
        if let Some(device) = own.upgrade() {
            device.wills.fetch_add(1, Ordering::Relaxed);
        }
    });
    device.bound();
    if device.driver_panics.load(Ordering::Relaxed) {
        device.go.wait().await;
        panic!("a driver's panic, which a test wants");
    }
    core::future::pending().await
}

#[kernel_test]
async fn a_driver_that_panics_loses_its_tasks_and_nothing_else_is_lost() {
    let bus = Bus::new("fragile", &Model::new(NoUpper));
    bus.add_driver(&FRAGILE);
    for (driver_panics, helper_panics) in [(true, false), (false, true), (true, false)] {
        let device = bus.add_device(
            "fragile0",
            "devices/fragile0",
            Fragile::new(driver_panics, helper_panics),
        );
        while device.driver().is_none() {
            yield_now().await;
        }
        device.go.raise();
        while device.driver().is_some() {
            yield_now().await;
        }
        assert_eq!(
            device.wills.load(Ordering::Relaxed),
            1,
            "what it left was done"
        );
        // The future that panicked is never dropped; a helper of a driver that did is.
        let lost = usize::from(helper_panics);
        assert_eq!(device.helpers.load(Ordering::Relaxed), lost);
        // The device may have a driver again, and goes in good order.
        device.driver_panics.store(false, Ordering::Relaxed);
        device.helper_panics.store(false, Ordering::Relaxed);
        assert!(bus.bind("fragile0"));
        while device.driver().is_none() {
            yield_now().await;
        }
        assert!(bus.remove_device("fragile0").await);
        assert_eq!(device.helpers.load(Ordering::Relaxed), lost);
    }
}

#[kernel_test]
async fn a_device_is_removed_while_its_driver_panics() {
    let bus = Bus::new("fragile", &Model::new(NoUpper));
    bus.add_driver(&FRAGILE);
    for _ in 0..10 {
        let device = bus.add_device("fragile1", "devices/fragile1", Fragile::new(true, false));
        while device.driver().is_none() {
            yield_now().await;
        }
        device.go.raise();
        // Whether the driver gets to its panic or not, this comes to its end.
        assert!(bus.remove_device("fragile1").await);
        assert_eq!(device.helpers.load(Ordering::Relaxed), 0);
    }
}

#[kernel_test]
fn entropy_device_has_seeded_the_generator() {
    assert_eq!(served_by("virtio_rng").driver(), Some("virtio_rng"));
    assert!(crate::random::is_seeded());
}

#[kernel_test]
fn every_function_is_identified() {
    let devices = pci_bus().devices();
    assert!(devices.len() >= 4, "a q35 has that many");
    for device in devices {
        assert!(device.config().is_present(), "{}", device.name());
        for bar in device.bars().iter().flatten() {
            assert!(bar.len.is_power_of_two() && bar.address.is_multiple_of(bar.len));
        }
    }
}
