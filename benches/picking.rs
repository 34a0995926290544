//! Nanoseconds per pick for each strategy and size of the set: `cargo bench --bench picking`.
//!
//! Every endpoint has a few attempts in flight, since an idle one ends the search of the strategies
//! that look at load. The figure is the median of several rounds.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tidegate::balance::{Balancer, Cursor, Member, PickContext, Settings, build};
use tidegate::endpoint::{Endpoint, InFlight};
use tidegate::units::Weight;

const STRATEGIES: [(&str, Settings); 5] = [
    ("round_robin", Settings::RoundRobin),
    ("random", Settings::Random),
    ("least_request", Settings::LeastRequest),
    ("p2c", Settings::P2c),
    ("first", Settings::First),
];
const SIZES: [usize; 3] = [3, 100, 10_000];
const ROUNDS: usize = 7;

fn main() {
    println!("{:<16}{:>12}{:>12}{:>12}   ns per pick", "endpoints", SIZES[0], SIZES[1], SIZES[2]);
    let sets = SIZES.map(members);
    let _busy: Vec<InFlight> = sets.iter().flat_map(load).collect();
    for (name, settings) in STRATEGIES {
        let [few, some, many] = sets.each_ref().map(|set| {
            let balancer = build(&settings, set.clone(), &Arc::new(Cursor::default()));
            median((0..ROUNDS).map(|_| round(&*balancer, set.len())).collect())
        });
        println!("{name:<16}{few:>12.1}{some:>12.1}{many:>12.1}");
    }
    println!("{:<16}{:>12}{:>12}{:>12}   µs per build", "", "", "", "");
    for (name, settings) in STRATEGIES {
        let [few, some, many] = sets.each_ref().map(|set| {
            let cursor = Arc::new(Cursor::default());
            median((0..ROUNDS).map(|_| time(1, || drop(build(&settings, set.clone(), &cursor)))).collect())
        });
        println!("{name:<16}{:>12.1}{:>12.1}{:>12.1}", few / 1e3, some / 1e3, many / 1e3);
    }
}

/// Members of weights 1, 2 and 3.
fn members(count: usize) -> Arc<[Member]> {
    let member = |index: usize| {
        let address = format!("10.{}.{}.1:80", index / 250, index % 250).parse().expect("an address");
        Member {
            endpoint: Arc::new(Endpoint::new(address)),
            weight: Weight(index as u32 % 3 + 1),
            priority: 0,
        }
    };
    (0..count).map(member).collect()
}

fn load(members: &Arc<[Member]>) -> Vec<InFlight> {
    let attempts = |(index, member): (usize, &Member)| {
        let endpoint = member.endpoint.clone();
        (0..index % 5 + 3).map(move |_| InFlight::begin(endpoint.clone())).collect::<Vec<_>>()
    };
    members.iter().enumerate().flat_map(attempts).collect()
}

/// About 20 ms for the slowest, a scan of the whole set.
fn round(balancer: &dyn Balancer, size: usize) -> f64 {
    let mut random = fastrand::Rng::with_seed(1);
    time(5_000_000 / (size + 100), || {
        black_box(balancer.pick(&PickContext { random: random.u64(..) }, black_box(&[])));
    })
}

fn time(repetitions: usize, mut step: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..repetitions).for_each(|_| step());
    begun.elapsed().as_nanos() as f64 / repetitions as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
