"""Several teachers, live and cached: what the student learns from, what is checked, described, resumed and refused."""

import copy
import logging
import random
import re
import shutil

import cached
import pytest
import tiny
import torch
from basicsr.archs import build_network

from srkd_plugin.cli.main import main
from srkd_plugin.distill.targets.find import find_source
from srkd_plugin.distill.targets.several import mean_of, nearest_to
from srkd_plugin.errors import OptionsError
from srkd_plugin.options import reader
from srkd_plugin.preflight import describe_run, run_checks
from srkd_plugin.preflight.resume import compare_with_state
from srkd_plugin.teacher_cache.matches_run import teacher_identity
from srkd_plugin.teacher_cache.store import CacheReader
from srkd_plugin.teacher_cache.teacher_cache_dataset import TeacherCacheDataset
from srkd_plugin.training.resume_record import make_record

SECOND = {**tiny.STUDENT, "num_feat": 10, "num_block": 1}
"""Another architecture than ``tiny.TEACHER``."""


ONE_CACHE = {"datasets": {"train": {"type": "PairedImageDataset"}}}


@pytest.fixture(scope="module")
def second_file(tmp_path_factory):
    """Weights of the second teacher."""
    path = tmp_path_factory.mktemp("second") / "second.pth"
    torch.manual_seed(11)
    torch.save({"params_ema": build_network(dict(SECOND)).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def second_cache(data, second_file, tmp_path_factory):
    """A cache of the second teacher; other storage, with the images."""
    out = tmp_path_factory.mktemp("second_cache") / "second.lmdb"
    opt = tiny.distill_options(data, second_file)
    opt["network_t"], opt["path"]["param_key_t"] = dict(SECOND), "params_ema"
    cached.make_cache(cached.job(opt, out, storage="float16", with_images=True))
    return out


@pytest.fixture
def opt(data, teacher_file, second_file):
    """Two live teachers."""
    opt = tiny.distill_options(data, None)
    del opt["network_t"], opt["teacher"]
    for key in ("pretrain_network_t", "param_key_t", "strict_load_t"):
        del opt["path"][key]
    opt["teachers"] = {
        "first": {"network_t": dict(tiny.TEACHER), "pretrain_network_t": str(teacher_file)},
        "second": {"network_t": dict(SECOND), "pretrain_network_t": str(second_file), "param_key_t": "params_ema"},
    }
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss", "loss_weight": 1.0}}
    return opt


def with_caches(opt, **caches):
    section = opt["datasets"]["train"]
    section.update(type="TeacherCacheDataset", dataroot_teacher={name: str(path) for name, path in caches.items()})
    return opt


def of_their_own(opt, name, lq):
    """A teacher's images, by a network that is built and loaded here."""
    section = opt["teachers"][name]
    net = build_network(dict(section["network_t"]))
    net.load_state_dict(torch.load(section["pretrain_network_t"])[section.get("param_key_t", "params")])
    with torch.no_grad():
        return net(lq)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"lq": torch.rand(2, 3, 8, 6, generator=generator), "gt": torch.rand(2, 3, 16, 12, generator=generator)}


def targets(opt, given):
    source = find_source(reader.read(opt))
    source.build(torch.device("cpu"))
    return source.targets(given, with_maps=False).images


@pytest.mark.parametrize("weights", [(None, None), (3.0, None), (0.5, 0.25)])
def test_the_mean_is_weighted(opt, weights):
    for section, weight in zip(opt["teachers"].values(), weights):
        section.update({} if weight is None else {"weight": weight})
    given = batch()
    first, second = (of_their_own(opt, name, given["lq"]).double() for name in ("first", "second"))
    a, b = (1.0 if weight is None else weight for weight in weights)
    torch.testing.assert_close(targets(opt, given).double(), (a * first + b * second) / (a + b), rtol=0, atol=1e-6)


def test_each_pixel_is_that_of_the_teacher_nearest_to_gt(opt):
    opt["teacher"] = {"combine": "nearest_gt"}
    given = batch()
    first, second = (of_their_own(opt, name, given["lq"]) for name in ("first", "second"))
    given["gt"] = torch.where(torch.rand(2, 1, 16, 12) < 0.3, first, second) + 0.01 * torch.rand(2, 3, 16, 12)
    expected, taken = torch.empty_like(first), set()
    for n in range(2):
        for y in range(16):
            for x in range(12):
                errors = [float((image - given["gt"])[n, :, y, x].abs().sum()) for image in (first, second)]
                taken.add(errors[1] < errors[0])
                expected[n, :, y, x] = (second if errors[1] < errors[0] else first)[n, :, y, x]
    assert taken == {False, True}
    assert torch.equal(targets(opt, given), expected)


def test_of_equally_near_teachers_the_first_is_taken_and_one_teacher_is_itself():
    gt = torch.zeros(1, 3, 2, 2)
    above, below = torch.full_like(gt, 0.25), torch.full_like(gt, -0.25)
    assert torch.equal(nearest_to(gt, [above, below]), above)
    assert torch.equal(nearest_to(gt, [below, above]), below)
    assert torch.equal(nearest_to(gt, [below]), below)
    assert torch.equal(mean_of([above], [0.3]), above)


def items(dataset, seed=3):
    random.seed(seed)
    return [dataset[index] for index in (4, 0, 2, 4)]


def test_two_caches_give_one_crop(data, opt, cache, second_cache):
    """LQ, GT and each teacher's image are those of data sets that read one of the caches, drawn with the same seed."""
    with_caches(opt, first=cache, second=second_cache)
    section = {**opt["datasets"]["train"], "phase": "train", "scale": 2}
    both = items(TeacherCacheDataset(copy.deepcopy(section)))
    for name, folder in (("first", cache), ("second", second_cache)):
        alone = items(TeacherCacheDataset({**copy.deepcopy(section), "dataroot_teacher": str(folder)}))
        for item, expected in zip(both, alone):
            assert set(item) == (set(expected) - {"teacher"}) | {"teacher_first", "teacher_second"}
            assert torch.equal(item["lq"], expected["lq"]) and torch.equal(item["gt"], expected["gt"])
            assert torch.equal(item[f"teacher_{name}"], expected["teacher"])


@pytest.mark.parametrize("names", [("first", "second"), ("second",)], ids=["cached and cached", "live and cached"])
@pytest.mark.parametrize("combine", ["mean", "nearest_gt"])
def test_cached_teachers_are_combined_as_live_ones(opt, cache, second_cache, names, combine):
    """Any images may stand in the batch: those of cached teachers are taken from there, the others are computed."""
    caches = {"first": cache, "second": second_cache}
    opt["teacher"] = {"combine": combine}
    given = batch()
    images = {name: of_their_own(opt, name, given["lq"]) for name in caches}
    for name in names:
        images[name] = given[f"teacher_{name}"] = torch.rand(2, 3, 16, 12)
    with_caches(opt, **{name: caches[name] for name in names})
    both = list(images.values())
    expected = (both[0] + both[1]) / 2 if combine == "mean" else nearest_to(given["gt"], both)
    torch.testing.assert_close(targets(opt, given), expected, rtol=0, atol=1e-6)


def test_the_cache_of_one_of_the_teachers_is_made_from_the_same_options_file(opt, tmp_path, capsys):
    with_caches(opt, second=tmp_path / "second.lmdb")
    file = str(tiny.write_options(opt, tmp_path / "several.yml"))
    assert main(["cache", "make", "-opt", file, "--teacher", "second", "--device", "cpu"]) == 0
    section = {"network_t": opt["teachers"]["second"]["network_t"], "path": {**opt["path"]}}
    weights = opt["teachers"]["second"]["pretrain_network_t"]
    section["path"].update(pretrain_network_t=weights, param_key_t="params_ema")
    alone = reader.read_plugin_sections({**{k: v for k, v in opt.items() if k != "teachers"}, **section, **ONE_CACHE})
    assert CacheReader("cache", tmp_path / "second.lmdb").info.teacher == teacher_identity(alone)
    run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    capsys.readouterr()
    for flags, says in (
        ([], "error: --teacher is missing: the options have several teachers. Name one of: first, second."),
        (["--teacher", "secnd"], "error: --teacher = 'secnd': there is no such teacher. Did you mean 'second'?"),
        (["--teacher", "first"], "error: --out = None: the options have no TeacherCacheDataset to say where"),
    ):
        assert main(["cache", "make", "-opt", file, *flags]) == 2
        assert capsys.readouterr().err.startswith(says)
    single = str(tiny.write_options({**tiny.distill_options(tmp_path, None), "name": "one"}, tmp_path / "one.yml"))
    assert main(["cache", "make", "-opt", single, "--teacher", "a"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: --teacher = 'a': the options have no section teachers. Remove it."
    )


def train(model, steps):
    logs = []
    for i in steps:
        given = batch(i)
        generator = torch.Generator().manual_seed(100 + i)
        given.update(
            {key: torch.rand(2, 3, 16, 12, generator=generator) for key in ("teacher_first", "teacher_second")}
        )
        model.feed_data(given)
        model.update_learning_rate(i)
        model.optimize_parameters(i)
        logs.append(dict(model.log_dict))
    return logs


@pytest.mark.parametrize("names", [(), ("first", "second"), ("first",)], ids=["live", "cached", "cached and live"])
def test_a_run_goes_on_exactly(opt, tmp_path, cache, second_cache, names):
    caches = {"first": cache, "second": second_cache}
    if names:
        with_caches(opt, **{name: caches[name] for name in names})
    run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    straight = tiny.model(opt, tmp_path / "straight")
    logs = train(straight, [1, 2, 3, 4])
    first = tiny.model(opt, tmp_path)
    train(first, [1, 2])
    first.save(0, 2)
    root = tmp_path / "experiments" / opt["name"]
    opt["path"]["pretrain_network_g"] = str(root / "models/net_g_2.pth")
    second = tiny.model(opt, tmp_path, seed=99)
    state = torch.load(root / "training_states/2.state")
    assert compare_with_state(reader.read(tiny.parsed(copy.deepcopy(opt), tmp_path)), state) == []
    second.resume_training(state)
    assert [log["l_output"] for log in train(second, [3, 4])] == [log["l_output"] for log in logs[2:]]
    found, expected = (model.net_g.state_dict() for model in (second, straight))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_student_is_cut_from_the_first_teacher(opt, tmp_path):
    opt["student"] = {"init": "teacher_slice"}
    run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    weights = torch.load(opt["teachers"]["first"]["pretrain_network_t"])["params"]
    assert torch.equal(tiny.model(opt, tmp_path).net_g.conv_first.weight, weights["conv_first.weight"][:8])


@pytest.mark.parametrize(
    ("combine", "said"),
    [
        ("mean", "2 teachers are combined (teacher.combine: mean), their weighted mean: first 1, second 3."),
        (
            "nearest_gt",
            "2 teachers are combined (teacher.combine: nearest_gt), each pixel is that of the one nearest to GT: "
            "first, second.",
        ),
    ],
)
def test_the_log_says_once_how_they_are_combined(opt, tmp_path, caplog, combine, said):
    opt["teacher"] = {"combine": combine}
    if combine == "mean":
        opt["teachers"]["second"]["weight"] = 3.0
    logger = logging.getLogger("basicsr")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger="basicsr"):
        run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
        assert not caplog.messages
        tiny.model(opt, tmp_path)
    logger.removeHandler(caplog.handler)
    assert caplog.messages.count(said) == 1


def test_one_of_them_is_measured(opt, tmp_path, capsys):
    file = str(tiny.write_options(opt, tmp_path / "several.yml"))
    assert main(["teacher", "verify", "-opt", file]) == 2
    assert capsys.readouterr().err == (
        "error: --teacher is missing: the options have several teachers. Name one of: first, second.\n"
    )
    section = opt["teachers"]["second"]
    path = {**opt["path"], "pretrain_network_t": section["pretrain_network_t"], "param_key_t": "params_ema"}
    alone = {**opt, "network_t": section["network_t"], "path": path}
    del alone["teachers"]
    one = str(tiny.write_options(alone, tmp_path / "one.yml"))
    printed = []
    for arguments in ([file, "--teacher", "second"], [file, "--teacher", "first"], [one]):
        assert main(["teacher", "verify", "--device", "cpu", "-opt", *arguments]) in (0, 1)  # random weights
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[2] != printed[1]
    folders = [opt["datasets"]["val"]["dataroot_gt"], opt["datasets"]["val"]["dataroot_lq"]]
    del opt["datasets"]
    bare = str(tiny.write_options(opt, tmp_path / "bare.yml"))
    given = ["--teacher", "second", "--gt", folders[0], "--lq", folders[1], "--device", "cpu"]
    assert main(["teacher", "verify", "-opt", bare, *given]) in (0, 1)
    assert capsys.readouterr().out == printed[0]


def test_the_run_is_described_teacher_by_teacher(opt, tmp_path, cache):
    with_caches(opt, first=cache)
    opt["teachers"]["second"]["weight"] = 3.0
    facts = describe_run.describe(tiny.parsed(opt, tmp_path))
    file = opt["teachers"]["second"]["pretrain_network_t"]
    parameters = sum(p.numel() for p in build_network(dict(SECOND)).parameters())
    second = {"type": "EDSR", "parameters": parameters, "weights": file, "weight": 3.0}
    assert facts["teacher"]["second"] == second
    assert facts["teacher"]["first"]["cache"] == str(cache)
    line = next(line for line in describe_run.lines(facts) if line.startswith("teacher:"))
    assert line.startswith("teacher: 2 teachers, combined: mean, first: (EDSR, ")
    assert line.endswith(f"second: (EDSR, {parameters:,} parameters, weights: {file}, weight: 3.0)")


def test_every_file_is_in_the_record_and_another_content_is_refused_on_resume(opt, tmp_path, cache):
    with_caches(opt, first=cache)
    copied = tmp_path / "second.pth"
    shutil.copy(opt["teachers"]["second"]["pretrain_network_t"], copied)
    opt["teachers"]["second"]["pretrain_network_t"] = str(copied)
    options = reader.read(tiny.parsed(opt, tmp_path))
    record = make_record(options, find_source(options).files_sha256())
    keys = ["datasets.train.dataroot_teacher.first", "teachers.second.pretrain_network_t"]
    assert list(record["files"]) == keys
    assert [record["files"][key][0] for key in keys] == [str(cache), str(copied)]
    assert "pretrain_network_t" not in record["options"]["teachers"]["second"]
    model = tiny.model(opt, tmp_path)
    train(model, [1, 2])
    model.save(0, 2)
    state = torch.load(tmp_path / "experiments" / opt["name"] / "training_states/2.state")
    torch.manual_seed(12)
    torch.save({"params_ema": build_network(dict(SECOND)).state_dict()}, copied)
    with pytest.raises(OptionsError, match=r"^teachers.second.pretrain_network_t = .*another content of it"):
        compare_with_state(options, state)


def test_a_cache_is_compared_with_its_own_teacher(opt, tmp_path, cache, second_cache):
    with_caches(opt, first=second_cache, second=cache)
    with pytest.raises(OptionsError) as caught:
        run_checks.check(tiny.parsed(opt, tmp_path))
    said = f"datasets.train.dataroot_teacher.first = '{second_cache}': it is the cache of something else"
    assert str(caught.value).startswith(said)
    assert "network_t.num_feat: 10 in the cache, 12 here" in str(caught.value)


TAPS = {"type": "SpatialAffinityLoss", "taps": {"student": ["body.0"], "teacher": ["body.0"]}}
ONE = "datasets.train.dataroot_teacher"
BAD = [
    ("teachers", {}, "teachers = {}: a section of named teachers is expected"),
    ("teachers", ["a"], "teachers = ['a']: a section of named teachers is expected"),
    ("teachers.a b", {}, "teachers.a b = {}: a name has letters, digits, _ and - only"),
    ("teachers.third", {}, "teachers.third.network_t is missing: it is required"),
    ("teachers.first.wieght", 1.0, "teachers.first.wieght = 1.0: unknown key. Did you mean 'weight'?"),
    ("teachers.first.weight", 0.0, "teachers.first.weight = 0.0: Input should be greater than 0"),
    ("teachers.first.network_t.type", "EDSRR", "teachers.first.network_t.type = 'EDSRR': nothing is registered"),
    ("teachers.first.network_t.num_fat", 3, "teachers.first.network_t.num_fat = 3: unknown key"),
    ("teachers.first.network_t.num_block", 1, "teachers.first.pretrain_network_t = "),
    ("teachers.first.network_t.num_in_ch", 0, "teachers.first.network_t.num_in_ch = 0: Input should be greater than"),
    (
        "teachers.first.pretrain_network_t",
        "no.pth",
        "teachers.first.pretrain_network_t = 'no.pth': there is no such file",
    ),
    ("teachers.first.pretrain_network_t", None, "teachers.first.pretrain_network_t = None: the teacher has no weights"),
    ("teachers.first.param_key_t", "x", "teachers.first.param_key_t = 'x'"),
    (
        "teachers.first.random_init",
        True,
        "teachers.first.random_init = True: teachers.first.pretrain_network_t gives the",
    ),
    ("network_t", {"type": "EDSR"}, "network_t = {'type': 'EDSR'}: teachers describes every teacher of the run"),
    ("path.pretrain_network_t", "x.pth", "path.pretrain_network_t = 'x.pth': teachers describes every teacher"),
    ("teacher", {"random_init": True}, "teacher.random_init = True: teachers describes every teacher of the run"),
    ("teacher", {"combine": "best"}, "teacher.combine = 'best': Input should be 'mean' or 'nearest_gt'"),
    ("train.samples", {"zoom_in": 1}, None),
    (
        "train.distill_opt.fakd",
        TAPS,
        "fakd.taps.teacher = ['body.0']: several teachers have no one feature map that a ",
    ),
    (ONE, "c.lmdb", f"{ONE} = 'c.lmdb': teachers has 2, and each has a cache of its own. Write {{first: CACHE, second"),
    (ONE, {"frist": "c.lmdb"}, f"{ONE}.frist = 'c.lmdb': teachers has no such teacher. Did you mean 'first'?"),
    (ONE, {"first": "c.lmdb"}, f"{ONE}.first = 'c.lmdb': there is no such folder"),
]


@pytest.mark.parametrize(("key", "value", "says"), BAD, ids=[f"{key} {value}"[:60] for key, value, _ in BAD])
def test_what_cannot_be_is_one_line(opt, tmp_path, key, value, says):
    *parents, last = key.split(".")
    section = opt
    for name in parents:
        section = section[name]
    section[last] = value
    if key == ONE:
        section["type"] = "TeacherCacheDataset"
    if says is None:
        run_checks.check(tiny.parsed(opt, tmp_path))
        return
    with pytest.raises(OptionsError) as caught:
        run_checks.check(tiny.parsed(opt, tmp_path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.remedy


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"teacher": {"combine": "mean"}}, "teacher.combine = 'mean': there are no teachers to combine"),
        ({"datasets": {"a": "c.lmdb"}}, f"{ONE} = {{'a': 'c.lmdb'}}: several caches are those of several teachers"),
    ],
)
def test_what_only_several_teachers_have(data, teacher_file, tmp_path, change, says):
    opt = tiny.distill_options(data, teacher_file)
    opt["teacher"] = change.get("teacher", {})
    if "datasets" in change:
        with_caches(opt, **change["datasets"])
    with pytest.raises(OptionsError, match=re.escape(says)):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_what_nearest_gt_cannot_do(opt, tmp_path):
    opt["teacher"] = {"combine": "nearest_gt"}
    with_samples = copy.deepcopy(opt)
    with_samples["train"]["samples"] = {"zoom_in": 1}
    with pytest.raises(OptionsError, match=r"teacher.combine = 'nearest_gt': zoomed-in inputs .* have no GT"):
        run_checks.check(tiny.parsed(with_samples, tmp_path))
    opt["teachers"]["first"]["weight"] = 2.0
    with pytest.raises(OptionsError, match=r"teachers.first.weight = 2.0: with teacher.combine: nearest_gt each pixel"):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_samples_need_caches_that_have_them(opt, tmp_path, cache):
    with_caches(opt, first=cache)
    opt["train"]["samples"] = {"zoom_in": 1}
    with pytest.raises(OptionsError, match=r"^train.samples = .*: the cache .* Run srkd cache make with --zoom-in"):
        run_checks.check(tiny.parsed(opt, tmp_path))
