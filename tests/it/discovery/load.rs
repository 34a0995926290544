//! Requests at a steady rate, and what became of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::{Client, Proxy, pass};

/// How many clients share the rate.
const CLIENTS: u32 = 4;

/// Requests that go on until they are judged.
pub struct Load {
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Seen>>,
    begun: Instant,
    rate: u32,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    sent: u64,
    failures: Vec<String>,
}

impl Load {
    /// So many requests a second over kept connections.
    pub fn start(proxy: &Proxy, rate: u32) -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        let pace = Duration::from_secs(1) * CLIENTS / rate;
        let clients = (0..CLIENTS).map(|_| {
            let (ends, web) = (ends.clone(), proxy.web);
            std::thread::spawn(move || ask(web, pace, &ends))
        });
        Load { clients: clients.collect(), ends, begun: Instant::now(), rate }
    }

    /// Ends it and fails when one request was not answered with 200, or hardly any was sent.
    #[track_caller]
    pub fn assert_nothing_failed(self, proxy: &Proxy) {
        self.ends.store(true, Ordering::Relaxed);
        let seen: Vec<Seen> =
            self.clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect();
        let sent: u64 = seen.iter().map(|seen| seen.sent).sum();
        let failures: Vec<_> = seen.into_iter().flat_map(|seen| seen.failures).collect();
        let wanted = self.begun.elapsed().as_secs_f64() * f64::from(self.rate);
        let seconds = self.begun.elapsed().as_secs_f64();
        eprintln!("{sent} requests in {seconds:.1} s, {} failed", failures.len());
        let lines: Vec<_> =
            proxy.access_lines().into_iter().filter(|line| line.contains("\"status\":5")).take(3).collect();
        let some = failures.get(..3).unwrap_or(&failures);
        assert!(failures.is_empty(), "{} of {sent} failed: {some:?}\n{lines:?}", failures.len());
        // A machine with much else to do sends fewer; none at all would show nothing.
        assert!(sent as f64 > wanted / 10.0, "only {sent} of {wanted} requests were sent");
    }
}

fn ask(web: SocketAddr, pace: Duration, ends: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut client = Client::connect(web);
    let mut next = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        seen.sent += 1;
        match client.try_response() {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => seen.failures.push(format!("{} {}", answer.status, answer.text())),
            Err(error) => {
                seen.failures.push(error.to_string());
                client = Client::connect(web);
            }
        }
        next += pace;
        pass(next.saturating_duration_since(Instant::now()));
    }
    seen
}
