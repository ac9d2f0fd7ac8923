"""A table's YAML: what runs it makes, and what it refuses."""

import copy

import pytest
import tiny
import yaml

from srkd_plugin.errors import OptionsError
from srkd_plugin.tables import plan

SHIPPED = sorted((tiny.PROJECT / "options/tables").glob("*.yml"))
MINIMAL = {
    "name": "t",
    "seeds": [0, 1],
    "baseline": "none",
    "common": {"num_gpu": 0, "train": {"scheduler": {"type": "CosineAnnealingRestartLR", "periods": [9]}}},
    "distill": {"teacher": {"precision": "bf16"}},
    "teacher": {"file": "teacher_edsr_l.yml", "seed": 7, "set": {"network_g": {"num_feat": 32}}},
    "methods": {
        "none": {"file": "student_edsr_m.yml"},
        "output": {"file": "distill_output.yml", "seeds": [1], "set": {"train": {"pixel_opt": {"loss_weight": 255.0}}}},
    },
    "sets": {"Set5": {"dataroot_gt": "datasets/Set5/HR", "dataroot_lq": "datasets/Set5/LR"}},
}


@pytest.fixture
def write(tmp_path):
    """Write a table beside the shipped options files, and return its path."""

    def write_table(content):
        (tmp_path / "options/tables").mkdir(parents=True, exist_ok=True)
        for file in (tiny.PROJECT / "options").glob("*.yml"):
            (tmp_path / "options" / file.name).write_text(file.read_text())
        return tiny.write_options(content, tmp_path / "options/tables/t.yml")

    return write_table


def test_the_runs_are_the_teachers_and_then_seed_by_seed(write):
    file = write(MINIMAL)
    runs = plan.plan_runs(plan.read_table(file), file)
    assert [run.name for run in runs] == ["t_teacher", "t_none_s0", "t_none_s1", "t_output_s1"]
    assert [run.train["manual_seed"] for run in runs] == [7, 0, 1, 1]
    assert all(run.train["name"] == run.name and run.train["num_gpu"] == 0 for run in runs)


def test_a_given_teacher_that_is_not_tested_has_no_run(write):
    given = {"weights": "DAT.pth", "param_key": None, "network": {"type": "SpandrelModel"}, "test": False}
    file = write({**MINIMAL, "teacher": given})
    runs = plan.plan_runs(plan.read_table(file), file)
    assert [(run.name, run.after) for run in runs] == [("t_none_s0", ()), ("t_none_s1", ()), ("t_output_s1", ())]
    assert runs[2].train["network_t"] == {"type": "SpandrelModel"}
    assert (runs[2].train["path"]["pretrain_network_t"], runs[2].train["path"]["param_key_t"]) == ("DAT.pth", None)


def test_a_section_of_another_type_replaces_and_others_merge(write):
    file = write(MINIMAL)
    teacher, none, _, output = plan.plan_runs(plan.read_table(file), file)
    assert none.train["train"]["scheduler"] == {"type": "CosineAnnealingRestartLR", "periods": [9]}
    assert none.train["train"]["optim_g"]["betas"] == [0.9, 0.99]
    assert output.train["train"]["pixel_opt"] == {"type": "L1Loss", "loss_weight": 255.0, "reduction": "mean"}
    assert (teacher.train["network_g"]["num_feat"], teacher.train["network_g"]["num_block"]) == (32, 32)


def test_the_teacher_is_the_one_that_the_table_trains_and_stock_rows_name_none(write):
    file = write(MINIMAL)
    teacher, none, _, output = plan.plan_runs(plan.read_table(file), file)
    assert output.train["path"]["pretrain_network_t"] == "experiments/t_teacher/models/net_g_latest.pth"
    assert output.train["path"]["param_key_t"] == "params_ema"
    assert output.train["network_t"] == teacher.train["network_g"] == teacher.test["network_g"]
    assert output.train["teacher"]["precision"] == "bf16"
    assert not {"network_t", "teacher"} & none.train.keys()


