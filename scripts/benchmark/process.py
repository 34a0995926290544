"""Processes that run for the length of a block, each on its cores, and are ended by their own id."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time

from . import machine

WAIT_SECONDS = 30


@contextlib.contextmanager
def running(command, log, port, cores, environment=None):
    """The process, from the moment its port accepts until the block ends."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        # A listener that was left over would share the port and falsify every figure.
        raise SystemExit("bench: port %d is taken" % port)
    with open(log, "a") as output:
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, **(environment or {})}, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    try:
        until_it_accepts(process, port, log)
        yield process
    finally:
        end(process)


def until_it_accepts(process, port, log):
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError("%s does not accept: %s" % (process.args[0], pathlib.Path(log).read_text()[-1500:]))
        time.sleep(0.02)


class StartError(Exception):
    """A process that ended or did not accept in time; the text has the end of its log."""


def end(process):
    """SIGTERM, and SIGKILL to whoever is left of it and its children after a while."""
    children = machine.family(process.pid)[1:]
    process.terminate()
    try:
        process.wait(WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def output(command, cores, seconds):
    """What a command prints, both streams together; it has this long."""
    done = subprocess.run(
        list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=seconds, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    return done.stdout
