"""Added latency: what a request takes through a proxy less what it takes without, at a rate that the proxy can serve.

Load comes at a constant rate whatever the answers do; what could not be sent in time counts with the time that it waited.
5,000 requests a second are evenly spread; the higher rate comes in bursts of a millisecond, in which requests queue.
"""

import statistics
import sys

from . import load, machine, peers, side

# Share of what one core of the proxy can serve.
SHARE = 0.7
LOADS = {"rate-5k": "5,000 requests/s", "share-70": "70 % of one core"}


def measure(site, tools, chosen, names, rounds, seconds):
    """A row for each load and proxy; all in microseconds."""
    if not (tools.h2load_program and tools.wrk_program and tools.rustc_program):
        raise SystemExit("bench: latency needs wrk, h2load and rustc; WRK, H2LOAD and RUSTC name them")
    rows = []
    with site.endpoints() as direct, peers.started(site, chosen) as up:
        for name in names:
            if name == "rate-5k":
                generator, rates = tools.paced, {one.name: 5000 for one in up}
            else:
                generator, rates = tools.bursts, {one.name: int(SHARE * saturation(tools, one, seconds)) for one in up}
            for one in up:
                percentiles(generator, one, 1, rates[one.name])  # warm up
            turns = {one.name: [] for one in up}
            for _ in range(rounds):
                for one in up:
                    turns[one.name].append(turn(site, generator, direct, one, rates[one.name], seconds))
            rows += [row(LOADS[name], one.name, turns[one.name]) for one in up]
            for one in rows[-len(up):]:
                print("bench: %(load)s, %(peer)s: p50 +%(added_p50)d µs, p99 +%(added_p99)d µs" % one, file=sys.stderr)
    return rows


def saturation(tools, one, seconds):
    """Requests a second that one core can serve: from the CPU time of a request when it is busy."""
    cost, outcome = side.turn(side.SCENARIOS["h1-small"], tools, one, seconds)
    if not outcome.requests:
        raise SystemExit("bench: %s did not answer" % one.name)
    return 1e6 / cost


def turn(site, generator, direct, one, rate, seconds):
    """Without the proxy, then with it, at the same rate."""
    without = percentiles(generator, direct, seconds, rate)
    before = machine.busy(site.cores[1])
    through = percentiles(generator, one, seconds, rate)
    after = machine.busy(site.cores[1])
    return {"direct": without, "through": through, "load_core": (after[0] - before[0]) / max(1, after[1] - before[1])}


def percentiles(generator, one, seconds, rate):
    """p50 and p99 in microseconds, and the rate that was reached."""
    outcome = generator(one.url("http"), seconds, rate)
    if outcome.failed or not outcome.requests:
        raise SystemExit("bench: %s failed %d of %d requests" % (one.name, outcome.failed, outcome.failed + outcome.requests))
    latencies = [latency for _, latency in outcome.timeline]
    reached = outcome.requests * 1e6 / max(1, outcome.timeline[-1][0] - outcome.timeline[0][0])
    return {"p50": load.percentile(latencies, 0.5), "p99": load.percentile(latencies, 0.99), "rate": reached}


def row(text, peer, turns):
    found = {"load": text, "peer": peer, "rate": round(statistics.median(one["through"]["rate"] for one in turns)),
             "load_core_percent": round(100 * statistics.median(one["load_core"] for one in turns))}
    for name in ("p50", "p99"):
        added = [one["through"][name] - one["direct"][name] for one in turns]
        found["direct_" + name] = round(statistics.median(one["direct"][name] for one in turns))
        found["added_" + name] = round(statistics.median(added))
        found["spread_" + name] = round(max(added) - min(added))
    return found