def test_given_weights_are_tested_and_not_trained(write):
    content = copy.deepcopy(MINIMAL)
    content["teacher"] = {"weights": "edsr.pth", "param_key": None}
    file = write(content)
    teacher, *_, output = plan.plan_runs(plan.read_table(file), file)
    assert teacher.train is None
    assert teacher.test["network_g"]["num_feat"] == 256
    assert (output.train["path"]["pretrain_network_t"], output.train["path"]["param_key_t"]) == ("edsr.pth", None)


def test_every_student_is_tested_on_all_sets_with_its_own_network_and_weights(write):
    file = write(MINIMAL)
    none = plan.plan_runs(plan.read_table(file), file)[1]
    assert none.test["path"]["pretrain_network_g"] == "experiments/t_none_s0/models/net_g_latest.pth"
    assert none.test["network_g"] == none.train["network_g"]
    assert [s["name"] for s in none.test["datasets"].values()] == ["Set5"]
    assert none.test["val"]["save_img"] is True


def chained(**rows):
    """A table whose rows are cut from each other's students."""
    content = copy.deepcopy(MINIMAL)
    output = {"file": "distill_output.yml"}
    content["methods"]["output"] = {**output, "set": {"network_g": {"num_feat": 128}}}
    content["methods"]["half"] = {**output, "start_from": "output", "set": {"student": {"by": "magnitude"}}}
    content["methods"].update(rows)
    return content


def test_a_row_that_starts_from_another_row_is_cut_from_its_student_of_the_same_seed(write):
    file = write(chained())
    runs = {run.name: run for run in plan.plan_runs(plan.read_table(file), file)}
    output, half = runs["t_output_s1"], runs["t_half_s1"]
    assert half.train["student"] == {
        "init": "teacher_slice",
        "by": "magnitude",
        "cut_from": {
            "network_g": output.train["network_g"],
            "pretrain_network_g": output.test["path"]["pretrain_network_g"],
            "param_key_g": "params_ema",
        },
    }
    assert output.train["network_g"]["num_feat"] == 128 and half.train["network_g"]["num_feat"] == 64
    assert half.train["network_t"] == runs["t_teacher"].train["network_g"], "it does not learn from the teacher"
    assert (half.after, half.stage) == (("t_output_s1", "t_teacher"), 2)
    assert (output.after, output.stage) == (("t_teacher",), 1)
    assert (runs["t_none_s1"].after, runs["t_none_s1"].stage) == ((), 0)


INT8 = {"file": "quantize_cl_l1.yml", "start_from": "output", "set": {"network_g": {"num_feat": 128}}}


def test_a_row_in_int8_goes_on_from_the_student_that_it_starts_from_and_is_tested_in_int8(write):
    file = write(chained(qat=INT8))
    runs = {run.name: run for run in plan.plan_runs(plan.read_table(file), file)}
    output, qat = runs["t_output_s1"], runs["t_qat_s1"]
    assert qat.train["path"]["pretrain_network_g"] == output.test["path"]["pretrain_network_g"]
    assert qat.train["path"]["param_key_g"] == "params_ema" and "student" not in qat.train
    assert (qat.after, qat.stage) == (("t_output_s1", "t_teacher"), 2)
    assert qat.train["network_g"] == output.train["network_g"]
    tested = {"type": "Int8Student", "network": output.train["network_g"], "float_layers": [], "weight_bits": 8}
    assert qat.test["network_g"] == tested


def test_a_row_whose_file_reads_a_cache_starts_from_another_with_the_cache_of_the_table(write):
    best = {"file": "recipe_best.yml", "start_from": "output", "cache": "plain"}
    content = chained(best=best)
    content["caches"] = {"plain": ["--with-images"]}
    file = write(content)
    runs = {run.name: run for run in plan.plan_runs(plan.read_table(file), file)}
    best, output = runs["t_best_s1"], runs["t_output_s1"]
    assert best.caches == {"tables/t/cache_plain.lmdb": []}
    weights = output.test["path"]["pretrain_network_g"]
    assert best.train["student"]["cut_from"]["pretrain_network_g"] == weights


