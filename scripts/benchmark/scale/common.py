"""What the parts share: a tidegate of each size, turns among them, and rows."""

import contextlib
import statistics

from .. import machine, peers, process, side

UPSTREAM = """
[upstream.fleet]
endpoints = ["127.0.0.1:@one@", "127.0.0.1:@two@", "127.0.0.1:@three@", "127.0.0.1:@four@"]
balance = "round_robin"
"""
# The threads that serve; what the others do does not grow with the requests and has rows of its own.
WORKER = "worker-"
# Reloads happen when they are asked for.
PROCESS = """
[server]
workers = @workers@
max_connections = 19000
[admin]
bind = "127.0.0.1:@admin@"
[reload]
watch = false
[listener.web]
bind = "127.0.0.1:@http@"
"""


@contextlib.contextmanager
def tidegate(site, name, configuration, cores=None, workers=1):
    """A tidegate with this configuration, of which `@names@` are filled in."""
    directory = site.directory / name
    directory.mkdir(exist_ok=True)
    ports = machine.free_ports(("http", "https", "admin"))
    file = directory / "proxy.toml"
    file.write_text(site.fill(configuration, {**ports, "workers": workers}))
    command = [peers.program(peers.PEERS["tidegate"]), "run", "--config", file]
    with process.running(command, directory / "log", ports["http"], cores or site.cores[0]) as started:
        yield peers.Running(name, started.pid, ports)


def costs(turns, sizes, rounds):
    """CPU microseconds of each size in each round; `turns(size)` measures one."""
    found = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            found[size].append(turns(size))
    return found


def cost(one, run):
    """CPU microseconds of the workers a request of one turn, all of whose requests must be answered."""
    before = machine.thread_ns(one.pid, WORKER)
    outcome = run()
    if outcome.failed or not outcome.requests:
        raise SystemExit("bench: %s: %d of %d requests failed" % (one.name, outcome.failed, outcome.requests + outcome.failed))
    return (machine.thread_ns(one.pid, WORKER) - before) / 1e3 / outcome.requests


def cost_rows(what, found, most):
    """A row for each size; the target is a ratio to the smallest, where there is one."""
    base, *others = found
    rows = [row("%s: %s" % (what, "{:,}".format(base)), figure(found[base]), "–")]
    for size in others:
        ratio = statistics.median(a / b for a, b in zip(found[size], found[base]))
        rows.append(row("%s: %s" % (what, "{:,}".format(size)), "%s, ×%.2f" % (figure(found[size]), ratio),
                        "×%.2f" % most.get(size) if size in most else "–"))
    return rows


def figure(values):
    return "%.1f µs (spread %d %%)" % (statistics.median(values), side.spread(values))


def slope(memory, small, large):
    """KiB that each thing more takes."""
    return (memory[large] - memory[small]) / (large - small)


def row(text, measured, target="–"):
    return {"text": text, "measured": measured, "target": target}
