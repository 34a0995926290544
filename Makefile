# `make` lists what there is. Needs a Rust toolchain; `make provision` gets the rest.

CARGO ?= cargo
# nextest when it is installed, else cargo.
TEST_RUNNER ?= $(if $(shell command -v cargo-nextest),nextest,cargo)
# The optional parts that the shipped binary has.
FEATURES ?= kubernetes
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
BINARY := $(TARGET)/release/tidegate

# Where `make install` puts things.
DESTDIR ?=
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system

export SUITES ?= ../shared/suites

.DEFAULT_GOAL := help
.PHONY: help demo demo-dns demo-consul demo-etcd demo-docker demo-kubernetes image run test check suites fuzz cost bench \
	bench-latency bench-scale microbench pgo release install provision fixtures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: release ## build, then show the proxy at work with endpoints of its own
	$(BINARY) demo

demo-dns: release fixtures ## endpoints that come and go in a DNS zone, with knot (CHECK=1: only check)
	scripts/demo-dns $(if $(CHECK),--check)
demo-docker: release fixtures ## tidegate before containers that come and go (CHECK=1: try it and end); needs root
	scripts/demo-docker $(if $(CHECK),--check) $(BINARY)

image: ## the container image (CHECK=1: in a daemon of its own, and try it; AUTHORITIES=file of those to believe)
	scripts/image $(if $(CHECK),--check) $(if $(AUTHORITIES),--authorities $(AUTHORITIES))

ifeq ($(filter run,$(MAKECMDGOALS))$(CONFIG),run)
$(error which configuration? make run CONFIG=proxy.toml)
endif

demo-consul demo-etcd: demo-%: release fixtures
	scripts/demo-registry $* $(if $(CHECK),--check)
demo-consul: ## a service of a real Consul that grows and shrinks (CHECK=1: only check)
demo-etcd: ## the same with a real etcd
demo-kubernetes: release fixtures ## a Service of Kubernetes that grows and shrinks, with a real API server (CHECK=1: only check)
	scripts/demo-kubernetes $(if $(CHECK),--check)

run: release ## build, then run CONFIG=proxy.toml
	$(BINARY) run --config $(CONFIG)

test: provision fixtures ## all tests, with the real components
	scripts/go vet ./...
	scripts/go test ./...
	scripts/cargo-test $(TEST_RUNNER)

check: ## format, lints, documentation, licences, scripts; no test
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --all-targets --features $(FEATURES) -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps --features $(FEATURES)
	scripts/check-tree

suites: release ## conformance checkers from outside the project (SUITES=directory), against the release binary
	scripts/suites

cost: release ## instructions, system calls and memory of a request, against their ceilings
	scripts/cost

fuzz: ## every fuzz target for 30 s (scripts/fuzz SECONDS TARGET… for more)
	scripts/fuzz

bench: release ## CPU time a request, beside the proxies that are installed (scripts/bench --help)
	scripts/bench

bench-latency: release ## the latency that each proxy adds, at fixed rates
	scripts/bench --latency

bench-scale: release ## many routes, endpoints, certificates, connections; reloads; two workers
	scripts/bench --scale

microbench: ## nanoseconds of codec, picking and routing, without a socket
	$(CARGO) bench

pgo: ## a release binary optimised by a training run, target/pgo/tidegate; takes twice as long
	scripts/pgo

release: ## the binary as it is shipped
	$(CARGO) build --release --features $(FEATURES)

install: release ## binary, units, example configuration into DESTDIR and PREFIX
	scripts/install $(BINARY)

provision: ## get what the tests need besides Rust (apt, pip); cached
	scripts/provision

fixtures: ## build the Go services that stand behind the proxy in tests
	scripts/build-fixtures

clean: ## remove what was built; the cache of provision stays
	$(CARGO) clean

export DESTDIR PREFIX SYSCONFDIR UNITDIR FEATURES
