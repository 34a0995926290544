"""What was measured, as Markdown tables, as docs/performance.json, and in the marked regions of docs/performance.md."""

import json
import pathlib
import re
import subprocess
import textwrap

from . import machine

DOCS = machine.REPOSITORY / "docs"


def facts(section):
    """The lines above a table: when, where, how."""
    said = ["%(date)s; %(machine)s; %(command)s." % section]
    if "endpoints" in section:
        said.append("Endpoints: %s." % section["endpoints"])
    if section.get("tools"):
        said.append("Load: %s." % ", ".join("%s %s" % pair for pair in section["tools"].items()))
    return textwrap.fill(" ".join(said), 120, break_on_hyphens=False)


def side_by_side(found):
    peers = list(found["versions"])
    lines = ["| scenario | %s | spread of tidegate |" % " | ".join("%s %s" % pair for pair in found["versions"].items()),
             "|---" * (len(peers) + 2) + "|"]
    for row in found["scenarios"]:
        cells = [cell(row, peer) for peer in peers]
        lines.append("| %s | %s | %d %% |" % (row["text"], " | ".join(cells), row["spread_percent"]))
    failures = ["%s: %s" % (row["text"], ", ".join("%s %d" % pair for pair in row["failed"].items()))
                for row in found["scenarios"] if row.get("failed")]
    if failures:
        lines += ["", "Requests that failed: %s." % "; ".join(failures)]
    return "\n".join([facts(found), "", *lines])


def cell(row, peer):
    cost, ratio = row["cpu_us"].get(peer), row["ratio"].get(peer)
    if cost is None:
        return "–"
    figure = "{:,.0f}".format(cost) if cost >= 100 else "%.1f" % cost
    return figure if ratio is None or peer == "nginx" else "%s (×%.2f)" % (figure, ratio)


def latency(found):
    section = found["latency"]
    lines = ["| load | proxy | requests/s | p50 direct | p50 added | p99 direct | p99 added | spread of p50, p99 | load core busy |",
             "|---" * 9 + "|"]
    for row in section["rows"]:
        lines.append("| %s | %s | %s | %d | **%d** | %d | **%d** | %d, %d | %d %% |" % (
            row["load"], row["peer"], "{:,}".format(row["rate"]), row["direct_p50"], row["added_p50"], row["direct_p99"],
            row["added_p99"], row["spread_p50"], row["spread_p99"], row["load_core_percent"]))
    return "\n".join([facts(section), "", *lines])


def scale(found):
    section = found["scale"]
    lines = ["| what | measured | target |", "|---|---|---|"]
    lines += ["| %s | %s | %s |" % (row["text"], row["measured"], row["target"]) for row in section["rows"]]
    return "\n".join([facts(section), "", *lines])


SECTIONS = {"side by side": ("scenarios", side_by_side), "latency": ("latency", latency), "scale": ("scale", scale)}


def tables(found):
    """All tables that there are figures for."""
    return {title: draw(found) for title, (key, draw) in SECTIONS.items() if key in found}


def with_tables(text, found):
    """The document with each region `<!-- bench: TITLE -->` … `<!-- end -->` that has a table renewed."""
    for title, table in tables(found).items():
        pattern = re.compile(r"(<!-- bench: %s -->\n).*?(\n<!-- end -->)" % title, re.DOTALL)
        if not pattern.search(text):
            raise SystemExit("bench: performance.md has no region `<!-- bench: %s -->`" % title)
        text = pattern.sub(lambda match: match[1] + "\n" + table + "\n" + match[2], text)
    return text


def load(path):
    path = pathlib.Path(path)
    return json.loads(path.read_text()) if path.exists() else {}


def save(path, found):
    pathlib.Path(path).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def write(directory, measured):
    """Renews the figures, the tables and the picture; what this run has not measured stays."""
    directory = pathlib.Path(directory)
    found = {**load(directory / "performance.json"), **measured}
    save(directory / "performance.json", found)
    document = directory / "performance.md"
    document.write_text(with_tables(document.read_text(), found))
    if directory.resolve() == DOCS:
        subprocess.run([machine.REPOSITORY / "scripts" / "chart"], check=True)


def check(directory):
    """Whether the tables of the document are those of its figures."""
    text = pathlib.Path(directory, "performance.md").read_text()
    return text == with_tables(text, load(pathlib.Path(directory, "performance.json")))
