"""tidegate alone, with much of everything: what each further route, endpoint, certificate, connection and worker costs."""

import sys

from . import certificates, connections, endpoints, reload, routes, workers

PARTS = {
    "routes": routes.measure,
    "endpoints": endpoints.measure,
    "certificates": certificates.measure,
    "reload": reload.measure,
    "connections": connections.measure,
    "workers": workers.measure,
}


def measure(site, tools, names, rounds, seconds):
    """Rows of text, what was measured, and the target."""
    if not (tools.wrk_program and tools.rustc_program):
        raise SystemExit("bench: --scale needs wrk and rustc; WRK and RUSTC name them")
    rows = []
    with site.endpoints():
        for name in names:
            for row in PARTS[name](site, tools, rounds, seconds):
                rows.append(row)
                print("bench: %(text)s: %(measured)s (target %(target)s)" % row, file=sys.stderr)
    return rows
