"""Where a table's options files are looked for, and what it says if they are not there or are no use to it."""

import pytest
import tiny
import yaml

from srkd_plugin.cli.main import main
from srkd_plugin.errors import OptionsError
from srkd_plugin.tables import plan

CONTENT = {
    "name": "t",
    "seeds": [0],
    "baseline": "none",
    "teacher": {"weights": "edsr.pth"},
    "caches": {"plain": ["--with-images"]},
    "methods": {"none": {"file": "student_edsr_m.yml"}},
    "sets": {"Set5": {"dataroot_gt": "datasets/Set5/HR", "dataroot_lq": "datasets/Set5/LR"}},
}


def plan_of(folder, **rows):
    """The runs of a table in ``folder/tables``, by method."""
    (folder / "tables").mkdir(exist_ok=True)
    content = {**CONTENT, "methods": {**CONTENT["methods"], **rows}}
    file = tiny.write_options(content, folder / "tables/t.yml")
    return {run.method: run for run in plan.plan_runs(plan.read_table(file), file)}


def write_student(file, num_feat):
    student = yaml.safe_load((tiny.PROJECT / "options/student_edsr_m.yml").read_text())
    student["network_g"]["num_feat"] = num_feat
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(student))


def test_a_file_is_looked_for_beside_the_table_then_above_it_then_among_the_shipped(tmp_path):
    found = []
    for place, num_feat in ((None, 64), (tmp_path, 48), (tmp_path / "tables", 32)):
        if place is not None:
            write_student(place / "student_edsr_m.yml", num_feat)
        found.append(plan_of(tmp_path)["none"].train["network_g"]["num_feat"])
    assert found == [64, 48, 32]


def test_a_file_that_is_in_no_folder_is_named_as_it_was_written_with_its_row_and_the_folders(tmp_path):
    with pytest.raises(OptionsError) as refused:
        plan_of(tmp_path, output={"file": "distil_output.yml"})
    looked_in = f"{tmp_path}/tables, {tmp_path}, {tiny.PROJECT}/options"
    said = f"methods.output.file = 'distil_output.yml': there is no such file; looked in: {looked_in}. "
    assert str(refused.value) == said + "Did you mean 'distill_output.yml'?"
    with pytest.raises(OptionsError, match=r"file = 'sub/0.yml': .*/tables/sub, .*Put it beside the table, or name"):
        plan_of(tmp_path, output={"file": "sub/0.yml"})


def test_a_file_that_is_no_options_file_is_named_with_its_row(tmp_path):
    (tmp_path / "list.yml").write_text("[1]")
    with pytest.raises(OptionsError, match=r"^methods.output.file = '/.*/list.yml': it holds no sections"):
        plan_of(tmp_path, output={"file": "list.yml"})


RECIPE = {"file": "recipe_best.yml"}


def test_a_row_never_reads_the_cache_that_its_file_names(tmp_path):
    with pytest.raises(
        OptionsError, match=r"methods.best: datasets.train.dataroot_teacher is missing: recipe_best"
    ) as e:
        plan_of(tmp_path, best=RECIPE)
    assert "cache: NAME" in str(e.value)
    own = {"datasets": {"train": {"dataroot_teacher": "mine.lmdb"}}}
    live = {"datasets": {"train": {"type": "PairedImageDataset"}}}
    runs = plan_of(
        tmp_path, best={**RECIPE, "cache": "plain"}, own={**RECIPE, "set": own}, live={**RECIPE, "set": live}
    )
    found = {name: list(run.caches) for name, run in runs.items() if name not in ("teacher", "none")}
    assert found == {"best": ["tables/t/cache_plain.lmdb"], "own": ["mine.lmdb"], "live": []}
    assert "dataroot_teacher" not in runs["live"].train["datasets"]["train"]


def test_a_dry_run_prints_each_cache_once_before_the_first_run_that_reads_it(tmp_path, monkeypatch, capsys):
    rows = {"best": {**RECIPE, "cache": "plain"}, "l1": {"file": "distill_cl_l1.yml", "cache": "plain"}}
    content = {**CONTENT, "seeds": [0, 1], "caches": {"plain": {"flags": ["--with-images"], "shards": 2}}}
    content["methods"] = {**CONTENT["methods"], **rows}
    file = tiny.write_options(content, tmp_path / "t.yml")
    monkeypatch.chdir(tmp_path)
    before = tiny.tree(tmp_path)
    assert main(["table", "run", str(file), "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    made = [i for i, line in enumerate(shown) if " cache make " in line]
    first = next(i for i, line in enumerate(shown) if "train -opt tables/t/options/t_best_s0.yml" in line)
    make = "$ python -m srkd_plugin cache make -opt tables/t/options/t_best_s0.yml --out tables/t/cache_plain"
    assert [shown[i] for i in made] == [f"{make}_{i}of2.lmdb --shard {i}/2 --with-images" for i in (1, 2)]
    assert made == [first - 2, first - 1]
    for part in (1, 2):
        (tmp_path / f"tables/t/cache_plain_{part}of2.lmdb").mkdir(parents=True)
    assert main(["table", "run", str(file), "--dry-run"]) == 0
    assert " cache make " not in capsys.readouterr().out
    assert before.keys() <= tiny.tree(tmp_path).keys() and not (tmp_path / "tables/t/options").exists()
