"""1 to 10,000 routes on as many pairs of host and path, all of which are asked for."""

import contextlib

from .. import machine
from . import common

SIZES = (1, 100, 1_000, 10_000)
# Each host has so many paths.
PATHS = 10
TARGETS = {10_000: 1.10}

# A step that no size divides, so that neighbours are not asked for one after the other.
ASK = """
local requests, at = {}, 0
function init()
  for i = 0, COUNT - 1 do
    requests[i] = wrk.format("GET", "/p" .. i % PATHS .. "/x", { Host = "h" .. math.floor(i / PATHS) .. ".example.com" })
  end
end
function request()
  at = (at + 7919) % COUNT
  return requests[at]
end
"""


def configuration(count):
    """So many routes, all to the same endpoints."""
    routes = ('[[route]]\nname = "r%d"\nhost = "h%d.example.com"\npath = "/p%d/*"\nto = "fleet"\n' % (
        number, number // PATHS, number % PATHS) for number in range(count))
    return common.PROCESS + common.UPSTREAM + "".join(routes)


def ask(count):
    return ASK.replace("COUNT", str(count)).replace("PATHS", str(PATHS))


def measure(site, tools, rounds, seconds):
    with contextlib.ExitStack() as stack:
        running = {size: stack.enter_context(common.tidegate(site, "routes-%d" % size, configuration(size))) for size in SIZES}

        def turn(size, length=seconds):
            one = running[size]
            return common.cost(one, lambda: tools.wrk(one.url("http"), length, 64, ask(size)))

        for size in SIZES:
            turn(size, 1)  # warm up
        found = common.costs(turn, SIZES, rounds)
        # By now what reading the file took has been given back.
        memory = {size: machine.resident_kib(one.pid) for size, one in running.items()}
    return common.cost_rows("a request with routes", found, TARGETS) + [
        common.row("memory of a route", "%.2f KiB" % common.slope(memory, 100, 10_000))]
