"""Apache Spark on the lake's own catalog, as another engine of the house would work on it: Iceberg's runtime and its
JDBC catalog, which keeps its pointers in the same tables. Nothing of Headgate is in it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from rigs.own_environment import environment

JARS = ("org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.2", "org.xerial:sqlite-jdbc:3.50.3.0")
_SCRIPT = """
import glob, json, os, sys
from pyspark.sql import SparkSession
lake, jars = sys.argv[1:]
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
catalog, iceberg = "spark.sql.catalog.headgate", "org.apache.iceberg"
settings = {
    "spark.jars": ",".join(glob.glob(jars + "/*.jar")),
    "spark.sql.extensions": iceberg + ".spark.extensions.IcebergSparkSessionExtensions",
    catalog: iceberg + ".spark.SparkCatalog",
    catalog + ".catalog-impl": iceberg + ".jdbc.JdbcCatalog",
    catalog + ".uri": f"jdbc:sqlite:{lake}/catalog.db",
    catalog + ".warehouse": lake,
    catalog + ".jdbc.schema-version": "V1",
    catalog + ".jdbc.init-catalog-tables": "false",  # else it never ends to read the catalog
    catalog + ".cache-enabled": "false",
    "spark.sql.catalog.own": iceberg + ".spark.SparkCatalog",  # tables that Spark makes
    "spark.sql.catalog.own.type": "hadoop",
    "spark.sql.catalog.own.warehouse": lake + "/../spark",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}
builder = SparkSession.builder.master("local[2]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
for line in sys.stdin:
    try:
        answer = {"rows": [row.asDict(recursive=True) for row in spark.sql(json.loads(line)).collect()]}
    except Exception as problem:
        answer = {"failed": str(problem)}
    print(json.dumps(answer, default=str), file=answers, flush=True)
"""


class Spark:
    """A session on a lake; `with` ends it. Tables are `headgate.layer.name`."""

    def __init__(self, lake: Path, log: Path) -> None:
        self._log = log
        python = environment("spark") / "bin" / "python"
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), "-c", _SCRIPT, str(lake), str(_jars())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": str(python)},
            )

    def sql(self, statement: str) -> list[dict]:
        """The rows of a statement; what JSON has no type for as text."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(statement) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text(errors="replace")[-4000:]
        answer = json.loads(line)
        assert "rows" in answer, answer["failed"]
        return answer["rows"]

    def __enter__(self) -> Spark:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


def _jars() -> Path:
    """The folder with Iceberg and the driver, fetched once."""
    folder = environment("spark") / "jars"
    for artifact in JARS:
        _, name, version = artifact.split(":")
        if not (folder / f"{name}-{version}.jar").exists():
            get = ["mvn", "-q", "-B", "dependency:get", "-Dtransitive=false", f"-Dartifact={artifact}"]
            subprocess.run(get, check=True)
            copy = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
            subprocess.run(copy, check=True)
    return folder
