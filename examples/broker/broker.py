"""Apache Kafka on this machine without Docker: one node or several, in KRaft mode, on loopback.

    python examples/broker/broker.py                      # until Ctrl-C; says its address
    python examples/broker/broker.py --nodes 3 COMMAND    # for as long as the command runs, KAFKA_BOOTSTRAP set for it

Needs Java 17 or newer and Maven, which fetches what `pom.xml` names. The list of jars and an archive of Kafka's loaded
classes (it halves the time to start) are kept under the user's cache folder. Nothing of Headgate is needed here.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
POM = Path(__file__).with_name("pom.xml")
JVM = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xlog:disable", "-Xlog:all=error:stderr")
START_S = 60.0
# One broker for one person: few threads, small buffers, groups that settle at once. Extra properties override these.
SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
}


class BrokerError(RuntimeError):
    """The broker did not start; the message ends with what it said."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def uuid_text() -> str:
    """A random id as Kafka writes them."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass  # Kafka's command line would take it for an option
    return text


class Programs:
    """How to start Kafka's programs: resolved once, then read from the cache."""

    def __init__(self) -> None:
        java, maven = shutil.which("java"), shutil.which("mvn")
        if java is None or maven is None:
            raise BrokerError(
                "Java 17 or newer and Maven are needed to run Kafka here (Debian: default-jre-headless maven)"
            )
        self.java, self.maven = java, maven
        told = subprocess.run([java, "-version"], capture_output=True, check=True).stderr
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headgate"
        self.folder = cache / f"kafka-{hashlib.sha256(POM.read_bytes() + told).hexdigest()[:12]}"
        self.archive = self.folder / "classes.jsa"
        self.classpath = ""

    def ready(self) -> Programs:
        """Jars resolved and classes archived, by one process at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.folder / "classpath"
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not known.exists() or not all(Path(jar).exists() for jar in known.read_text().split(os.pathsep)):
                self._resolve(known)
            self.classpath = known.read_text()
            if not self.archive.exists():
                self._archive()
        return self

    def argv(self, program: str, *arguments: str, options: Sequence[str] | None = None) -> list[str]:
        shared = [f"-XX:SharedArchiveFile={self.archive}"] if options is None else options
        log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [self.java, *JVM, *shared, log, "-cp", self.classpath, program, *arguments]

    def _resolve(self, known: Path) -> None:
        fresh = known.with_suffix(".new")
        argv = [self.maven, "-q", "-B", "-f", str(POM), "dependency:build-classpath", f"-Dmdep.outputFile={fresh}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokerError(f"Maven could not resolve Kafka:\n{(done.stdout + done.stderr)[-2000:]}")
        fresh.replace(known)

    def _archive(self) -> None:
        """Run a broker once, and keep the classes that it loaded."""
        fresh = self.archive.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(prefix="hgkafka-") as folder:
            node = Cluster(Path(folder), programs=self).nodes[0]
            node.format([])
            node.start([f"-XX:ArchiveClassesAtExit={fresh}"])
            node.wait()
            node.stop()
        if fresh.exists():
            fresh.replace(self.archive)


class Node:
    """One process: broker and controller."""

    def __init__(self, cluster: Cluster, number: int, port: int) -> None:
        self.cluster, self.number, self.port = cluster, number, port
        self.controller_port = free_port()
        self.folder = cluster.folder / f"node-{number}"
        self.data = self.folder / "data"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """The end of what it said."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def format(self, options: Sequence[str] | None = None) -> None:
        """Write its settings and an empty data folder."""
        self.data.mkdir(parents=True)
        lines = (f"{name}={value}\n" for name, value in self._properties().items())
        (self.folder / "server.properties").write_text("".join(lines))
        arguments = ["format", "-t", self.cluster.id, "-c", str(self.folder / "server.properties")]
        argv = self.cluster.programs.argv("kafka.tools.StorageTool", *arguments, options=options)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokerError(f"Kafka's storage could not be formatted:\n{(done.stdout + done.stderr)[-2000:]}")

    def start(self, options: Sequence[str] | None = None) -> None:
        """Start the process; `wait` says when it takes clients."""
        # Where the system can, the broker ends with this process, even when that is killed.
        with_us = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        argv = self.cluster.programs.argv("kafka.Kafka", str(self.folder / "server.properties"), options=options)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(with_us + argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait(self, timeout_s: float = START_S) -> None:
        """Until it listens to clients, which it does once it has caught up with the cluster."""
        pause = threading.Event()
        for _ in range(int(timeout_s / 0.02)):
            if self.process is None or self.process.poll() is not None:
                raise BrokerError(f"Kafka ended:\n{self.log}")
            try:
                socket.create_connection((HOST, self.port), 1).close()
            except OSError:
                pause.wait(0.02)
            else:
                return
        raise BrokerError(f"Kafka does not start:\n{self.log}")

    def stop(self, signal_number: int = signal.SIGTERM, timeout_s: float = 30) -> None:
        """End it: SIGTERM shuts down in order, SIGKILL at once. A node that does not run stays so."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal_number)
        if signal_number != signal.SIGKILL:
            process.send_signal(signal.SIGCONT)  # it may have been frozen
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout_s)

    def _properties(self) -> dict[str, str]:
        cluster = self.cluster
        copies = str(min(3, len(cluster.nodes)))
        extra = cluster.listeners.get(self.number, {})
        names = {"PLAINTEXT": self.port, **extra}
        listeners = ",".join(f"{name}://{HOST}:{port}" for name, port in names.items())
        return {
            **SETTINGS,
            "node.id": str(self.number),
            "controller.quorum.voters": ",".join(f"{n.number}@{HOST}:{n.controller_port}" for n in cluster.nodes),
            "listeners": f"{listeners},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"
            + "".join(f",{name}:{name}" for name in extra),
            "log.dirs": str(self.data),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": str(min(2, len(cluster.nodes))),
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": "1",
            "default.replication.factor": copies,
            **cluster.properties,
        }


class Cluster:
    """Nodes that belong together, their data under `folder`."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        listeners: Sequence[str] = (),
        programs: Programs | None = None,
    ) -> None:
        """`listeners` are more security protocols, such as SASL_PLAINTEXT, each on a port of its own; `properties` are
        broker settings, above ours. `port` is the first node's, the others follow; without it any free one."""
        self.folder = folder.absolute()
        self.programs = programs or Programs().ready()
        self.properties = dict(properties or {})
        self.id = uuid_text()
        self.nodes: list[Node] = []
        for number in range(1, nodes + 1):
            self.nodes.append(Node(self, number, free_port() if port is None else port + number - 1))
        self.listeners = {n.number: {name: free_port() for name in listeners} for n in self.nodes}

    def bootstrap(self, listener: str = "PLAINTEXT") -> str:
        """`host:port,…` for clients."""
        ports = (n.port if listener == "PLAINTEXT" else self.listeners[n.number][listener] for n in self.nodes)
        return ",".join(f"{HOST}:{port}" for port in ports)

    def start(self) -> Cluster:
        """Format what is not formatted, start every node that does not run, wait until all take clients."""
        for node in self.nodes:
            if not node.data.exists():
                node.format()
        for node in self.nodes:
            if node.process is None:
                node.start()
        for node in self.nodes:
            node.wait()
        return self

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """End every node; the data stays."""
        for node in self.nodes:
            node.stop(signal_number)


