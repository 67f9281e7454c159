//! Many requests, after which the daemon is no larger than after some.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::mix::{HEAVY, Mix, QUICK};
use crate::process::Process;
use crate::raw::wait_until;
use crate::support::check::assert_sound;
use crate::support::soak::{figure, soaking};

const CLIENTS: usize = 8;
/// It is looked at so often, when no request is under way.
const STAGES: usize = 10;
/// Until everything has been used once and more: caches, arenas, threads.
const WARM: usize = 3;
/// How much more memory may be resident in the end, KiB. The allocator keeps what is fragmented,
/// which differs from one look to the next by this much. With 100,000 requests a leak of 60 bytes
/// each would be more.
const MORE: u64 = 6 << 10;

#[test]
fn memory_and_descriptors_do_not_grow_with_requests() {
    let requests = if soaking() { 100_000 } else { 10_000 };
    let mix = Mix::start(&[]);
    let process = Process(mix.server.pid());
    let before = process.descriptors();
    let next = AtomicUsize::new(0);
    let mut looks = Vec::new();
    for stage in 1..=STAGES {
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while mix.requests() < requests * stage / STAGES {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let kind = match number % 50 {
                            heavy if heavy < HEAVY.len() => HEAVY[heavy],
                            _ => QUICK[number % QUICK.len()],
                        };
                        mix.request(kind, number);
                    }
                });
            }
        });
        // Connections that were left have to be noticed, threads without work to end, and freed
        // memory goes back with a delay.
        wait_until("descriptors are left", || process.descriptors() <= before);
        thread::sleep(Duration::from_secs(1));
        let look = (process.resident(), process.descriptors(), process.threads());
        println!("{} requests: KiB, descriptors, threads: {look:?}", mix.requests());
        looks.push(look);
    }
    let (warm, _, _) = looks[WARM - 1];
    let (last, descriptors, _) = looks[STAGES - 1];
    let made = mix.requests();
    for (measured, value) in [
        (format!("memory after {} requests", made * WARM / STAGES), format!("{warm} KiB")),
        (format!("memory after {made} requests"), format!("{last} KiB")),
        ("descriptors before".to_owned(), before.to_string()),
        (format!("descriptors after {made} requests"), descriptors.to_string()),
    ] {
        figure("no growth", &measured, &value);
    }
    mix.assert_only_kept_is_there();
    assert_sound(&mix.store);
    assert!(last <= warm + MORE, "{looks:?}");
}
