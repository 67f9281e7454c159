//! 200 clients at the same moment.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::mix::{HEAVY, KEPT, Mix, QUICK};
use crate::process::Process;
use crate::raw::{longest_list, wait_until};
use crate::support::check::assert_sound;
use crate::support::soak::{figure, soaking};

const CLIENTS: usize = 200;

#[test]
fn two_hundred_requests_of_all_kinds_are_answered_at_once() {
    let mix = Mix::start(&[]);
    let process = Process(mix.server.pid());
    longest_list(&mix.server);
    let descriptors = process.descriptors();
    let (mut most_descriptors, mut most_threads) = (0, 0);
    let rounds = if soaking() { 50 } else { 2 };
    for round in 0..rounds {
        let start = Instant::now();
        let together = Barrier::new(CLIENTS);
        thread::scope(|scope| {
            let (mix, together) = (&mix, &together);
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let kinds = [&QUICK[..], &HEAVY].concat();
                    scope.spawn(move || {
                        together.wait();
                        mix.request(kinds[client % kinds.len()], round * CLIENTS + client);
                    })
                })
                .collect();
            while clients.iter().any(|client| !client.is_finished()) {
                most_descriptors = most_descriptors.max(process.descriptors());
                most_threads = most_threads.max(process.threads());
                thread::sleep(Duration::from_millis(5));
            }
            for client in clients {
                client.join().unwrap();
            }
        });
        println!("round {round}: {:?}", start.elapsed());
    }
    let peak = process.peak() >> 10;
    figure("200 clients at once", "most memory", &format!("{peak} MiB"));
    figure("200 clients at once", "most descriptors", &most_descriptors.to_string());
    figure("200 clients at once", "most threads", &most_threads.to_string());
    wait_until("descriptors are left", || process.descriptors() <= descriptors);
    mix.assert_only_kept_is_there();
    mix.server.client().get(&format!("/images/{KEPT}/json")).expect(200);
    // Without the crowd it has 25 MiB. Of layers at most a dozen are on their way at a time, with
    // their buffers and the threads that write files: 4 MiB each. Each client has 256 KiB.
    assert!(peak <= 25 + 12 * 4 + CLIENTS as u64 / 4, "{peak} MiB");
    // A socket each, and up to 160 files for each layer on its way.
    assert!(most_descriptors <= descriptors + CLIENTS + 12 * 200, "{most_descriptors} descriptors");
    assert_sound(&mix.store);
}
