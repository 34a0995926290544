"""The machine: its cores, what a process has used of it, and its name for the documents."""

import contextlib
import functools
import glob
import os
import pathlib
import platform
import re
import resource
import shutil
import socket

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = pathlib.Path(os.environ.get("TIDEGATE_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tidegate")


@functools.cache
def cores():
    """(of the proxies, of everything else), out of those that this process was begun with."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("bench: needs two cores, one for the proxy and one for everything else")
    return {allowed[0]}, {allowed[1]}


def find(variable, name):
    """The program that the environment names, else that of PATH; `None` when there is none."""
    given = os.environ.get(variable)
    if given and not shutil.which(given):
        raise SystemExit("bench: %s=%s is no program" % (variable, given))
    return given or shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def free_ports(names):
    """A free port on 127.0.0.1 for each name, below those that the system gives to clients where it can."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: sock.getsockname()[1] for name, sock in zip(names, sockets)}


def family(pid):
    """The process and all its descendants."""
    found, open_ends = [], [pid]
    while open_ends:
        one = open_ends.pop()
        found.append(one)
        for path in glob.glob("/proc/%d/task/*/children" % one):
            with contextlib.suppress(OSError):
                open_ends += map(int, pathlib.Path(path).read_text().split())
    return found


def cpu_ns(pid):
    """Nanoseconds on a core of all threads of a process and its descendants that live now."""
    total = 0
    for one in family(pid):
        for path in glob.glob("/proc/%d/task/*/schedstat" % one):
            with contextlib.suppress(OSError):
                total += int(pathlib.Path(path).read_text().split()[0])
    return total


def process_ns(pid):
    """Nanoseconds on a core of one process, with the threads that have ended; 10 ms exact."""
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def thread_ns(pid, prefix):
    """Nanoseconds on a core of the threads of one process whose names begin so."""
    total = 0
    for task in pathlib.Path("/proc/%d/task" % pid).iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().startswith(prefix):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def resident_kib(pid):
    """Resident memory of one process."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path("/proc/%d/status" % pid).read_text())[1])


def busy(core_set):
    """(busy, all) ticks of these cores since the start."""
    used, total = 0, 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        match = re.match(r"cpu(\d+) (.*)", line)
        if match and int(match[1]) in core_set:
            ticks = list(map(int, match[2].split()))
            used += sum(ticks[:3]) + sum(ticks[5:8])
            total += sum(ticks[:8])
    return used, total


def raise_descriptors():
    """As many descriptors as the hard limit allows, for this process and those it starts; says how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def prioritise(nice):
    """This process and those that it starts, before others: with autogroup scheduling a nice level counts only within a
    session, so it takes one of its own."""
    with contextlib.suppress(OSError):
        os.setsid()
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/autogroup").write_text(str(nice))
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except OSError as error:
        raise SystemExit("bench: --nice %d: %s" % (nice, error)) from error


def describe():
    """One line about the machine."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpu, re.MULTILINE)
    number = re.search(r"^cpu family\s*: (.*)$", cpu, re.MULTILINE)
    virtual = "virtual machine, " if re.search(r"^flags\s*:.*\bhypervisor\b", cpu, re.MULTILINE) else ""
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    release = pathlib.Path("/etc/os-release")
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', release.read_text() if release.exists() else "", re.MULTILINE)
    return "%s%d cores, %s%s, %d GiB, Linux %s%s" % (
        virtual, os.cpu_count(), model[1] if model else platform.machine(), " (family %s)" % number[1] if number else "",
        round(memory / (1 << 20)), os.uname().release, ", " + system[1] if system else "")
