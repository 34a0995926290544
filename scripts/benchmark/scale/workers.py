"""One worker and two: what a request costs, and how many are served.

On a machine of two cores the load and the endpoints need their part of both, so requests a second do not show what a
second worker gives. What can be seen is whether workers stand in each other's way: a request would cost more with two.
"""

import contextlib
import statistics

from . import common


def measure(site, tools, rounds, seconds):
    both = set().union(*site.cores)
    configuration = common.PROCESS + '[[route]]\nto = "fleet"\n' + common.UPSTREAM
    answered = {1: [], 2: []}
    with contextlib.ExitStack() as stack:
        running = {count: stack.enter_context(common.tidegate(site, "workers-%d" % count, configuration, both, workers=count))
                   for count in answered}

        def turn(count):
            one = running[count]
            outcome = None

            def run():
                nonlocal outcome
                outcome = tools.wrk(one.url("http"), seconds, 64)
                return outcome

            cost = common.cost(one, run)
            answered[count].append(outcome.requests / seconds)
            return cost

        for count in answered:
            turn(count)  # warm up
            answered[count].clear()
        found = common.costs(turn, answered, rounds)
    ratio = statistics.median(two / one for one, two in zip(found[1], found[2]))
    return common.cost_rows("a request with workers, nothing pinned", found, {}) + [
        common.row("requests a second with 1 and 2 workers, load on the same two cores", "{:,.0f} and {:,.0f}".format(
            *(statistics.median(answered[count]) for count in (1, 2)))),
        common.row("throughput of two workers by their CPU time", "×%.2f" % (2 / ratio), "×1.8")]
