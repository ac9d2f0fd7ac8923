"""``srkd table``: the report of stored results, what would be run, and what is refused in one line."""

import copy

import pytest
import realesr
import tiny
import torch
import yaml

from srkd_plugin.cli.main import main
from srkd_plugin.cli.parser import gpu_ids
from srkd_plugin.preflight import table_rows
from srkd_plugin.tables import runner

TABLE = str(tiny.PROJECT / "options/tables/cpu.yml")
RESULTS = str(tiny.PROJECT / "docs/results/cpu")


@pytest.mark.parametrize("flag", ["--dry-run", "--dry_run"])
def test_a_dry_run_prints_the_commands_and_writes_nothing(tmp_path, monkeypatch, capsys, flag):
    monkeypatch.chdir(tmp_path)
    assert main(["table", "run", TABLE, "--methods", "fakd", "--seeds", "0", flag]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert all(line.startswith("$ python -m srkd_plugin.t") for line in shown) and len(shown) >= 2
    assert tiny.tree(tmp_path) == {}


def test_a_report_of_stored_results(tmp_path, capsys):
    assert main(["table", "report", TABLE, "--results", RESULTS, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == (tmp_path / "out/table.md").read_text("utf-8").strip()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "none.yml"], "error: file = 'none.yml'"),
        (["run", TABLE, "--methods", "fakt"], "error: --methods = 'fakt': the table has none"),
        (["report", TABLE, "--results", "a", "b"], "error: --out is missing: results of several folders"),
        (["report", TABLE, "--results", "none"], "error: "),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["table", *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(words) and errors.count("\n") == 1
    assert tiny.tree(tmp_path) == {}


FIRST_ROWS = "experiments/t_none_s0/models/net_g_latest.pth"
SMALL = {
    "name": "t",
    "seeds": [0, 1, 2],
    "baseline": "none",
    "common": {"train": {"warmup_iter": 2}},
    "teacher": {"file": "student.yml", "set": {"network_g": tiny.TEACHER}},
    "caches": {"plain": ["--with-images"]},
    "methods": {
        "none": {"file": "student.yml"},
        "live": {"file": "distill.yml", "set": {"teacher": {"random_init": False}}},
        "cached": {"file": "distill.yml", "cache": "plain", "set": {"student": {"init": "teacher_slice"}}},
        "further": {"file": "student.yml", "set": {"path": {"pretrain_network_g": FIRST_ROWS}}},
    },
    "sets": {"S": {"dataroot_gt": "DATA/HR", "dataroot_lq": "DATA/LR"}},
}


@pytest.fixture
def start(tmp_path, data, monkeypatch, capsys):
    """Start a table, whose runs are only counted; nothing is written."""
    (tmp_path / "options/tables").mkdir(parents=True)
    tiny.write_tables_options(tmp_path / "options", data)
    monkeypatch.chdir(tmp_path)
    started = []

    def stop(self, runs):
        started.extend(run.name for run in runs)
        raise runner.RunFailed("stopped")

    monkeypatch.setattr(runner.Runner, "run_all", stop)

    def run(content, *flags):
        content = yaml.safe_load(yaml.safe_dump(content, sort_keys=False).replace("DATA", str(data)))
        tiny.write_options(content, tmp_path / "options/tables/t.yml")
        before = tiny.tree(tmp_path)
        code = main(["table", "run", "options/tables/t.yml", *flags])
        assert tiny.tree(tmp_path) == before
        return code, capsys.readouterr().err, started

    with torch.random.fork_rng(devices=[]):
        yield run


def changed(path, value):
    content = copy.deepcopy(SMALL)
    *parents, key = path.split(".")
    section = content
    for parent in parents:
        section = section.setdefault(parent, {})
    section[key] = value
    return content


def test_rows_that_start_from_each_other_are_checked_before_there_are_weights(start):
    content = changed("methods.half", {"file": "distill.yml", "start_from": "live"})
    content["methods"]["live"]["set"]["network_g"] = {"num_feat": 10}
    code, error, started = start(content)
    assert (code, error) == (1, "error: stopped\n")
    content["methods"]["live"]["set"]["network_g"] = {"num_feat": 6}
    code, error, _ = start(content)
    assert code == 2 and len(started) == 1 + 5 * 3
    assert error.startswith("error: methods.half: student.cut_from = 'EDSR': conv_first.weight is (8, 3, 3, 3) in the")
    assert error.count("\n") == 1


def test_a_row_in_int8_is_checked_before_there_are_weights(start):
    int8 = {"train": {"quantize": {"observe": 1, "freeze": 2}}}
    content = changed("methods.qat", {"file": "distill.yml", "start_from": "live", "set": int8})
    code, error, started = start(content)
    assert (code, error) == (1, "error: stopped\n")
    int8["train"]["quantize"] = {"float_layers": ["conv_frist"]}
    code, error, _ = start(content)
    assert code == 2 and len(started) == 1 + 5 * 3
    assert error.startswith("error: methods.qat: train.quantize.float_layers = 'conv_frist'")


@pytest.mark.parametrize("path", [None, "experiments"])
def test_a_row_without_a_section_of_paths_is_refused(start, path):
    code, error, started = start(changed("methods.live.set.path", path))
    assert code == 2 and not started and error.count("\n") == 1
    assert error.startswith("error: methods.live"), error


def test_a_row_in_int8_without_weights_to_start_from_is_refused(start):
    content = changed("methods.qat", {"file": "distill.yml", "set": {"train": {"quantize": {}}}})
    code, error, started = start(content)
    assert code == 2 and not started
    assert error.startswith("error: methods.qat: path.pretrain_network_g is missing: train.quantize fine-tunes")


def test_a_row_of_several_teachers_is_checked_before_there_are_weights(start):
    teachers = {"a": {"network_t": tiny.TEACHER}, "b": {"network_t": {**tiny.TEACHER, "num_feat": 9}}}
    for name, run in (("a", "teacher"), ("b", "larger_s0")):
        teachers[name]["pretrain_network_t"] = f"experiments/t_{run}/models/net_g_latest.pth"
    alone = {"network_t": None, "teacher": {"random_init": False}, "path": {"pretrain_network_t": None}}
    content = changed("methods.both", {"file": "distill.yml", "set": {**alone, "teachers": teachers}})
    content["methods"]["larger"] = {"file": "student.yml", "set": {"network_g": {"num_feat": 9, "num_block": 2}}}
    content["methods"]["both_cached"] = {**content["methods"]["both"], "cache": "plain"}
    for weights in (content["methods"][row]["set"]["teachers"] for row in ("both", "both_cached")):
        for section in weights.values():
            section["param_key_t"] = "params_ema"
    code, error, started = start(content)
    assert (code, error) == (1, "error: stopped\n")
    teachers["b"]["network_t"] = {**tiny.TEACHER, "num_fat": 9}
    code, error, _ = start(content)
    assert code == 2 and len(started) == 1 + 7 * 3
    assert error.startswith("error: methods.both: teachers.b.network_t.num_fat = 9: unknown key.")


def test_a_row_that_makes_its_lq_images_itself_is_checked_as_an_options_file_is(start, tmp_path, data):
    tiny.write_options(realesr.options(data, None), tmp_path / "options/real.yml")
    content = changed("methods.real", {"file": "real.yml", "set": {"teacher": {"random_init": False}}})
    code, error, started = start(content)
    assert (code, error) == (1, "error: stopped\n")
    assert {f"t_real_s{seed}" for seed in SMALL["seeds"]} <= set(started)
    content["methods"]["real"]["set"]["queue_size"] = 5
    code, error, _ = start(content)
    assert code == 2 and error.startswith("error: methods.real: queue_size = 5: the training pair pool must hold")
    content["methods"]["real"].update(cache="plain", set={"teacher": {"random_init": False}})
    code, error, _ = start(content)
    assert code == 2 and error.startswith("error: methods.real: datasets.train.type = 'TeacherCacheDataset': ")
    assert "cache of a table's row" in error and error.count("\n") == 1


def test_rows_that_need_what_the_table_makes_are_started(start):
    code, error, started = start(SMALL)
    assert (code, error) == (1, "error: stopped\n")
    assert len(started) == 1 + 4 * 3


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("common.train.optim_g", {"lr": -1}, "teacher: train.optim_g.lr = -1: Input should be greater than 0"),
        ("methods.none.set.network_g.num_block", "x", "methods.none: network_g"),
        (
            "methods.live.set.train.distill_opt.contrastive.similarty",
            "l1",
            "methods.live: train.distill_opt.contrastive.similarty = 'l1': unknown key. Did you mean 'similarity'?",
        ),
        (
            "methods.cached.set.train.distill_opt.hint",
            {"type": "FeatureLoss", "taps": {"student": ["body.0"], "teacher": ["body.0"]}},
            "methods.cached: train.distill_opt.hint",
        ),
        ("methods.live.set.path.pretrain_network_g", "none.pth", "methods.live: path.pretrain_network_g = 'none.pth'"),
        ("methods.none.set.model_type", "SRModell", "methods.none: model_type = 'SRModell': no model is registered"),
        ("sets.S.dataroot_gt", "none", "sets.S.dataroot_gt = 'none'"),
        ("caches.plain", ["--with-imagess"], "caches.plain = ['--with-imagess']: unrecognized arguments"),
        ("caches.plain", {"flags": ["--x"], "shards": 2}, "caches.plain = ['--x']: unrecognized arguments"),
        ("teacher", {"weights": "none.pth", "network": tiny.TEACHER}, "teacher: path.pretrain_network_g = 'none.pth'"),
    ],
)
def test_a_row_that_would_be_refused_keeps_the_table_from_starting(start, path, value, says):
    code, error, started = start(changed(path, value))
    assert error.startswith(f"error: {says}") and error.count("\n") == 1
    assert (code, started) == (2, [])