@contextmanager
def running(folder: Path, nodes: int = 1, port: int | None = None) -> Iterator[Cluster]:
    """A cluster for as long as the block runs, its data in `folder`, made anew; so it need not end in order."""
    shutil.rmtree(folder, ignore_errors=True)
    cluster = Cluster(folder, nodes, port)
    try:
        yield cluster.start()
    finally:
        cluster.stop(signal.SIGKILL)


def main(arguments: list[str] | None = None) -> int:
    """Run Kafka with a command, or until Ctrl-C."""
    asked = argparse.ArgumentParser(description="Apache Kafka on loopback, without Docker.")
    asked.add_argument("--nodes", type=int, default=1, metavar="N", help="default: 1")
    asked.add_argument("--port", type=int, help="of the first node (default: 9092; with a command, any free one)")
    asked.add_argument("--folder", type=Path, default=Path("build/kafka"), help="made anew (default: build/kafka)")
    asked.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    args = asked.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    port = args.port or (None if args.command else 9092)
    try:
        with running(args.folder, args.nodes, port) as cluster:
            environment = {**os.environ, "KAFKA_BOOTSTRAP": cluster.bootstrap()}
            if args.command:
                return subprocess.run(args.command, env=environment, check=False).returncode
            print(f"Kafka at {cluster.bootstrap()}; Ctrl-C stops it", file=sys.stderr)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except (BrokerError, FileNotFoundError) as error:
        print(f"broker: {error}", file=sys.stderr)
        return 3 if isinstance(error, BrokerError) else 127
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