def test_a_control_of_a_row_in_int8_starts_from_the_same_student_in_float(write):
    without = {**INT8["set"], "path": {"pretrain_network_g": None}, "train": {"quantize": None}}
    file = write(chained(alike={**INT8, "set": without}))
    runs = {run.name: run for run in plan.plan_runs(plan.read_table(file), file)}
    alike, weights = runs["t_alike_s1"], runs["t_output_s1"].test["path"]["pretrain_network_g"]
    assert alike.train["student"]["cut_from"]["pretrain_network_g"] == weights
    assert alike.test["network_g"] == alike.train["network_g"]


def test_a_row_that_names_the_weights_of_another_run_comes_after_it(write):
    weights = "experiments/t_none_s0/models/net_g_latest.pth"
    further = {"file": "student_edsr_m.yml", "set": {"path": {"pretrain_network_g": weights}}}
    file = write(chained(further=further))
    runs = {run.name: run for run in plan.plan_runs(plan.read_table(file), file)}
    assert [runs[name].after for name in ("t_further_s0", "t_further_s1")] == [("t_none_s0",)] * 2


CIRCLE = {"set": {"path": {"pretrain_network_g": "experiments/t_further_s0/models/net_g_latest.pth"}}}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            {"half": {"file": "distill_output.yml", "start_from": "ouput"}},
            "start_from = 'ouput': .*Did you mean 'output'",
        ),
        (
            {"output": {"file": "distill_output.yml", "seeds": [0]}},
            r"methods.half.start_from = 'output': it is not run with \[1\]. Give both the same seeds",
        ),
        (
            {"output": {"file": "distill_output.yml", "start_from": "half"}},
            "methods.output.start_from = 'half': the rows start from each other",
        ),
        (
            {"half": {"file": "student_edsr_m.yml", "start_from": "output"}},
            "methods.half.start_from = 'output': a student is cut from another by DistillModel alone",
        ),
        (
            {"half": {"file": "quantize_cl_l1.yml", "start_from": "output"}},
            "methods.half.start_from = 'output': train.quantize fine-tunes .*, and network_g is not the same",
        ),
        (
            {"half": {**INT8, "set": {**INT8["set"], "train": {"quantize": {"bits": 4}}}}},
            "methods.half: train.quantize.bits = 4",
        ),
        ({"half": {**INT8, "set": {"train": None}}}, "methods.half: train "),
        ({"further": {"file": "student_edsr_m.yml", **CIRCLE}, "none": {"file": "student_edsr_m.yml"}}, None),
    ],
)
def test_rows_that_cannot_start_from_each_other(write, rows, says):
    file = write(chained(**rows))
    if says is None:  # its own weights: it does not wait for itself
        assert [run.after for run in plan.plan_runs(plan.read_table(file), file) if run.name == "t_further_s0"] == [()]
        return
    with pytest.raises(OptionsError, match=says):
        plan.plan_runs(plan.read_table(file), file)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("baseline", "nothing", "baseline = 'nothing': there is no such method. Known: none, output"),
        ("methods.output.seed", [1], "methods.output.seed = .*unknown key. Did you mean 'seeds'"),
        ("methods.output.seeds", [1, 2], "baseline none is not run with .2."),
        ("methods.teacher", {"file": "x.yml"}, "methods = 'teacher': the report has a row of this name already"),
        ("methods.bicubic", {"file": "x.yml"}, "methods = 'bicubic': the report has a row of this name already"),
        (
            "methods.output.label",
            "none",
            "methods.output.label = 'none': methods.none is called so, too. Give each row",
        ),
        ("methods.none.label", "teacher", "methods.none.label = 'teacher': the teacher's row is called so, too"),
        ("methods.none.label", "bicubic", "the row of bicubic interpolation is called so, too"),
        ("methods.output", {"label": "x"}, "methods.output.file is missing"),
        ("seeds", "0", "seeds = '0'"),
        ("name", "../x", "name = '../x'"),
        ("teacher.weights", "x.pth", "either file or weights"),
        ("teacher.test", False, "teacher.test = False: a teacher that the table trains is tested. Remove it."),
        ("pairs", [["output", "fakd"]], "pairs.0 = 'fakd': there is no such method"),
        ("pairs", [["output"]], "two methods are expected"),
        ("groups", {"main": {"title": "T", "sets": ["Set6"]}}, "groups.main.sets = 'Set6'.*Did you mean 'Set5'"),
        ("metods", {}, "metods = .*unknown key. Did you mean 'methods'"),
        ("seeds", [0, 0], "seeds = .0, 0.: .*a seed is in it twice"),
        ("seeds", [-1], "seeds = .-1.: .*greater than or equal to 0"),
        ("methods.output.seeds", [1, 1], "methods.output.seeds = .1, 1.: .*twice"),
        ("teacher.seed", 2**32, "teacher.seed = 4294967296"),
        ("caches", {"plain": ["--out", "/anywhere"]}, "caches.plain = '--out': the table says itself"),
        ("caches", {"plain": ["--shard", "1/2"]}, "caches.plain = '--shard': .* Remove it; shards: N makes it in N"),
        ("caches", {"plain": {"flags": ["--out", "x"]}}, "caches.plain = '--out': the table says itself"),
        ("caches", {"plain": {"shards": 0}}, "caches.plain.shards = 0: .*greater than or equal to 1"),
        ("caches", {"plain": {"shard": 2}}, "caches.plain.shard = 2: unknown key. Did you mean 'shards'"),
        ("caches", {"plain": "--with-images"}, "caches.plain = '--with-images': a section of keys is expected"),
        ("caches", {"p": {"shards": 2}, "p_1of2": []}, "caches = 'p_1of2': .*t[a-z_]*/cache_p_1of2.lmdb, where p is"),
        ("caches", {"plain": ["-opt=x"]}, "caches.plain = '-opt=x': the table says itself"),
        ("sets", {}, "sets = {}: at least one test set is needed. Add e.g. sets: {Set5: {dataroot_gt: "),
        ("sets", None, "sets = None: at least one test set is needed"),
        (
            "methods",
            {},
            "methods = {}: at least one row is needed. Add e.g. methods: {none: {file: student_edsr_m.yml}}",
        ),
    ],
)
def test_what_is_refused(write, path, value, says):
    with pytest.raises(OptionsError, match=says):
        plan.read_table(write(changed(path, value)))


