//! Which connection of a pool is used next, and how many cache lines that is.

use tokio::net::UnixStream;

use super::*;
use crate::net::proxy_protocol::Version;

/// In bytes.
const CACHE_LINE: usize = 64;

#[test]
fn a_pool_is_one_cache_line_with_the_counts_of_its_rc() {
    let size = size_of::<Pool>() + 2 * size_of::<usize>();
    assert!(size <= CACHE_LINE, "{size} bytes");
}

#[test]
fn a_connection_that_rests_is_three_cache_lines() {
    assert_eq!(align_of::<H1Link>(), CACHE_LINE);
    let size = size_of::<H1Link>();
    assert!(size <= 3 * CACHE_LINE, "{size} bytes");
}

fn pool() -> Pool {
    let endpoint = Arc::new(Endpoint::new("127.0.0.1:9".parse().unwrap()));
    Pool::new(endpoint, Upstream::build("up", settings::Upstream::default(), None))
}

/// Adds a connection that rests since then. Nothing is awaited here, so that nobody sees that the other
/// end is gone.
fn rest(pool: &Pool, greeting: Greeting, since: u64) {
    let (ours, _) = UnixStream::pair().unwrap();
    let mut link = Box::new(H1Link::new(Stream::Unix(ours), greeting));
    link.rest(Millis(since));
    pool.push(link);
}

/// Since when the connection rests that is used next.
fn next(pool: &Pool, greeting: Greeting) -> Option<u64> {
    const NOW: u64 = 1_000_000;
    pool.pop(&greeting).map(|link| NOW - link.rested(Millis(NOW)))
}

#[tokio::test]
async fn the_connection_that_rests_for_the_shortest_time_is_used_first() {
    let pool = pool();
    (1..=3).for_each(|since| rest(&pool, Greeting::Silent, since));
    assert_eq!(next(&pool, Greeting::Silent), Some(3));
    rest(&pool, Greeting::Silent, 4);
    assert_eq!(pool.idle(), 3);
    assert_eq!([(); 4].map(|()| next(&pool, Greeting::Silent)), [Some(4), Some(2), Some(1), None]);
}

#[tokio::test]
async fn a_connection_is_used_for_what_it_began_with_only() {
    let (pool, local) = (pool(), Greeting::Local(Version::V1));
    rest(&pool, local, 1);
    rest(&pool, Greeting::Silent, 2);
    rest(&pool, local, 3);
    rest(&pool, Greeting::Silent, 4);
    assert_eq!([(); 3].map(|()| next(&pool, local)), [Some(3), Some(1), None]);
    assert_eq!([(); 3].map(|()| next(&pool, Greeting::Silent)), [Some(4), Some(2), None]);
}

#[tokio::test]
async fn the_oldest_makes_room() {
    let pool = pool();
    (1..=3).for_each(|since| rest(&pool, Greeting::Silent, since));
    pool.close_oldest();
    assert_eq!(next(&pool, Greeting::Silent), Some(3));
    pool.close_oldest();
    assert_eq!(pool.idle(), 0);
    rest(&pool, Greeting::Silent, 4);
    pool.close_oldest();
    assert_eq!(pool.idle(), 0, "the newest is the oldest where it is the only one");
}

#[tokio::test]
async fn what_has_rested_for_too_long_is_closed() {
    let pool = pool();
    let longest = pool.longest_idle();
    rest(&pool, Greeting::Silent, 0);
    rest(&pool, Greeting::Silent, 1);
    pool.tidy(Millis(longest - 1));
    assert_eq!(pool.idle(), 2);
    pool.tidy(Millis(longest));
    assert_eq!(next(&pool, Greeting::Silent), Some(1));
    rest(&pool, Greeting::Silent, 2);
    pool.tidy(Millis(longest + 2));
    assert_eq!(pool.idle(), 0);
}
