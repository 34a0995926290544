//! The proxy as its users meet it: the real binary, real sockets, endpoints that misbehave on
//! purpose. Every test starts its own proxy, so that all run side by side.

#![allow(clippy::panic, reason = "a helper of a test fails as the test does")]

mod harness;

mod clients;
mod command;
mod corpus;
mod discovery;
mod drain;
mod failover;
mod fleet;
mod forwarding;
mod grpc;
mod health;
mod http2;
mod http2_memory;
mod limits;
mod logs;
mod messages;
mod metrics;
mod net_rpc;
mod odd_clients;
mod proxy_protocol;
mod refusals;
mod reload;
mod responses;
mod routing;
mod sockets;
mod streaming;
mod tcp;
mod timeouts;
mod tls;
mod tls_clients;
mod tls_endpoints;
mod tls_ports;
mod tunnels;
mod upstream_tls;
