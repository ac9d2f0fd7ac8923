"""``srkd schema``: prints or writes the schema that is shipped."""

import json

import jsonschema
import tiny
import yaml

from srkd_plugin.cli.main import main
from srkd_plugin.options.schema import json_schema


def test_it_is_printed_or_written(tmp_path, capsys):
    assert main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == json_schema()
    assert main(["schema", "--out", str(tmp_path / "o/s.json")]) == 0
    assert (tmp_path / "o/s.json").read_text() == printed == (tiny.PROJECT / "options/srkd.schema.json").read_text()


def test_that_of_a_table_is_shipped_and_takes_the_tables(tmp_path, capsys):
    assert main(["schema", "--table"]) == 0
    printed = capsys.readouterr().out
    assert printed == (tiny.PROJECT / "options/srkd-table.schema.json").read_text()
    schema = jsonschema.Draft202012Validator(json.loads(printed))
    jsonschema.Draft202012Validator.check_schema(schema.schema)
    tables = list((tiny.PROJECT / "options/tables").glob("*.yml"))
    assert len(tables) >= 3
    for table in tables:
        content = yaml.safe_load(table.read_text())
        assert [error.message for error in schema.iter_errors(content)] == []
        content["slurm"] = {"timeout_min": 10, "mem": 3}
        assert [error.message for error in schema.iter_errors(content)] != []
        content["slurm"] = {"timeout_min": 10, "mem_gb": 3}
        assert [error.message for error in schema.iter_errors(content)] == []
        forms = [({"flags": [], "shards": 2}, True), ([], True), ({"shards": 0}, False), ({"shard": 2}, False)]
        for cache, right in forms:
            content["caches"] = {"plain": cache}
            assert schema.is_valid(content) == right


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["schema", "--out", str(tmp_path / "file/s.json")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: output = ") and errors.count("\n") == 1
