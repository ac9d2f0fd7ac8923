"""A student cut from the teacher: which weights it takes, what it then computes, and when in a run it does so."""

import copy
import re

import pytest
import tiny
import torch
from basicsr.archs import build_network
from basicsr.models import build_model

from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.student_init import cut_from_teacher, match_names
from srkd_plugin.preflight import run_checks

EDSR = {**tiny.STUDENT, "num_feat": 4, "num_block": 2}
COMMON = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4}
RCAN = {**COMMON, "type": "RCAN", "upscale": 2, "num_group": 1, "num_block": 2, "squeeze_factor": 2}
MSR = {**COMMON, "type": "MSRResNet", "num_block": 2}
SRVGG = {**COMMON, "type": "SRVGGNetCompact", "num_conv": 2, "upscale": 2}


def build(section, **changes):
    return build_network({**section, **changes})


@pytest.mark.parametrize("section", [EDSR, {**EDSR, "upscale": 4}, RCAN, MSR], ids=["EDSR", "EDSR x4", "RCAN", "MSR"])
def test_a_student_of_the_teachers_sizes_is_the_teacher(section):
    teacher, student = build(section), build(section)
    cut_from_teacher(student, teacher)
    assert all(torch.equal(student.state_dict()[k], v) for k, v in teacher.state_dict().items())
    x = torch.rand(1, 3, 7, 6)
    assert torch.equal(student(x), teacher(x))


def only_the_part_counts(teacher, channels_of):
    """Zero all that the cut leaves out: odd blocks, and channels beyond ``channels_of`` the student's shapes."""
    for name, p in teacher.named_parameters():
        block = re.search(r"(?:^body|residual_group)\.(\d+)\.(?!residual_group|conv\.)", name)
        if block and int(block[1]) % 2:
            p.data.zero_()
            continue
        # a name of the student's with the same shape; blocks are all alike
        like = channels_of[re.sub(r"((?:^body|residual_group)\.)\d+(\.(?!residual_group|conv\.))", r"\g<1>0\2", name)]
        kept = torch.zeros_like(p)
        kept[tuple(slice(n) for n in like)] = 1
        p.data.normal_(0, 0.2).mul_(kept)


