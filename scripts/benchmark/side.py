"""Side by side: what a request costs each proxy, in rounds in which all take turns."""

import dataclasses
import statistics
import sys
import typing

from . import load, machine, peers

GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers", "-d")
UPLOAD = 'wrk.method = "POST"\nwrk.body = string.rep("x", 65536)\n'
CLOSE = 'wrk.headers["Connection"] = "close"\n'
# A message of gRPC: not compressed, 20 bytes.
CALL = b"\0\0\0\0\x14" + b"x" * 20


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One row of the table."""
    name: str
    text: str
    # Generator that it needs, as an attribute of `load.Generators`.
    tool: str
    run: typing.Callable
    needs_nginx: bool = False


def wrk(listener, path, connections, script=""):
    return lambda tools, one, seconds: tools.wrk(one.url(listener, path), seconds, connections, script)


def grpc(tools, one, seconds):
    call = tools.directory / "call"
    call.write_bytes(CALL)
    return tools.h2load(one.url("h2c", "/echo.Echo/Call"), seconds, 16, 32, (*GRPC, call))


SCENARIOS = {scenario.name: scenario for scenario in (
    Scenario("h1-small", "HTTP/1.1, 200 B, 64 connections", "wrk_program", wrk("http", "/", 64)),
    Scenario("h1-10k", "HTTP/1.1, 10 KiB", "wrk_program", wrk("http", "/10k", 64)),
    Scenario("h1-1m", "HTTP/1.1, 1 MiB", "wrk_program", wrk("http", "/1m", 16)),
    Scenario("h1-post", "HTTP/1.1, 64 KiB POST", "wrk_program", wrk("http", "/upload", 32, UPLOAD), needs_nginx=True),
    Scenario("h1-churn", "HTTP/1.1, a connection a request", "wrk_program", wrk("http", "/", 32, CLOSE)),
    Scenario("tls-small", "TLS 1.3, 200 B, 64 connections", "wrk_program", wrk("https", "/", 64)),
    Scenario("tls-1m", "TLS 1.3, 1 MiB", "wrk_program", wrk("https", "/1m", 16)),
    Scenario("tls-full", "TLS 1.3, full handshake a request", "openssl_program",
             lambda tools, one, seconds: tools.handshakes("127.0.0.1:%d" % one.ports["https"], "/", seconds)),
    Scenario("tls-resume", "TLS 1.3, resumed handshake a request", "wrk_program", wrk("https", "/", 32, CLOSE)),
    Scenario("h2-tls", "HTTP/2 over TLS, HTTP/1.1 upstream", "h2load_program",
             lambda tools, one, seconds: tools.h2load(one.url("https"), seconds, 16, 32)),
    Scenario("grpc", "gRPC, h2c to h2c", "h2load_program", grpc),
    Scenario("rate-5k", "HTTP/1.1 at 5,000 requests/s", "rustc_program",
             lambda tools, one, seconds: tools.paced(one.url("http"), seconds, 5000)),
)}


def measure(site, tools, chosen, names, rounds, seconds):
    """The rows of the scenarios; those that cannot be run here are named."""
    rows = []
    with site.endpoints(), peers.started(site, chosen) as up:
        for name in names:
            scenario = SCENARIOS[name]
            if not getattr(tools, scenario.tool):
                print("bench: %s is left out: its load generator is not installed" % name, file=sys.stderr)
            elif scenario.needs_nginx and not site.nginx:
                print("bench: %s is left out: it needs nginx as endpoints" % name, file=sys.stderr)
            else:
                rows.append(row(scenario, tools, up, rounds, seconds))
                print("bench: %s" % summary(rows[-1]), file=sys.stderr)
    return rows


def row(scenario, tools, up, rounds, seconds):
    costs, failed = {one.name: [] for one in up}, {}
    for one in up:
        turn(scenario, tools, one, 1)  # warm up
    for _ in range(rounds):
        for one in up:
            microseconds, outcome = turn(scenario, tools, one, seconds)
            costs[one.name].append(microseconds)
            if outcome.failed:
                failed[one.name] = failed.get(one.name, 0) + outcome.failed
    return summarise(scenario, {name: each for name, each in costs.items() if all(each)}, failed)


def turn(scenario, tools, one, seconds):
    """(CPU microseconds a request, what was answered); 0 when nothing was."""
    before = machine.cpu_ns(one.pid)
    try:
        outcome = scenario.run(tools, one, seconds)
    except load.LoadError as error:
        print("bench: %s, %s: %s" % (scenario.name, one.name, error), file=sys.stderr)
        return 0, load.Outcome(0, 1)
    used = (machine.cpu_ns(one.pid) - before) / 1e3
    return (used / outcome.requests if outcome.requests else 0), outcome


def summarise(scenario, costs, failed):
    base = costs.get("nginx")
    found = {
        "name": scenario.name, "text": scenario.text,
        "cpu_us": {name: round(statistics.median(each), 1) for name, each in costs.items()},
        "ratio": {name: round(statistics.median(a / b for a, b in zip(each, base)), 2) for name, each in costs.items()} if base else {},
        "spread_percent": spread(costs.get("tidegate", [])),
    }
    return {**found, "failed": failed} if failed else found


def spread(values):
    """The distance of the largest from the smallest, in percent of the median."""
    return round((max(values) - min(values)) / statistics.median(values) * 100) if values else 0


def summary(one):
    return one["text"] + ": " + ", ".join("%s %.1f µs" % pair for pair in one["cpu_us"].items()) + (
        "; failed: %s" % one["failed"] if one.get("failed") else "")
