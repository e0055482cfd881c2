"""What a project is made of: headgate.yaml (may be missing) beside a folder of contracts and a folder of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from headgate.contract.model import Contract, Dataset
from headgate.errors import ContractSyntaxError, FixInputError
from headgate.runtime import settings as settings_file
from headgate.runtime.models import read_models
from headgate.runtime.settings import Settings
from headgate.runtime.variables import environment
from headgate.runtime.wire import choose_server, is_file_source

if TYPE_CHECKING:
    import pyarrow as pa

    from headgate.ports.engine import Engine
    from headgate.ports.source import Source
    from headgate.ports.store import Lake
    from headgate.steps.derive import Model
    from headgate.stores.iceberg import Peek


@dataclass
class Workspace:
    """One folder's contracts, models and settings, with its lake and engine. Use it as a context manager, or close it.

    Nothing is read from a source and nothing heavy is imported before a method needs it.
    """

    folder: Path
    settings: Settings
    contracts: Sequence[Contract]
    env: Mapping[str, str] = field(repr=False, default_factory=dict)

    @classmethod
    def open(cls, folder: str | Path = ".") -> Self:
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
    def _of(cls, files: Sequence[Path], root: Path) -> Self:
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
        """Every dataset of every contract, in file order; the server that it is read from comes first."""
        return [self._as_set(dataset) for contract in self.contracts for dataset in contract.datasets]

    def _as_set(self, dataset: Dataset) -> Dataset:
        """The engine must see the dialect that the source reads with: a setting under `read` overrides the contract."""
        settings = self.settings.datasets.get(dataset.name)
        if settings is None or not dataset.servers:
            return dataset
        chosen = choose_server(dataset, settings.server)
        if is_file_source(chosen.kind):
            chosen = replace(chosen, options={**chosen.options, **settings.read})
        return replace(dataset, servers=(chosen, *(s for s in dataset.servers if s.name != chosen.name)))

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

        return open_lake(self.settings, self.folder, self.env)

    def noted(self) -> Peek:
        """The catalog's notes of those tables whose newest snapshot is ours: a third of a millisecond, and the lake
        need not be loaded."""
        from headgate.runtime.wire import lake_settings
        from headgate.stores.iceberg import peek

        return peek(lake_settings(self.settings, self.folder, self.env))

    @cached_property
    def engine(self) -> Engine:
        """What judges and computes."""
        from headgate.runtime.wire import largest, open_engine, registries

        limits = largest(self.datasets, self.settings)
        return open_engine(self.settings, registries(self.datasets, self.settings, self.env), limits)

    def connect(self, dataset: Dataset) -> Source:
        """The dataset's source. Close it."""
        from headgate.runtime.wire import connect

        return connect(dataset, self.settings, self.folder, self.env)

    def query(self, sql: str, *, as_of: str | None = None) -> pa.Table:
        """The answer of a read-only query over all tables (`silver.orders`, `gold.revenue` or `revenue`).

        `as_of` shows them as they were right after a run (its id), at a time (ISO 8601) or at a snapshot (its number).
        """
        return self.reader(sql, as_of=as_of).read_all()

    def reader(self, sql: str, *, as_of: str | None = None) -> pa.RecordBatchReader:
        """The answer as a stream of record batches."""
        from headgate.runtime.past import cut_of

        cut = cut_of(self.lake, self.engine, sql, as_of) if as_of else self.lake.cut()
        tables = {name: view for name in cut.names() if (view := cut.table(name)) is not None}
        return self.engine.query(sql, tables)

    def selected(self, names: Sequence[str]) -> Iterator[Dataset]:
        if not names:
            yield from self.datasets
        for name in names:
            yield self.dataset(name)

    def close(self) -> None:
        """Stop workers, give back memory."""
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
