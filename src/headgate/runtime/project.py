"""A project: headgate.yaml (may be missing) beside a folder of contracts and a folder of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.contract.model import Contract, Dataset
from headgate.errors import ContractSyntaxError, FixInputError
from headgate.runtime import settings as settings_file
from headgate.runtime.models import read_models
from headgate.runtime.settings import Settings
from headgate.runtime.variables import environment

if TYPE_CHECKING:
    import pyarrow as pa

    from headgate.ports.engine import Engine
    from headgate.ports.store import Lake
    from headgate.runtime.record import RunRecord
    from headgate.steps.audit import Account
    from headgate.steps.derive import Model
    from headgate.steps.replay import Replayed


@dataclass
class Project:
    """One folder's pipelines. Open it with `Project.open(folder)`; close it, or use it as a context manager.

    Nothing is read from a source and nothing heavy is imported before a method needs it.
    """

    folder: Path
    settings: Settings
    contracts: Sequence[Contract]
    env: Mapping[str, str] = field(repr=False, default_factory=dict)

    @classmethod
    def open(cls, folder: str | Path = ".") -> Project:
        """The project in that folder. Raises ContractSyntaxError or FixInputError with every complaint."""
        root = Path(folder).resolve()
        if root.is_file():
            return cls._of([root], root.parent)
        if not root.is_dir():
            raise FixInputError(f"no such folder: {folder}", hint="headgate init DIR makes a project")
        files = sorted((root / "contracts").glob("**/*.odcs.yaml")) or sorted(root.glob("*.odcs.yaml"))
        if not files:
            raise FixInputError(
                "no contracts here",
                where=str(folder),
                hint="put contracts/NAME.odcs.yaml here, or: headgate init DIR; headgate discover URL",
            )
        return cls._of(files, root)

    @classmethod
    def _of(cls, files: Sequence[Path], root: Path) -> Project:
        from headgate.runtime.contracts import load_contracts

        settings = settings_file.load(root)
        contracts = load_contracts(files, root, settings.state)
        project = cls(root, settings, contracts, environment(root))
        names = [d.name for d in project.datasets]
        for name in names:
            if names.count(name) > 1:
                raise ContractSyntaxError(f"two datasets are called {name}", where=str(root), hint="rename one")
        for name, place in settings.dataset_places.items():
            if name not in names:
                raise ContractSyntaxError(
                    f"no contract has a dataset called {name}", where=str(place), hint=f"datasets: {', '.join(names)}"
                )
        return project

    @property
    def datasets(self) -> list[Dataset]:
        """Every dataset of every contract, in file order."""
        return [dataset for contract in self.contracts for dataset in contract.datasets]

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name; FixInputError with the names there are."""
        for one in self.datasets:
            if one.name == name:
                return one
        known = ", ".join(d.name for d in self.datasets)
        raise FixInputError(f"no dataset is called {name}", hint=f"datasets: {known}")

    @cached_property
    def models(self) -> list[Model]:
        """The gold models, by name."""
        return read_models(self.folder / "models")

    @cached_property
    def lake(self) -> Lake:
        """The project's tables."""
        from headgate.runtime.wire import open_lake

        return open_lake(self)

    @cached_property
    def engine(self) -> Engine:
        """What judges and computes."""
        from headgate.runtime.wire import open_engine

        return open_engine(self)

    def run(self, select: str | Sequence[str] = (), **options: Any) -> RunRecord:
        """Land, refine and derive what is new. See headgate.runtime.loop.run for the options and errors."""
        from headgate.runtime.loop import run

        return run(self, [select] if isinstance(select, str) and select else list(select), **options)

    def query(self, sql: str) -> pa.Table:
        """The answer of a read-only query over all tables (`silver.orders`, `gold.revenue` or `revenue`)."""
        return self.reader(sql).read_all()

    def reader(self, sql: str) -> pa.RecordBatchReader:
        """The answer as a stream of record batches."""
        cut = self.lake.cut()
        tables = {name: view for name in cut.names() if (view := cut.table(name)) is not None}
        return self.engine.query(sql, tables)

    def audit(self, *, deep: bool = False, select: Sequence[str] = ()) -> list[Account]:
        """The account of every dataset; `deep` proves it from the rows."""
        from headgate.steps.audit import audit

        return [audit(d, self.lake, self.engine if deep else None) for d in self._selected(select)]

    def replay(self, select: Sequence[str] = (), *, dry_run: bool = False) -> dict[str, Replayed]:
        """Judge quarantined rows again under today's contract."""
        from headgate.runtime.loop import new_run
        from headgate.steps.replay import replay

        run = new_run()
        return {d.name: replay(d, self.lake, self.engine, run, dry_run=dry_run) for d in self._selected(select)}

    def _selected(self, names: Sequence[str]) -> Iterator[Dataset]:
        if not names:
            yield from self.datasets
        for name in names:
            yield self.dataset(name)

    def close(self) -> None:
        """Stop workers, give back memory."""
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
