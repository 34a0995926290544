"""Reloads of 10,000 routes while requests come at a constant rate."""

import http.client
import statistics
import threading
import time

from .. import load, machine
from . import common, routes

COUNT, RATE, RELOADS = 10_000, 5_000, 10
MOST_MS, MOST_RATIO = 100, 2.0
# Time without reloads before the first, and between two.
QUIET_SECONDS, PAUSE_SECONDS = 4, 0.7
# A request that begins so shortly after a reload still feels it.
AFTER_MICROSECONDS = 5_000


def control_ms(one):
    """CPU milliseconds of all threads but the workers, also of those that have ended."""
    return (machine.process_ns(one.pid) - machine.thread_ns(one.pid, common.WORKER)) / 1e6


def reload(one):
    """Asks for one; (begin, end) in microseconds since the epoch."""
    begin = time.time()
    connection = http.client.HTTPConnection("127.0.0.1", one.ports["admin"], timeout=30)
    connection.request("POST", "/reload")
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit("bench: the reload was refused: %s" % answer.read()[:500])
    return begin * 1e6, time.time() * 1e6


def edit(file, number):
    """Another path for one of the routes."""
    text = file.read_text()
    old = 'path = "/p%d/' % (COUNT % routes.PATHS)
    at = text.rindex(old)
    file.write_text(text[:at] + old + "v%d" % number + text[text.index("/*", at):])


def measure(site, tools, rounds, seconds):
    with common.tidegate(site, "reload", routes.configuration(COUNT)) as one:
        spans, used, file = [], [], site.directory / "reload" / "proxy.toml"

        def reloads():
            time.sleep(QUIET_SECONDS)
            for number in range(RELOADS):
                edit(file, number)
                before = control_ms(one)
                spans.append(reload(one))
                # What was replaced is dropped a moment later.
                time.sleep(PAUSE_SECONDS)
                used.append(control_ms(one) - before)

        thread = threading.Thread(target=reloads)
        thread.start()
        length = QUIET_SECONDS + round(RELOADS * (PAUSE_SECONDS + 0.3)) + 1
        outcome = tools.paced("http://127.0.0.1:%d/p1/x" % one.ports["http"], length, RATE, host="h1.example.com")
        thread.join()
    return rows(outcome, spans, used)


def rows(outcome, spans, used):
    first = min(begin for begin, _ in spans)
    before = [latency for start, latency in outcome.timeline if start + latency < first]
    during = [latency for start, latency in outcome.timeline
              if any(begin < start + latency and start < end + AFTER_MICROSECONDS for begin, end in spans)]
    times = sorted((end - begin) / 1e3 for begin, end in spans)
    p99 = [load.percentile(before, 0.99), load.percentile(during, 0.99)]
    return [
        common.row("a reload of 10,000 routes, one changed, under 5,000 requests/s", "%d ms (%d to %d, %d reloads)" % (
            statistics.median(times), times[0], times[-1], len(times)), "at most %d ms" % MOST_MS),
        common.row("CPU time of such a reload, beside the workers'", "%d ms" % statistics.mean(used)),
        common.row("p99 of a request, before and during reloads", "%d and %d µs, ×%.1f" % (*p99, p99[1] / p99[0]), "at most ×%d" % MOST_RATIO),
        common.row("requests that failed during reloads", str(outcome.failed), "0")]
