"""The proxies side by side: where their programs are, how they are started, and the site that each of them serves."""

import contextlib
import dataclasses
import pathlib
import re
import sys

from . import machine, process

CONFIGURATIONS = pathlib.Path(__file__).resolve().parent / "configurations"
TARGET = machine.REPOSITORY / (machine.os.environ.get("CARGO_TARGET_DIR") or "target")
LISTENERS = ("http", "https", "h2c")
ORIGINS = ("one", "two", "three", "four", "h2_one", "h2_two", "h2_three", "h2_four")
SMALL, TEN, MEBIBYTE = "x" * 200, "x" * (10 << 10), "x" * (1 << 20)


@dataclasses.dataclass(frozen=True)
class Peer:
    """A proxy that can take part."""
    name: str
    # The variable that names the program when PATH does not.
    variable: str
    # Templates of CONFIGURATIONS; the first is the one that the program is given.
    files: tuple
    # Arguments; `@file@` and `@directory@` are filled in.
    arguments: tuple
    version: tuple
    environment: tuple = ()


PEERS = {peer.name: peer for peer in (
    Peer("tidegate", "TIDEGATE_BIN", ("tidegate.toml",), ("run", "--config", "@file@"), ("--version",)),
    Peer("nginx", "NGINX", ("nginx.conf",), ("-p", "@directory@", "-c", "@file@"), ("-v",)),
    Peer("haproxy", "HAPROXY", ("haproxy.cfg",), ("-db", "-f", "@file@"), ("-v",)),
    Peer("envoy", "ENVOY", ("envoy.yaml",),
         ("-c", "@file@", "--concurrency", "@workers@", "--disable-hot-restart", "-l", "error"), ("--version",)),
    Peer("caddy", "CADDY", ("Caddyfile",), ("run", "--config", "@file@", "--adapter", "caddyfile"), ("version",),
         (("GOMAXPROCS", "@workers@"), ("XDG_DATA_HOME", "@directory@"), ("XDG_CONFIG_HOME", "@directory@"))),
    Peer("traefik", "TRAEFIK", ("traefik.yaml", "traefik-routes.yaml"), ("--configFile=@file@",), ("version",),
         (("GOMAXPROCS", "@workers@"),)),
)}


def program(peer):
    """Its executable, or `None`; tidegate is the release build unless TIDEGATE_BIN names another one."""
    if peer.name != "tidegate" or peer.variable in machine.os.environ:
        return machine.find(peer.variable, peer.name)
    built = TARGET / "release" / "tidegate"
    if not built.exists():
        raise SystemExit("bench: there is no %s; run `make release`" % built)
    return str(built)


def version(executable, arguments):
    said = process.output([executable, *arguments], machine.cores()[1], 20)
    match = re.search(r"\d+\.\d+\.\d+", said)
    return match[0] if match else "?"


@dataclasses.dataclass
class Running:
    """A proxy, or the endpoints themselves, ready to be asked."""
    name: str
    pid: int
    ports: dict

    def url(self, listener, path="/"):
        scheme = "https" if listener == "https" else "http"
        return "%s://127.0.0.1:%d%s" % (scheme, self.ports[listener], path)


class Site:
    """Endpoints and a certificate that are the same for all, and a directory for everybody's files."""

    def __init__(self, directory, workers=1, origin="auto"):
        self.directory = pathlib.Path(directory)
        # Workers of nginx run as nobody when it is started by root.
        self.directory.chmod(0o755)
        self.cores = machine.cores()
        self.values = {"workers": workers, **certificate(self.directory)}
        self.nginx = None if origin == "tidegate" else program(PEERS["nginx"])
        if origin == "nginx" and not self.nginx:
            raise SystemExit("bench: the endpoints are to be nginx, which is not there; NGINX=/path names it")

    @property
    def origin(self):
        """Who answers behind the proxies."""
        if self.nginx:
            return "nginx " + version(self.nginx, PEERS["nginx"].version)
        return "tidegate with fixed answers"

    @contextlib.contextmanager
    def endpoints(self):
        """Four addresses for HTTP/1.1 and four for HTTP/2, all of one process."""
        ports = machine.free_ports(ORIGINS)
        answers = self.directory / "answers"
        answers.mkdir(exist_ok=True)
        for name, body in (("10k", TEN), ("1m", MEBIBYTE)):
            (answers / name).write_text(body)
        self.values.update(ports, small=SMALL, ten=TEN, mebibyte=MEBIBYTE)
        template = "origin-nginx.conf" if self.nginx else "origin-tidegate.toml"
        file = self.write(template, self.directory, {})
        command = [self.nginx, "-p", self.directory, "-c", file] if self.nginx else \
            [program(PEERS["tidegate"]), "run", "--config", file]
        with process.running(command, self.directory / "origin.log", ports["one"], self.cores[1]) as started:
            yield Running("direct", started.pid, {"http": ports["one"], "h2c": ports["h2_one"]})

    @contextlib.contextmanager
    def proxy(self, peer, cores=None, workers=None, executable=None, environment=()):
        """This proxy before the endpoints."""
        directory = self.directory / peer.name
        directory.mkdir(exist_ok=True)
        ports = machine.free_ports(LISTENERS)
        values = {**ports, "directory": directory, **({"workers": workers} if workers else {})}
        values["file"] = [self.write(file, directory, values) for file in peer.files][0]
        command = [executable or program(peer), *(self.fill(one, values) for one in peer.arguments)]
        environment = {**{name: self.fill(value, values) for name, value in peer.environment}, **dict(environment)}
        with process.running(command, directory / "log", ports["http"], cores or self.cores[0], environment) as started:
            yield Running(peer.name, started.pid, ports)

    def write(self, template, directory, values):
        path = directory / template
        path.write_text(self.fill((CONFIGURATIONS / template).read_text(), {"directory": directory, **values}))
        return path

    def fill(self, text, values):
        known = {**self.values, **values}
        return re.sub(r"@([a-z0-9_]+)@", lambda match: str(known[match[1]]), text)


def certificate(directory):
    """A self-signed certificate on P-256 for localhost."""
    names = {"certificate": directory / "cert.pem", "key": directory / "key.pem", "both": directory / "both.pem"}
    openssl = machine.find("OPENSSL", "openssl")
    if not openssl:
        raise SystemExit("bench: openssl makes the certificate, and is not there")
    process.output(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", names["key"], "-out", names["certificate"]], machine.cores()[1], 60)
    names["both"].write_text(names["certificate"].read_text() + names["key"].read_text())
    return names


def choose(names):
    """Those of the peers that are installed; the others are named."""
    chosen, absent = [], []
    for name in names:
        (chosen if program(PEERS[name]) else absent).append(PEERS[name])
    for peer in absent:
        print("bench: %s is left out: not in PATH, and %s does not name it" % (peer.name, peer.variable), file=sys.stderr)
    return chosen


@contextlib.contextmanager
def started(site, chosen):
    """All of them at once, idle until they are asked; one that does not start is named and left out."""
    with contextlib.ExitStack() as stack:
        up = []
        for peer in chosen:
            try:
                up.append(stack.enter_context(site.proxy(peer)))
            except process.StartError as error:
                print("bench: %s is left out: %s" % (peer.name, error), file=sys.stderr)
        yield up
