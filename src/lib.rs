//! tidegate: a Layer-7 reverse proxy and load balancer.
//!
//! Data flows one way, text → [`config`] → [`snapshot`] → request, and imports go one way:
//! a module may use modules of a smaller layer only, never a neighbour of its own layer.
//! `tests/architecture.rs` enforces the list below; it reads it from these lines.
//!
//! | layer | modules | what lives there |
//! |---|---|---|
//! | L0 | units tagged clock http observe terminal aside | newtypes, message types and rules, logs and metrics, text for people, work beside the requests |
//! | L1 | h1 net endpoint watch | sans-io HTTP/1.1 codec; sockets, TLS, names in the DNS; one address and its counters; changes of files |
//! | L2 | balance discovery health middleware route | families: a trait and its settings in `mod.rs`, one file per member |
//! | L3 | config | proxy.toml as written, one file per table |
//! | L4 | upstream | endpoints + balancer + health + budget |
//! | L5 | snapshot | everything that a request needs, immutable, names resolved to pointers |
//! | L6 | proxy | the hot path |
//! | L7 | server admin | who calls the hot path; who looks at it |
//! | L8 | app demo | start, reload, drain; services to try it with |
//! | L9 | cli | the commands |
//!
//! # The walk of a request
//!
//! 1. `server/accept.rs` takes a connection, `server/proxied.rs` its PROXY header, `net/tls.rs` its
//!    handshake, each with a deadline.
//! 2. `server/h1.rs` or `server/h2.rs` reads a head; `http/validate.rs` refuses what is not strict.
//! 3. `proxy/mod.rs` pins the snapshot and asks `route/mod.rs` for the route.
//! 4. Middlewares see the [`http::exchange::Exchange`] in order.
//! 5. `proxy/forward.rs` holds the deadline and the retry loop, `upstream` picks an endpoint.
//! 6. `proxy/attempt.rs` sends the request and streams both ways through `proxy/pump.rs`; an upgrade
//!    or CONNECT becomes a tunnel through the same pumps.
//! 7. The outcome goes to `health/outlier.rs`, the metrics and the access log.

pub mod aside;
pub mod clock;
pub mod http;
pub mod observe;
pub mod tagged;
pub mod terminal;
pub mod units;

pub mod endpoint;
pub mod h1;
pub mod net;
pub mod watch;

pub mod balance;
pub mod discovery;
pub mod health;
pub mod middleware;
pub mod route;

pub mod config;

pub mod upstream;

pub mod snapshot;

pub mod proxy;

pub mod admin;
pub mod server;

pub mod app;
pub mod demo;

pub mod cli;