def test_a_warning_is_said_once_with_the_first_row_that_has_it(start):
    _, error, _ = start(changed("common.train.ema_decy", 0.5))
    assert error.startswith("warning: teacher: train.ema_decy = 0.5: unknown key") and error.count("ema_decy") == 1


def test_a_row_is_checked_once_whatever_the_number_of_its_seeds(start, monkeypatch):
    looked_at = []
    check = table_rows.check_stock_run
    monkeypatch.setattr(table_rows, "check_stock_run", lambda opt: looked_at.append(opt["name"]) or check(opt))
    start(SMALL)
    assert looked_at == ["t_teacher", "t_none_s0", "t_further_s0"]


@pytest.mark.parametrize("ids", [["x"], ["0", "1x"], ["0,"], [""]])
def test_a_gpu_is_a_number_or_a_uuid(capsys, ids):
    with pytest.raises(SystemExit):
        main(["table", "run", TABLE, "--gpus", *ids])
    assert f"argument --gpus: {ids[-1]!r} is no number of a GPU" in capsys.readouterr().err


def test_gpus_by_number_uuid_and_several_per_run():
    assert [gpu_ids(text) for text in ("0", "0,1", "GPU-5d6c-a0", "MIG-1/2/3")] == [
        "0",
        "0,1",
        "GPU-5d6c-a0",
        "MIG-1/2/3",
    ]