def test_a_table_without_a_test_set(write):
    with pytest.raises(
        OptionsError, match=r"^sets is missing: at least one test set is needed. Add e.g. sets: {Set5: "
    ):
        plan.read_table(write({key: value for key, value in MINIMAL.items() if key != "sets"}))


def changed(path, value):
    content = copy.deepcopy(MINIMAL)
    *parents, last = path.split(".")
    section = content
    for key in parents:
        section = section[key]
    section[last] = value
    return content


BAD_NAMES = ["/../../../evil", "../evil", "a/b", "a\nb", "a\0b", "a\x1b[2J", "", "x" * 300]


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
@pytest.mark.parametrize("section", ["methods", "caches", "sets", "name"])
def test_names_that_become_paths(write, section, name):
    content = copy.deepcopy(MINIMAL)
    values = {"methods": {"file": "student_edsr_m.yml"}, "caches": [], "sets": content["sets"]["Set5"]}
    if section == "name":
        content["name"] = name
    else:
        content.setdefault(section, {})[name] = values[section]
    with pytest.raises(OptionsError, match=rf"^{section} = ") as refused:
        plan.read_table(write(content))
    assert str(refused.value).isprintable()


def test_names_that_are_too_long_together(write):
    content = copy.deepcopy(MINIMAL)
    content["name"], content["methods"]["m" * 150] = "t" * 150, {"file": "student_edsr_m.yml"}
    with pytest.raises(OptionsError, match=r"methods = 'ttt.* and has 309 bytes"):
        plan.read_table(write(content))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("methods.output.set", {"train": None}, r"methods.output: train = None: .* must have this section"),
        ("methods.output.set", {"datasets": []}, r"methods.output.set.datasets = \[\]: the options have a section"),
        ("methods.output.set", {"datasets": {"train": None}}, r"methods.output: datasets.train = None"),
        ("methods.output.set", {"train": {"optim_g": 5}}, r"methods.output.set.train.optim_g = 5: .* a section"),
        ("methods.output.set", {"train": {"ema_decay": "x"}}, r"methods.output: train.ema_decay = 'x': a number"),
        ("methods.output.file", "test_student.yml", r"methods.output: datasets.train is missing"),
        ("common", {"network_g": None}, r"teacher: network_g|methods.none: network_g = None"),
        ("teacher.set", {"train": None}, r"teacher: train = None"),
    ],
)
def test_what_is_set_to_what_no_run_can_have(write, path, value, says):
    file = write(changed(path, value))
    table = plan.read_table(file)
    with pytest.raises(OptionsError, match=says):
        plan.plan_runs(table, file)