@pytest.mark.parametrize(
    ("section", "more"),
    [
        (EDSR, {}),
        (EDSR, {"res_scale": 0.1}),
        ({**EDSR, "upscale": 3}, {}),
        ({**EDSR, "upscale": 4}, {"res_scale": 0.1}),
        (RCAN, {}),
        (MSR, {}),
    ],
    ids=["EDSR", "EDSR res_scale", "EDSR x3", "EDSR x4 res_scale", "RCAN", "MSRResNet"],
)
def test_where_only_that_part_of_the_teacher_counts_the_student_computes_the_same(section, more):
    """Blocks, channels, the pixel shuffle's groups and res_scale, all seen from outside: the images are equal."""
    torch.manual_seed(0)
    student, teacher = build(section), build(section, num_feat=6, num_block=4, **more)
    only_the_part_counts(teacher, {name: p.shape for name, p in student.named_parameters()})
    cut_from_teacher(student, teacher)
    x = torch.rand(2, 3, 7, 6)
    expected = teacher(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(student(x), expected, rtol=1e-4, atol=1e-5)


def test_pixel_shuffles_first_channels_are_the_convolutions_first_outputs():
    conv = torch.nn.Conv2d(5, 6 * 9, 3)
    x = torch.rand(1, 5, 8, 7)
    part = torch.nn.functional.conv2d(x, conv.weight[: 4 * 9], conv.bias[: 4 * 9])
    assert torch.equal(torch.pixel_shuffle(conv(x), 3)[:, :4], torch.pixel_shuffle(part, 3))


@pytest.mark.parametrize(("n", "m", "taken"), [(2, 4, [0, 2]), (3, 3, [0, 1, 2]), (2, 5, [0, 2]), (3, 4, [0, 1, 2])])
def test_blocks_are_evenly_spread(n, m, taken):
    found = match_names([f"body.{i}.w" for i in range(n)], [f"body.{i}.w" for i in range(m)])
    assert found == {f"body.{i}.w": f"body.{j}.w" for i, j in enumerate(taken)}


def test_lists_within_lists_and_gaps_in_their_numbers():
    found = match_names(["a.0.b.0.w", "up.0.w", "up.2.w"], ["a.0.b.0.w", "a.1.b.0.w", "a.1.b.1.w", "up.0.w", "up.2.w"])
    assert found == {"a.0.b.0.w": "a.0.b.0.w", "up.0.w": "up.0.w", "up.2.w": "up.2.w"}
    assert match_names([f"l.{i}.w" for i in range(10)], [f"l.{i}.w" for i in range(12)])["l.9.w"] == "l.10.w"


MISFITS = [
    (EDSR, MSR, {}, "the student is EDSR and the teacher MSRResNet"),
    ({**EDSR, "num_block": 3}, EDSR, {}, "body has 3 blocks in the student and 2 in the teacher"),
    ({**EDSR, "num_feat": 8}, EDSR, {}, r"conv_first.weight is (8, 3, 3, 3) in the student, which is no part of (4, 3"),
    (EDSR, EDSR, {"img_range": 1.0}, "img_range of student and teacher differ: [255.0] and [1.0]"),
    (EDSR, EDSR, {"rgb_mean": (0.0, 0.0, 0.0)}, "mean of student and teacher differ"),
    (RCAN, RCAN, {"res_scale": 0.5}, "(RCAB) has res_scale 1, and 0.5 in the teacher. Give network_g the res_scale"),
    (SRVGG, SRVGG, {"num_conv": 3}, "bias is not in the"),
]


@pytest.mark.parametrize(("student", "teacher", "more", "says"), MISFITS, ids=[m[3][:30] for m in MISFITS])
def test_what_does_not_fit_is_said_and_nothing_is_changed(student, teacher, more, says):
    net = build(student)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(OptionsError) as caught:
        cut_from_teacher(net, build(teacher, **more))
    assert str(caught.value).startswith("student.init = 'teacher_slice': ")
    assert says in str(caught.value)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


class Linear(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.qkv = torch.nn.Linear(features, 3 * features)


def test_linear_layers_are_not_cut():
    with pytest.raises(OptionsError, match=r"qkv.weight is \(6, 2\) in the student and \(9, 3\); linear layers"):
        cut_from_teacher(Linear(2), Linear(3))


@pytest.fixture
def opt(data, teacher_file):
    opt = tiny.distill_options(data, teacher_file)
    opt["student"] = {"init": "teacher_slice"}
    return opt


def make(opt, root, seed=1):
    torch.manual_seed(seed)
    return build_model(tiny.parsed(copy.deepcopy(opt), root))


def train(model, iterations):
    for i in iterations:
        generator = torch.Generator().manual_seed(i)
        lq, gt = (torch.rand(2, 3, 8 * s, 10 * s, generator=generator) for s in (1, 2))
        model.feed_data({"lq": lq, "gt": gt})
        model.optimize_parameters(i)
    return model.log_dict


@pytest.mark.parametrize("terms", [True, False])
def test_student_and_ema_start_from_it(opt, tmp_path, terms):
    if not terms:
        del opt["train"]["distill_opt"]
    model = make(opt, tmp_path)
    expected = build_network(dict(tiny.STUDENT))
    teacher = model.step_losses.source.teacher.net
    cut_from_teacher(expected, teacher)
    for net in (model.net_g, model.net_g_ema):
        assert all(torch.equal(net.state_dict()[k], v) for k, v in expected.state_dict().items())
    assert torch.equal(model.net_g.body[0].conv1.weight, teacher.body[0].conv1.weight[:8, :8])


def test_a_run_with_the_teacher_for_its_start_alone(opt, tmp_path):
    del opt["train"]["distill_opt"]
    assert run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path)).ours.terms == {}
    model = make(opt, tmp_path)
    calls = []
    model.step_losses.source.teacher.net.register_forward_hook(lambda *_: calls.append(1))
    log = train(model, [1, 2])
    assert {name for name in log if name.startswith("l_")} == {"l_pix"}
    assert not calls, "the teacher ran"


