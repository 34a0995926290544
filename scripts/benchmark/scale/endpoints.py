"""3 to 10,000 endpoints of one upstream, each an address of its own in 127.0.0.0/8 that somebody listens on."""

import contextlib

from .. import machine, peers, process
from . import common

SIZES = (3, 100, 1_000, 10_000)
TARGETS = {10_000: 1.10}
# Their sockets and connections are below the usual limits of descriptors.
EACH_PROCESS = 2_500

NGINX = """
daemon off;
worker_processes 1;
pid @directory@/many-@number@.pid;
error_log stderr crit;
events { worker_connections 16384; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path @directory@/many-body; proxy_temp_path @directory@/many-proxy;
  fastcgi_temp_path @directory@/many-fastcgi; uwsgi_temp_path @directory@/many-uwsgi; scgi_temp_path @directory@/many-scgi;
  server {
    @listen@
    location / { return 200 "@small@"; }
  }
}
"""
TIDEGATE = """
[server]
workers = 1
[listener.many]
bind = [@listen@]
limits = { idle_timeout = "600s" }
[[route]]
respond = { body = "@small@" }
"""


def addresses(port):
    """As many as the largest size needs: 127.1.0.1 and so on, all with this port."""
    return ["127.1.%d.%d:%d" % (number // 250, number % 250 + 1, port) for number in range(max(SIZES))]


@contextlib.contextmanager
def listening(site, all_addresses, port):
    """Processes that answer at all these addresses; the first of each is 127.0.0.1, by which one sees that it has begun."""
    with contextlib.ExitStack() as stack:
        processes = -(-len(all_addresses) // EACH_PROCESS)
        for number in range(processes):
            # Neighbours belong to different processes: to wake several costs more, for few endpoints as for many.
            own_addresses = all_addresses[number::processes]
            own = machine.free_ports(["seen"])["seen"]
            served = ["127.0.0.1:%d" % own, *own_addresses]
            listen = "\n".join("listen %s;" % one for one in served) if site.nginx else ", ".join('"%s"' % one for one in served)
            file = site.directory / ("many-%d" % number)
            values = {"directory": site.directory, "number": number, "listen": listen}
            file.write_text(site.fill(NGINX if site.nginx else TIDEGATE, values))
            command = [site.nginx, "-p", site.directory, "-c", file] if site.nginx else \
                [peers.program(peers.PEERS["tidegate"]), "run", "--config", file]
            stack.enter_context(process.running(command, site.directory / "many.log", own, site.cores[1]))
        yield


def configuration(some_addresses):
    listed = ", ".join('"%s"' % one for one in some_addresses)
    return common.PROCESS + '[[route]]\nto = "many"\n[upstream.many]\nendpoints = [%s]\n' % listed


def measure(site, tools, rounds, seconds):
    port = machine.free_ports(["many"])["many"]
    all_addresses = addresses(port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(listening(site, all_addresses, port))
        running = {size: stack.enter_context(common.tidegate(site, "endpoints-%d" % size, configuration(all_addresses[:size])))
                   for size in SIZES}
        memory = {size: machine.resident_kib(one.pid) for size, one in running.items()}

        def turn(size, length=seconds):
            one = running[size]
            return common.cost(one, lambda: tools.wrk(one.url("http"), length, 64))

        for size in SIZES:
            turn(size, 1 + size // 1_250)  # until most of them have a connection that is kept
        found = common.costs(turn, SIZES, rounds)
    return common.cost_rows("a request with endpoints (p2c)", found, TARGETS) + [
        common.row("memory of an endpoint", "%.2f KiB" % common.slope(memory, 100, 10_000))]
