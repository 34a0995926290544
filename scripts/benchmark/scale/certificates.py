"""1 to 10,000 certificates of one listener, chosen by SNI: ECDSA on P-256, each with a key of its own."""

import concurrent.futures
import contextlib
import random
import socket
import ssl
import time

from .. import load, machine, process
from . import common

SIZES = (1, 100, 1_000, 10_000)
TARGETS = {10_000: 1.10}


def made(openssl, count):
    """Pairs of files, made once and kept in the cache."""
    directory = machine.CACHE / "certificates"
    directory.mkdir(parents=True, exist_ok=True)

    def make(number):
        certificate, key = directory / ("%d.pem" % number), directory / ("%d.key" % number)
        if not certificate.exists():
            name = "c%d.example.com" % number
            new = certificate.with_suffix(".new")
            process.output(
                [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
                 "-subj", "/CN=" + name, "-addext", "subjectAltName=DNS:" + name, "-keyout", key, "-out", new],
                set().union(*machine.cores()), 60)
            new.rename(certificate)
        return certificate, key

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(make, range(count)))


def configuration(pairs):
    listed = ",\n".join('{ cert = "%s", key = "%s" }' % pair for pair in pairs)
    secure = '[listener.secure]\nbind = "127.0.0.1:@https@"\n[listener.secure.tls]\ncertificates = [\n%s\n]\n' % listed
    return common.PROCESS + secure + '[[route]]\nto = "fleet"\n' + common.UPSTREAM


def handshakes(port, count, seconds, seed):
    """Full handshakes one after the other, each for one of the names, and a check that it is the name's certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    chance, done, deadline = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        name = "c%d.example.com" % chance.randrange(count)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, \
                context.wrap_socket(plain, server_hostname=name) as secure:
            if name.encode() not in secure.getpeercert(binary_form=True):
                raise SystemExit("bench: %s got the certificate of another name" % name)
        done += 1
    return load.Outcome(done, 0)


def measure(site, tools, rounds, seconds):
    pairs = made(tools.openssl_program, max(SIZES))
    with contextlib.ExitStack() as stack:
        running, starts = {}, {}
        for size in SIZES:
            begun = time.monotonic()
            running[size] = stack.enter_context(common.tidegate(site, "certificates-%d" % size, configuration(pairs[:size])))
            starts[size] = time.monotonic() - begun
        memory = {size: machine.resident_kib(one.pid) for size, one in running.items()}

        def turn(size, length=seconds):
            one = running[size]
            return common.cost(one, lambda: handshakes(one.ports["https"], size, length, seed=size))

        for size in SIZES:
            turn(size, 1)  # warm up
        follow = following(running[10_000], seconds)
        found = common.costs(turn, SIZES, rounds)
    return common.cost_rows("a full handshake with certificates", found, TARGETS) + [
        common.row("memory of a certificate", "%.2f KiB" % common.slope(memory, 100, 10_000)),
        common.row("start with 10,000 certificates", "%.2f s" % starts[10_000]),
        common.row("looking for changes of 10,000 certificates", "%.0f ms of CPU a second" % follow)]


def following(one, seconds):
    """CPU milliseconds a second of a process that has nothing to serve."""
    before = machine.cpu_ns(one.pid)
    time.sleep(2 * seconds)
    return (machine.cpu_ns(one.pid) - before) / 1e6 / (2 * seconds)
