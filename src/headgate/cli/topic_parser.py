"""The words of `headgate topic …`. Imports nothing heavy."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """`headgate topic create | list | describe | produce | consume`."""
    topic = commands.add_parser("topic", help="make, show, fill and read Kafka topics")
    verbs = topic.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, function: str, help_: str) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = verbs.add_parser(
            name, parents=[common], help=help_, description=help_[0].upper() + help_[1:] + "."
        )
        one.set_defaults(target=f"topic:{function}")
        one.add_argument(
            "--bootstrap",
            metavar="HOST:PORT",
            help="the cluster (default: KAFKA_BOOTSTRAP, then the project's first server of type kafka)",
        )
        return one

    one = verb("create", "create_topic", "make a topic")
    one.add_argument("name", metavar="TOPIC")
    one.add_argument("--partitions", type=int, default=3, help="(default: 3)")
    one.add_argument("--replication", type=int, default=1, help="copies of each partition (default: 1)")
    one.add_argument("--config", action="append", default=[], metavar="NAME=VALUE", help="a setting of the topic")
    one.add_argument("--if-missing", action="store_true", help="a topic that is there already is no mistake")
    one = verb("list", "list_topics", "list topics")
    one.add_argument("--all", action="store_true", help="also Kafka's own and Headgate's own")
    one = verb("describe", "describe", "show partitions, offsets, settings, and how far the lake has read")
    one.add_argument("name", metavar="TOPIC")
    one = verb("produce", "produce", "send the lines of a file as messages")
    one.add_argument("name", metavar="TOPIC")
    one.add_argument("file", nargs="?", default="-", metavar="FILE", help="NDJSON; - is stdin (default)")
    one.add_argument("--key", metavar="PATH", help="where in each line the key stands, such as payload.order_id")
    one.add_argument("--rate", type=float, metavar="N", help="messages a second (default: as fast as it goes)")
    one.add_argument("--max", type=int, metavar="N", help="at most so many")
    one = verb("consume", "consume", "print messages as they are, or keep them as files")
    one.add_argument("name", metavar="TOPIC")
    one.add_argument("--from", dest="start", choices=["beginning", "latest"], default="beginning")
    one.add_argument("--follow", action="store_true", help="wait for more (always so with --from latest)")
    one.add_argument("--max", type=int, metavar="N", help="at most so many")
    one.add_argument("--to", metavar="DIR", help="NDJSON files here, a folder or s3://bucket/prefix; again: goes on")
    one.add_argument("--group", help="of --to: share the topic with other processes of this group (with --follow)")
    one.add_argument("--roll-rows", type=int, default=1_000_000, metavar="N", help="of --to: most messages of a file")
    one.add_argument(
        "--roll-bytes", type=int, default=64 << 20, metavar="N", help="of --to: about most bytes of a file"
    )
    one.add_argument("--roll-seconds", type=float, default=60.0, metavar="S", help="of --to: longest wait for a commit")
    one.add_argument("--compression", default="zstd", choices=["none", "gzip", "zstd"], help="of --to (default: zstd)")
