"""The layers: the document shows those that lint-imports checks, and no file, room or circle is too much."""

from graphlib import TopologicalSorter

import grimp
import layers

from srkd_plugin import registration

LONGEST_FILE = 300
"""Lines."""
LARGEST_ROOM = 0.125
"""Share of the package's lines."""


def test_the_document_shows_the_layers():
    assert layers.main(["--check"]) == 0, "run python tools/layers.py"


def test_another_picture_is_refused_and_then_replaced(tmp_path, monkeypatch, capsys):
    document = tmp_path / "architecture.md"
    document.write_text(f"above\n{layers.BEGIN}an old picture\n{layers.END}below\n")
    monkeypatch.setattr(layers, "DOCUMENT", document)
    assert layers.main(["--check"]) == 1
    assert "run python tools/layers.py" in capsys.readouterr().err
    assert layers.main([]) == 0
    assert document.read_text().startswith("above\n") and document.read_text().endswith("below\n")
    assert "contrastive_loss" in document.read_text()
    assert layers.main(["--check"]) == 0


def test_every_room_and_module_says_what_it_is():
    files = [file for rooms in layers.layers() for room in rooms for file in layers.files_of(room)]
    assert len(files) > 100
    assert [file.name for file in files if not layers._summary(file)] == []


def test_no_file_is_too_long():
    lines = {str(file.relative_to(layers.ROOT)): layers.count_lines(file) for file in layers.PACKAGE.rglob("*.py")}
    assert {file: count for file, count in lines.items() if count > LONGEST_FILE} == {}


def test_no_room_is_too_large():
    lines = layers.lines_by_room()
    shares = {room: count / sum(lines.values()) for room, count in lines.items()}
    assert {room: share for room, share in shares.items() if share > LARGEST_ROOM} == {}


def test_modules_import_each_other_without_circles():
    graph = grimp.build_graph("srkd_plugin")
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the circle
    assert len(imported) > 100


def test_no_module_of_a_command_has_a_name_that_registration_imports():
    """Such a module would be loaded in every training, in the middle of BasicSR's import, where circles arise."""
    rooms = {module.split(".")[1] for module in registration._modules_that_register()}
    assert rooms.isdisjoint({"cli", "report", "tables", "profiling", "export", "evaluate", "runtimes"})
