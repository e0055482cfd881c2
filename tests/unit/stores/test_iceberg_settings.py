"""Settings of the lake say what is wrong with them."""

from __future__ import annotations

import os
import shutil

import pytest

from headgate.errors import FixInputError
from headgate.stores.iceberg import local_io, open_lake
from headgate.stores.iceberg.local_io import LocalIO
from headgate.stores.iceberg.settings import Settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "no warehouse"),
        ({"warehouse": "x", "catalogue": "sqlite"}, "unknown setting 'catalogue'"),
        ({"warehouse": "x", "catalog": "mysql://a:secret@b"}, "unknown catalog 'mysql'"),
        ({"warehouse": "/tmp/a#b"}, "may not hold"),
        ({"warehouse": "/tmp/a%20b"}, "may not hold"),
    ],
)
def test_a_wrong_setting_is_named(settings, says):
    with pytest.raises(FixInputError, match=says) as caught:
        open_lake(settings)
    assert "secret" not in str(caught.value)


def test_the_catalog_is_beside_the_tables_unless_told_otherwise(tmp_path):
    assert Settings.of({"warehouse": str(tmp_path)}).catalog == f"sqlite:///{tmp_path}/catalog.db"
    assert (
        Settings.of({"warehouse": "x", "catalog": f"sqlite:///{tmp_path}/c.db"}).catalog == f"sqlite:///{tmp_path}/c.db"
    )
    assert Settings.of({"warehouse": f"file://{tmp_path}"}).warehouse == tmp_path


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "file:///etc/passwd", "{root}/../x", "{root}", "s3://b/x", "{root}/link/x"]
)
def test_files_outside_of_the_warehouse_are_refused(tmp_path, location):
    root = tmp_path / "lake"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    io = LocalIO({"warehouse": str(root)})
    for use in (io.new_input, io.new_output, io.delete):
        with pytest.raises(FixInputError):
            use(location.format(root=root))


def test_a_file_is_not_overwritten_by_accident(tmp_path):
    io = LocalIO({"warehouse": str(tmp_path)})
    with io.new_output(f"file://{tmp_path}/a/b").create() as file:
        file.write(b"x")
    with pytest.raises(FileExistsError):
        io.new_output(f"file://{tmp_path}/a/b").create()
    assert io.sync() == [f"{tmp_path}/a/b"]
    with io.new_input(f"{tmp_path}/a/b").open() as file:
        assert file.read() == b"x"


def test_a_folder_is_synced_until_its_name_is_on_the_disk_and_again_when_it_was_made_anew(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(local_io, "sync_path", synced.append)
    durable = local_io.Durable()

    def write(name):
        synced.clear()
        io = LocalIO({"warehouse": str(tmp_path)}, deferred=True, durable=durable)
        with io.new_output(f"{tmp_path}/{name}").create() as file:
            file.write(b"x")
        io.sync()
        return {os.path.relpath(path, tmp_path) for path in synced}

    assert write("a/b/one") == {"a/b/one", "a/b", "a", "."}
    assert write("a/b/two") == {"a/b/two", "a/b"}
    assert write("a/c/one") == {"a/c/one", "a/c", "a"}
    shutil.rmtree(tmp_path / "a" / "b")
    assert write("a/b/three") == {"a/b/three", "a/b", "a"}