def test_an_optional_section_can_be_taken_away(write):
    file = write(changed("methods.output.set", {"val": None}))
    assert plan.plan_runs(plan.read_table(file), file)[-1].train["val"] is None


def test_a_key_that_is_there_twice(write):
    file = write(MINIMAL)
    file.write_text(file.read_text() + "seeds: [0]\n")
    with pytest.raises(OptionsError, match=r"seeds = .*this key a second time"):
        plan.read_table(file)


def test_a_file_that_is_not_there_is_named(write, tmp_path):
    with pytest.raises(OptionsError, match=r"gone.yml.*cannot be read"):
        plan.read_table(tmp_path / "gone.yml")
    content = copy.deepcopy(MINIMAL)
    content["methods"]["none"]["file"] = "gone.yml"
    file = write(content)
    with pytest.raises(OptionsError, match=r"methods.none.file = 'gone.yml': there is no such file"):
        plan.plan_runs(plan.read_table(file), file)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f.stem)
def test_shipped_tables_train_all_rows_alike(file):
    """Rows of a table differ in nothing but the method: same data, network, optimizer, and seeds within a baseline."""
    table = plan.read_table(file)
    runs = plan.plan_runs(table, file)
    assert {run.name for run in runs} and len({run.name for run in runs}) == len(runs)
    by_name = {(run.method, run.seed): run.train for run in runs}
    for run in runs[1:]:
        baseline = by_name[table.baseline_of(run.method), run.seed]
        for key in ("datasets", "network_g", "manual_seed", "val", "scale"):
            ours, theirs = run.train[key], baseline[key]
            if key == "datasets" and "dataroot_teacher" in ours["train"]:  # the teacher's images come with the data
                own = ("type", "dataroot_teacher")
                ours, theirs = ({k: v for k, v in d["train"].items() if k not in own} for d in (ours, theirs))
            assert ours == theirs, (run.name, key)
        for key in ("optim_g", "scheduler", "total_iter", "ema_decay"):
            assert run.train["train"][key] == baseline["train"][key], (run.name, key)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f.stem)
def test_shipped_tables_say_how_to_run_them(file):
    assert f"srkd table run options/tables/{file.name}" in file.read_text().split("\nname:")[0]
    assert yaml.safe_load(file.read_text())["name"] == file.stem
