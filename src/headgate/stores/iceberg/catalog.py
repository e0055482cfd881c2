"""The lake as a PyIceberg catalog, for those who want to use PyIceberg's own API on it.

Laid out as PyIceberg's SqlCatalog lays its tables out, but over the standard library's sqlite3: importing SQLAlchemy
alone costs more than a whole run. A change made here is an ordinary PyIceberg commit of one table; the lake's
positions survive it, because they are found by walking over snapshots that are not ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyiceberg.catalog import Catalog, MetastoreCatalog, PropertiesUpdateSummary
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, CreateTableTransaction, Table
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties
from pyiceberg.view import View
from pyiceberg.view.metadata import ViewVersion

from headgate.stores.iceberg.local_io import WAREHOUSE, LocalIO, location_of
from headgate.stores.iceberg.pointers import IS_TABLE, Pointers
from headgate.stores.iceberg.settings import Settings

_NO_VIEWS = "views are not supported"


class LakeCatalog(MetastoreCatalog):
    """All tables of a lake behind PyIceberg's Catalog interface; see `open_catalog`."""

    def __init__(self, settings: Settings) -> None:
        warehouse = location_of(settings.warehouse)
        super().__init__(settings.name, **{WAREHOUSE: warehouse, "py-io-impl": f"{LocalIO.__module__}.LocalIO"})
        self._pointers = Pointers(settings)
        self._pointers.make()

    def _write(self, sql: str, values: tuple[Any, ...]) -> int:
        """Run one statement in a transaction of its own; how many rows it changed."""
        with self._pointers.connection() as connection:
            return int(self._pointers.run(connection, sql, values).rowcount)

    @staticmethod
    def _split(identifier: str | Identifier) -> tuple[str, str]:
        namespace = Catalog.namespace_to_string(Catalog.namespace_from(identifier))
        return namespace, Catalog.table_name_from(identifier)

    def load_table(self, identifier: str | Identifier) -> Table:
        """The table as it is now; NoSuchTableError when it does not exist."""
        namespace, name = self._split(identifier)
        location = self._pointers.read().get(f"{namespace}.{name}")
        if location is None:
            raise NoSuchTableError(f"Table does not exist: {namespace}.{name}")
        io = self._load_file_io(location=location)
        metadata = FromInputFile.table_metadata(io.new_input(location))
        return Table((*Catalog.identifier_to_tuple(namespace), name), metadata, location, io, self)

    def create_table(
        self,
        identifier: str | Identifier,
        schema: Schema | Any,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> Table:
        """Make a table; TableAlreadyExistsError, NoSuchNamespaceError."""
        namespace, _ = self._split(identifier)
        if not self.namespace_exists(namespace):
            raise NoSuchNamespaceError(f"Namespace does not exist: {namespace}")
        staged = self._create_staged_table(identifier, schema, location, partition_spec, sort_order, dict(properties))
        CreateTableTransaction(staged).commit_transaction()
        return self.load_table(identifier)

    def register_table(self, identifier: str | Identifier, metadata_location: str, overwrite: bool = False) -> Table:
        """Add a table by its metadata file."""
        if overwrite:
            raise NotImplementedError("overwrite is not supported")
        self._insert(*self._split(identifier), metadata_location)
        return self.load_table(identifier)

    def _insert(self, namespace: str, name: str, location: str) -> None:
        done = self._write(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location,"
            " previous_metadata_location, iceberg_type) VALUES (?, ?, ?, ?, NULL, 'TABLE')"
            " ON CONFLICT (catalog_name, table_namespace, table_name) DO NOTHING",
            (self.name, namespace, name, location),
        )
        if done != 1:
            raise TableAlreadyExistsError(f"Table {namespace}.{name} already exists")

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Commit updates of one table; CommitFailedException when it was changed in between."""
        namespace, name = self._split(table.name())
        try:
            current: Table | None = self.load_table(table.name())
        except NoSuchTableError:
            current = None
        staged = self._update_and_stage_table(current, table.name(), requirements, updates)
        if current is not None and staged.metadata == current.metadata:
            return self._response(current)
        self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
        if isinstance(staged.io, LocalIO):
            staged.io.sync()
        if current is None:
            self._insert(namespace, name, staged.metadata_location)
            return self._response(staged)
        done = self._write(
            "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ? WHERE catalog_name = ?"
            f" AND table_namespace = ? AND table_name = ? AND metadata_location = ? AND {IS_TABLE}",
            (
                staged.metadata_location,
                current.metadata_location,
                self.name,
                namespace,
                name,
                current.metadata_location,
            ),
        )
        if done != 1:
            raise CommitFailedException(f"Table has been updated by another process: {namespace}.{name}")
        return self._response(staged)

    @staticmethod
    def _response(table: Table) -> CommitTableResponse:
        return CommitTableResponse.model_validate(
            {"metadata": table.metadata, "metadata-location": table.metadata_location}
        )

    def drop_table(self, identifier: str | Identifier) -> None:
        """Take a table out of the catalog; its files stay."""
        namespace, name = self._split(identifier)
        done = self._write(
            "DELETE FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?"
            f" AND {IS_TABLE}",
            (self.name, namespace, name),
        )
        if done != 1:
            raise NoSuchTableError(f"Table does not exist: {namespace}.{name}")

    def rename_table(self, from_identifier: str | Identifier, to_identifier: str | Identifier) -> Table:
        """Give a table another name."""
        old, new = self._split(from_identifier), self._split(to_identifier)
        if not self.namespace_exists(new[0]):
            raise NoSuchNamespaceError(f"Namespace does not exist: {new[0]}")
        if ".".join(new) in self._pointers.read():
            raise TableAlreadyExistsError(f"Table {'.'.join(new)} already exists")
        done = self._write(
            "UPDATE iceberg_tables SET table_namespace = ?, table_name = ? WHERE catalog_name = ?"
            f" AND table_namespace = ? AND table_name = ? AND {IS_TABLE}",
            (*new, self.name, *old),
        )
        if done != 1:
            raise NoSuchTableError(f"Table does not exist: {'.'.join(old)}")
        return self.load_table(to_identifier)

    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        """Tables of one namespace."""
        wanted = Catalog.namespace_to_string(namespace)
        if not self.namespace_exists(wanted):
            raise NoSuchNamespaceError(f"Namespace does not exist: {wanted}")
        names = (name.rpartition(".") for name in self._pointers.read())
        return [(*Catalog.identifier_to_tuple(space), table) for space, _, table in sorted(names) if space == wanted]

    def _namespaces(self) -> set[str]:
        listed = self._pointers.query(
            "SELECT DISTINCT namespace FROM iceberg_namespace_properties WHERE catalog_name = ?", (self.name,)
        )
        return {row[0] for row in listed} | {name.rpartition(".")[0] for name in self._pointers.read()}

    def namespace_exists(self, identifier: str | Identifier) -> bool:
        """True when the namespace, or one below it, was made or has a table."""
        wanted = Catalog.namespace_to_string(identifier)
        return any(space == wanted or space.startswith(f"{wanted}.") for space in self._namespaces())

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        """Make a namespace."""
        if self.namespace_exists(namespace):
            raise NamespaceAlreadyExistsError(f"Namespace {namespace} already exists")
        self._set(Catalog.namespace_to_string(namespace), properties or {"exists": "true"})

    def _set(self, namespace: str, properties: Mapping[str, Any]) -> None:
        for key, value in properties.items():
            self._write(
                "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)"
                " VALUES (?, ?, ?, ?) ON CONFLICT (catalog_name, namespace, property_key)"
                " DO UPDATE SET property_value = excluded.property_value",
                (self.name, namespace, key, str(value)),
            )

    def _unset(self, namespace: str, keys: set[str]) -> None:
        for key in sorted(keys):
            self._write(
                "DELETE FROM iceberg_namespace_properties"
                " WHERE catalog_name = ? AND namespace = ? AND property_key = ?",
                (self.name, namespace, key),
            )

    def drop_namespace(self, namespace: str | Identifier) -> None:
        """Remove an empty namespace."""
        if self.list_tables(namespace):
            raise NamespaceNotEmptyError(f"Namespace {namespace} is not empty")
        self._unset(Catalog.namespace_to_string(namespace), set(self.load_namespace_properties(namespace)))

    def list_namespaces(self, namespace: str | Identifier = ()) -> list[Identifier]:
        """Namespaces directly below the given one."""
        above = Catalog.identifier_to_tuple(namespace)
        found = {Catalog.identifier_to_tuple(space) for space in self._namespaces()}
        depth = len(above) + 1
        return sorted({space[:depth] for space in found if len(space) >= depth and space[: depth - 1] == above})

    def load_namespace_properties(self, namespace: str | Identifier) -> Properties:
        """The properties of a namespace."""
        wanted = Catalog.namespace_to_string(namespace)
        if not self.namespace_exists(wanted):
            raise NoSuchNamespaceError(f"Namespace does not exist: {wanted}")
        rows = self._pointers.query(
            "SELECT property_key, property_value FROM iceberg_namespace_properties"
            " WHERE catalog_name = ? AND namespace = ?",
            (self.name, wanted),
        )
        return {key: value for key, value in rows}  # noqa: C416

    def update_namespace_properties(
        self, namespace: str | Identifier, removals: set[str] | None = None, updates: Properties = EMPTY_DICT
    ) -> PropertiesUpdateSummary:
        """Set and remove properties of a namespace."""
        current = self.load_namespace_properties(namespace)
        summary, _ = self._get_updated_props_and_update_summary(current, removals, updates)
        wanted = Catalog.namespace_to_string(namespace)
        self._unset(wanted, set(summary.removed))
        self._set(wanted, updates)
        return summary

    def list_views(self, namespace: str | Identifier) -> list[Identifier]:  # noqa: ARG002
        """None: the lake has no views."""
        return []

    def view_exists(self, identifier: str | Identifier) -> bool:  # noqa: ARG002
        """False: the lake has no views."""
        return False

    def load_view(self, identifier: str | Identifier) -> View:
        """Not supported."""
        raise NotImplementedError(_NO_VIEWS)

    def drop_view(self, identifier: str | Identifier) -> None:
        """Not supported."""
        raise NotImplementedError(_NO_VIEWS)

    def register_view(self, identifier: str | Identifier, metadata_location: str) -> View:
        """Not supported."""
        raise NotImplementedError(_NO_VIEWS)

    def create_view(
        self,
        identifier: str | Identifier,
        schema: Schema | Any,
        view_version: ViewVersion,
        location: str | None = None,
        properties: Properties = EMPTY_DICT,
    ) -> View:
        """Not supported."""
        raise NotImplementedError(_NO_VIEWS)


def open_catalog(settings: Mapping[str, Any]) -> LakeCatalog:
    """The lake that the project file's `lake:` describes, as a PyIceberg catalog."""
    return LakeCatalog(Settings.of(settings))