def test_the_data_order_is_that_of_a_random_start(opt, tmp_path):
    make(opt, tmp_path)
    after = torch.rand(3)
    opt["student"] = {"init": "random"}
    make(opt, tmp_path)
    assert torch.equal(torch.rand(3), after)


def test_a_resumed_run_goes_on_with_what_it_learnt(opt, tmp_path):
    """Two steps, save, build anew, resume, two steps: as four steps at a stretch, EMA too."""
    folder = tmp_path / "experiments/tiny_distill"
    for name in ("models", "training_states"):
        (folder / name).mkdir(parents=True)
    straight = make(opt, tmp_path)
    train(straight, [1, 2, 3, 4])
    first = make(opt, tmp_path)
    train(first, [1, 2])
    first.save(0, 2)
    opt["path"].update(  # as BasicSR's check_resume does
        resume_state=str(folder / "training_states/2.state"), pretrain_network_g=str(folder / "models/net_g_2.pth")
    )
    second = make(opt, tmp_path, seed=99)
    second.resume_training(torch.load(opt["path"]["resume_state"]))
    train(second, [3, 4])
    for name in ("net_g", "net_g_ema"):
        found, expected = (getattr(model, name).state_dict() for model in (second, straight))
        assert all(torch.equal(found[k], expected[k]) for k in expected)


def strongest_first(file):
    """The tiny teacher with its last channels zero but for small numbers: others than the first are the strongest."""
    state = torch.load(file)
    for weights in state.values():
        weights["conv_first.weight"][:4] *= 1e-3
    return state


def test_the_strongest_channels_in_a_run(opt, tmp_path):
    torch.save(strongest_first(opt["path"]["pretrain_network_t"]), tmp_path / "t.pth")
    opt["path"]["pretrain_network_t"] = str(tmp_path / "t.pth")
    opt["student"]["by"] = "magnitude"
    run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    model = make(opt, tmp_path)
    expected, teacher = build_network(dict(tiny.STUDENT)), model.step_losses.source.teacher.net
    cut_from_teacher(expected, teacher, strongest_on=torch.zeros(1, 3, 8, 8))
    for net in (model.net_g, model.net_g_ema):
        assert all(torch.equal(net.state_dict()[k], v) for k, v in expected.state_dict().items())
    assert not torch.equal(model.net_g.conv_first.weight, teacher.conv_first.weight[:8])


@pytest.fixture
def larger(tmp_path):
    """Options of a student between the teacher and ``network_g``, and its weights."""
    section = {**tiny.STUDENT, "num_feat": 10, "num_block": 2}
    torch.manual_seed(5)
    torch.save({"params_ema": build_network(dict(section)).state_dict()}, tmp_path / "larger.pth")
    return {"network_g": section, "pretrain_network_g": str(tmp_path / "larger.pth"), "param_key_g": "params_ema"}


@pytest.mark.parametrize("by", ["first", "magnitude"])
@pytest.mark.parametrize("teacher", ["terms", "none"])
def test_a_student_cut_from_another_student(opt, tmp_path, larger, by, teacher):
    """It is that network's slice, whatever the teacher; without terms no teacher is needed."""
    opt["student"].update(by=by, cut_from=larger)
    if teacher == "none":
        del opt["train"]["distill_opt"], opt["network_t"]
        opt["path"]["pretrain_network_t"] = None
    run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    expected, other = build_network(dict(tiny.STUDENT)), build_network(dict(larger["network_g"]))
    other.load_state_dict(torch.load(larger["pretrain_network_g"])["params_ema"])
    cut_from_teacher(expected, other, torch.zeros(1, 3, 8, 8) if by == "magnitude" else None)
    model = make(opt, tmp_path)
    for net in (model.net_g, model.net_g_ema):
        assert all(torch.equal(net.state_dict()[k], v) for k, v in expected.state_dict().items())
    assert ("l_contrastive" in train(model, [1])) == (teacher == "terms")


