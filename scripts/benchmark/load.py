"""The load generators, and what each of them is made to say: requests, failures, latencies."""

import collections
import dataclasses
import pathlib
import re
import subprocess
import urllib.parse

from . import machine, process

# What they may take beyond the time that they were told.
GRACE_SECONDS = 60

# wrk speaks of its errors only to a script; a script with nothing but done() costs nothing a request.
WRK_REPORT = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("answered %d failed %d in %d\\n", summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, summary.duration))
end
"""


@dataclasses.dataclass
class Outcome:
    """What a load was answered."""
    requests: int
    failed: int
    # Of each request in microseconds with its start since the epoch, where the generator tells.
    timeline: list = dataclasses.field(default_factory=list)


class LoadError(Exception):
    """A generator that did not say what is expected of it."""


class Generators:
    """Those that are installed, on the core that is theirs."""

    def __init__(self, directory, cores):
        self.directory, self.cores = directory, cores
        self.wrk_program = machine.find("WRK", "wrk")
        self.h2load_program = machine.find("H2LOAD", "h2load")
        self.openssl_program = machine.find("OPENSSL", "openssl")
        self.rustc_program = machine.find("RUSTC", "rustc")  # for one of our own

    def versions(self):
        found = {}
        for name, program, option in (("wrk", self.wrk_program, "-v"), ("h2load", self.h2load_program, "--version"),
                                      ("openssl", self.openssl_program, "version")):
            match = program and re.search(r"\d+\.\d+[.\d]*\w*", process.output([program, option], self.cores, 10))
            if match:
                found[name] = match[0]
        return found

    def wrk(self, url, seconds, connections, script=""):
        """HTTP/1.1 as fast as it goes; `script` is Lua that says what to ask for."""
        path = pathlib.Path(self.directory, "wrk.lua")
        path.write_text(script + WRK_REPORT)
        command = [self.wrk_program, "-t1", "-c%d" % connections, "-d%ds" % seconds, "-s", path, url]
        said = process.output(command, self.cores, seconds + GRACE_SECONDS)
        match = re.search(r"^answered (\d+) failed (\d+) in \d+$", said, re.MULTILINE)
        if not match:
            raise LoadError(said[-500:])
        return Outcome(int(match[1]), int(match[2]))

    def h2load(self, url, seconds, connections, streams, options=()):
        """HTTP/2 as fast as it goes."""
        command = [self.h2load_program, "-t1", "-c%d" % connections, "-m%d" % streams, "-D%d" % seconds, *options, url]
        said = process.output(command, self.cores, seconds + GRACE_SECONDS)
        match = re.search(r"(\d+) succeeded, (\d+) failed", said)
        good = re.search(r"status codes: (\d+) 2xx", said)
        if not match or not good:
            raise LoadError(said[-500:])
        # What is under way when the time is up counts as failed and is not the proxy's doing.
        failed = max(0, int(match[2]) - connections * streams) + max(0, int(match[1]) - int(good[1]))
        return Outcome(int(good[1]), failed)

    def paced(self, url, seconds, rate, host="localhost", connections=64):
        """HTTP/1.1 at a constant rate, evenly spread, with the time of each request; up to some 15,000 a second."""
        parts = urllib.parse.urlsplit(url)
        path = pathlib.Path(self.directory, "requests.log")
        command = [self.pace(), parts.netloc, host, parts.path or "/", rate, connections, seconds, path]
        said = process.output(command, self.cores, seconds + GRACE_SECONDS)
        if not path.exists():
            raise LoadError(said[-500:])
        return timed(path)

    def bursts(self, url, seconds, rate, connections=64):
        """HTTP/1.1 at a constant rate that is too high for `paced`: what is due is sent each millisecond."""
        path = pathlib.Path(self.directory, "requests.log")
        command = [self.h2load_program, "--h1", "-t1", "-c%d" % connections, "-n%d" % (rate * seconds), "--rps=%g" % (rate / connections),
                   # Connections begin one after the other, or all of them would send at the same moment.
                   "-r%d" % max(1, rate // 1000), "--rate-period=1ms", "--log-file=%s" % path, url]
        said = process.output(command, self.cores, seconds * 10 + GRACE_SECONDS)
        if not path.exists():
            raise LoadError(said[-500:])
        outcome = timed(path)
        outcome.timeline = list(with_those_not_sent(outcome.timeline, connections * 1e6 / rate))
        return outcome

    def pace(self):
        """The generator of `paced`, compiled when it has changed."""
        source, binary = pathlib.Path(__file__).with_name("pace.rs"), machine.CACHE / "pace"
        if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
            machine.CACHE.mkdir(parents=True, exist_ok=True)
            new = binary.with_suffix(".new")
            subprocess.run([self.rustc_program, "--edition", "2024", "-O", "-o", new, source], check=True)
            new.rename(binary)
        return binary

    def handshakes(self, address, path, seconds, clients=8):
        """A full TLS handshake for each request; the generator's clock has whole seconds, and it wants two of them."""
        command = [self.openssl_program, "s_time", "-new", "-connect", address, "-www", path, "-time", str(max(2, seconds))]
        pinned = ["taskset", "-c", ",".join(map(str, self.cores))] + command
        started = [subprocess.Popen(pinned, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                   for _ in range(clients)]
        said = [one.communicate(timeout=seconds + GRACE_SECONDS)[0] for one in started]
        counts = collections.Counter()
        for text in said:
            match = re.search(r"^(\d+) connections in \d+ real seconds, (\d+) bytes", text, re.MULTILINE)
            if not match:
                raise LoadError(text[-500:])
            # A refusal is shorter than the answer of 200 bytes.
            counts["failed" if int(match[2]) < 200 else "good"] += int(match[1])
        return Outcome(counts["good"], counts["failed"])


def timed(path):
    """The outcome that a file of start, status and microseconds tells; the file goes."""
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    path.unlink()
    timeline = sorted((int(row[0]), int(row[2])) for row in rows if row[1].startswith("2"))
    return Outcome(len(timeline), len(rows) - len(timeline), timeline)


def percentile(latencies, share):
    """The value that this share of them does not pass."""
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def with_those_not_sent(timeline, interval):
    """A client that waits for a late answer does not send what was due meanwhile; those requests would have waited for
    the rest of that time, and count."""
    for start, latency in timeline:
        while latency > 0:
            yield start, latency
            latency -= interval
