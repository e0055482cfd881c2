"""The names of PyIceberg that the store builds on and that PyIceberg does not promise to keep."""

from __future__ import annotations

import inspect

import pyiceberg
import pytest
from pyiceberg import manifest, serializers
from pyiceberg.avro import file, resolver
from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.table import metadata, snapshots, update


def test_the_version_is_the_one_that_was_read():
    assert pyiceberg.__version__.startswith("0.12.")


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            MetastoreCatalog._update_and_stage_table,
            ["self", "current_table", "table_identifier", "requirements", "updates"],
        ),
        (MetastoreCatalog._write_metadata, ["metadata", "io", "metadata_path"]),
        (MetastoreCatalog._load_file_io, ["self", "properties", "location"]),
        (update.update_table_metadata, ["base_metadata", "updates", "enforce_validation", "metadata_location"]),
        (snapshots.update_snapshot_summaries, ["summary", "previous_summary"]),
        (snapshots.SnapshotSummaryCollector.add_file, ["self", "data_file", "schema", "partition_spec"]),
        (manifest.read_manifest_list, ["input_file"]),
        (
            manifest.write_manifest,
            ["format_version", "spec", "schema", "output_file", "snapshot_id", "avro_compression"],
        ),
        (
            manifest.write_manifest_list,
            [
                "format_version",
                "output_file",
                "snapshot_id",
                "parent_snapshot_id",
                "sequence_number",
                "avro_compression",
            ],
        ),
        (manifest.ManifestFile.fetch_manifest_entry, ["self", "io", "discard_deleted"]),
        (resolver.construct_reader, ["file_schema", "read_types"]),
        (resolver.resolve_reader, ["file_schema", "read_schema", "read_types", "read_enums"]),
        (manifest.ManifestWriter.add_entry, ["self", "entry"]),
        (
            metadata.new_table_metadata,
            ["schema", "partition_spec", "sort_order", "location", "properties", "table_uuid"],
        ),
        (serializers.FromInputFile.table_metadata, ["input_file", "encoding"]),
        (serializers.ToOutputFile.table_metadata, ["metadata", "output_file", "overwrite"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_function_takes_what_we_give(function, parameters):
    assert list(inspect.signature(function).parameters) == parameters


def test_removing_snapshots_cuts_parents_and_keeps_the_rest():
    """Positions are found by that: a cut snapshot has no parent here, and names a missing one when Java expired it."""
    assert "parent_snapshot_id" in inspect.getsource(update._apply_table_update.dispatch(update.RemoveSnapshotsUpdate))


def test_sequence_numbers_grow_by_one_from_one():
    source = inspect.getsource(metadata.TableMetadataCommonFields.next_sequence_number)
    assert "last_sequence_number + 1" in source
    assert "INITIAL_SEQUENCE_NUMBER" in source


def test_metadata_is_updated_as_pyiceberg_does_it():
    """`updates.updated` does the same but for the last copy; Avro files begin as PyIceberg's do."""
    source = inspect.getsource(update.update_table_metadata)
    for step in ("_apply_table_update(update", "_update_table_metadata_log(", "check_compatible", "deep=True"):
        assert step in source
    header = inspect.getsource(file.AvroOutputFile._write_header)
    assert "AvroFileHeader(MAGIC, meta, self.sync_bytes)" in header
    opened = inspect.getsource(file.AvroOutputFile.__enter__)
    assert "self.encoder = BinaryEncoder(self.output_stream)" in opened