def test_a_resumed_run_needs_the_network_that_it_was_cut_from_no_more(opt, tmp_path, larger):
    opt["student"]["cut_from"] = larger
    first = tiny.model(opt, tmp_path)
    train(first, [1, 2])
    first.save(0, 2)
    (tmp_path / "larger.pth").unlink()
    opt = tiny.parsed(opt, tmp_path)
    with pytest.raises(OptionsError, match=r"student.cut_from.pretrain_network_g = '.*larger.pth': there is no such"):
        run_checks.check(copy.deepcopy(opt))
    run_checks.check({**copy.deepcopy(opt), "auto_resume": True})


CUT_FROM = {"network_g": dict(tiny.STUDENT), "pretrain_network_g": "s.pth"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"student": {"init": "teacher_slice", "by": "size"}}, "student.by = 'size': Input should be 'first' or 'mag"),
        ({"student": {"by": "magnitude"}}, "student.by = 'magnitude': it is of a student that is a slice"),
        ({"student": {"cut_from": CUT_FROM}}, "it is of a student that is a slice, and this one starts with random"),
        (
            {"student": {"init": "teacher_slice", "cut_from": {"network_g": dict(tiny.STUDENT)}}},
            "student.cut_from.pretrain_network_g = None: the network is cut from its weights. Give the path",
        ),
        (
            {"student": {"init": "teacher_slice", "cut_from": {**CUT_FROM, "random_init": True}}},
            "student.cut_from.pretrain_network_g = 's.pth': random_init is true",
        ),
        (
            {"student": {"init": "teacher_slice", "cut_from": {**CUT_FROM, "network_g": {}}}},
            "student.cut_from.network_g.type is missing: the name of an architecture is expected",
        ),
        (
            {"student": {"init": "teacher_slice", "cut_from": CUT_FROM}},
            "student.cut_from.pretrain_network_g = 's.pth': there is no such file",
        ),
        ({"student": {"init": "slice"}}, "student.init = 'slice': Input should be 'random' or 'teacher_slice'"),
        ({"student": {"int": "random"}}, "student.int = 'random': unknown key. Did you mean 'init'?"),
        ({"student": "teacher_slice"}, "student = 'teacher_slice': a section of keys is expected"),
        ({"model_type": "SRModel"}, "model_type = 'SRModel': the options have distillation sections"),
        ({"path": {"pretrain_network_g": "s.pth"}}, "path.pretrain_network_g gives the student its weights (s.pth)"),
        ({"network_g": {"num_feat": 16}}, "student.init = 'teacher_slice': conv_first.weight is (16, 3, 3, 3)"),
        ({"train": {"pixel_opt": None, "distill_opt": None}}, "no loss counts in iteration 1"),
        ({"student": {}, "train": {"distill_opt": None}}, "train.distill_opt = None: DistillModel needs it"),
    ],
)
def test_bad_options_are_one_line_before_the_run(opt, tmp_path, change, says):
    for key, value in change.items():
        opt[key] = {**opt[key], **value} if isinstance(value, dict) and key != "student" else value
    with pytest.raises(OptionsError) as caught:
        run_checks.check(tiny.parsed(opt, tmp_path))
    assert says in str(caught.value)


def test_another_network_that_does_not_fit_is_named(opt, tmp_path, larger):
    opt["student"]["cut_from"], opt["network_g"]["num_feat"] = larger, 12
    with pytest.raises(OptionsError) as caught:
        run_checks.check(tiny.parsed(opt, tmp_path))
    assert str(caught.value).startswith("student.cut_from = 'EDSR': conv_first.weight is (12, 3, 3, 3) in the student")
    assert "the teacher is here the network that the student is cut from" in str(caught.value)
