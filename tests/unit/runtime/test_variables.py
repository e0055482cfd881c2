import pytest

from headgate.errors import FixInputError, MissingSecretError
from headgate.runtime.variables import read_env_file, resolve


def test_variables_are_replaced_at_any_depth():
    value = {"host": "${HOST:-localhost}", "list": ["${A}/${B}"], "port": 5432}
    assert resolve(value, {"A": "x", "B": "y"}, "f") == {"host": "localhost", "list": ["x/y"], "port": 5432}


def test_an_empty_variable_takes_the_default():
    assert resolve("${A:-d}", {"A": ""}, "f") == "d"


def test_a_missing_variable_is_named_with_its_place():
    with pytest.raises(MissingSecretError, match=r"c\.yaml:3:5: \$\{PASSWORD\} is not set"):
        resolve("x${PASSWORD}", {}, "c.yaml:3:5")


def test_a_replaced_value_is_not_replaced_again():
    assert resolve("${A}", {"A": "${B}", "B": "no"}, "f") == "${B}"


def test_env_file_is_read_line_by_line(tmp_path):
    file = tmp_path / ".env"
    file.write_text("# secret\nexport A='x y'\nB=\"z\"\n\nC=1=2\n")
    assert read_env_file(file) == {"A": "x y", "B": "z", "C": "1=2"}
    assert read_env_file(tmp_path / "none") == {}


def test_a_bad_env_line_is_named_without_its_value(tmp_path):
    file = tmp_path / ".env"
    file.write_text("A=1\nhunter2 is my password\n")
    with pytest.raises(FixInputError) as caught:
        read_env_file(file)
    assert ".env:2:1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
