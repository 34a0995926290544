"""18,000 client connections at once, each of which has made a request, and how two workers share them."""

import concurrent.futures
import contextlib
import pathlib
import re
import socket

from .. import machine
from . import common

COUNT = 18_000
# Both sides have a descriptor for each, and some for everything else.
RESERVE = 500
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
MOST_KIB = 2.0
LEAST_SHARE = 0.45


def per_worker(pid):
    """How many descriptors each event loop of the process watches, the largest two first."""
    counts = []
    for path in pathlib.Path("/proc/%d/fdinfo" % pid).iterdir():
        with contextlib.suppress(OSError):
            counts.append(len(re.findall(r"^tfd:", path.read_text(), re.MULTILINE)))
    return sorted(counts, reverse=True)[:2]


def ask(connection):
    """Whether it is answered."""
    connection.sendall(REQUEST)
    got = b""
    while not got.endswith(b"x" * 200):
        more = connection.recv(4096)
        if not more:
            return False
        got += more
    return got.startswith(b"HTTP/1.1 200")


def measure(site, tools, rounds, seconds):
    count = min(COUNT, machine.raise_descriptors() - RESERVE)
    both = set().union(*site.cores)
    configuration = common.PROCESS + '[[route]]\nto = "fleet"\n' + common.UPSTREAM
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(common.tidegate(site, "connections", configuration, both, workers=2))

        def opened(_):
            connection = socket.create_connection(("127.0.0.1", one.ports["http"]), timeout=30)
            return connection, ask(connection)

        def keep(count):
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                found = list(pool.map(opened, range(count)))
            return [stack.enter_context(connection) for connection, good in found], sum(good for _, good in found)

        kept, answered = keep(100)
        before = machine.resident_kib(one.pid)
        more, more_answered = keep(count - len(kept))
        memory = (machine.resident_kib(one.pid) - before) / len(more)
        shares = per_worker(one.pid)
        again = sum(ask(connection) for connection in kept + more)
    return [
        common.row("connections at once, each with an answered request, and a second one when all were open",
                   "{:,}, {:,}".format(answered + more_answered, again), "18,000"),
        common.row("their shares of two workers", " and ".join("{:,}".format(one) for one in shares), "none below 45 %"),
        common.row("memory of a connection", "%.2f KiB" % memory, "at most %.1f KiB" % MOST_KIB)]
