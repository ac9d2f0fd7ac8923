"""Taps, connectors, and feature terms in a run: what is recorded, what trains, what is saved."""

import copy

import pytest
import tiny
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.models import build_model

from srkd_plugin.distill.connectors import Connectors
from srkd_plugin.distill.taps import Taps
from srkd_plugin.errors import OptionsError
from srkd_plugin.losses import feature_loss, local_selective_feature_loss, spatial_affinity_loss
from srkd_plugin.networks.precision import traces_hooks
from srkd_plugin.options.term_sections import ConnectorSection
from srkd_plugin.preflight import run_checks

FEATURE_TERM = {
    "type": "FeatureLoss",
    "loss_weight": 0.1,
    "taps": {"student": ["body.0", "upsample@in"], "teacher": ["body.1", "upsample@in"]},
    "connector": {"kernel_size": 1},
}
FAKD_TERM = {
    "type": "SpatialAffinityLoss",
    "taps": {"student": ["body.0", "conv_after_body"], "teacher": ["body.1", "conv_after_body"]},
}


def edsr(section):
    return EDSR(**{k: v for k, v in section.items() if k != "type"})


@pytest.fixture
def opt(data, teacher_file):
    return tiny.distill_options(data, teacher_file)


def make(opt, root):
    torch.manual_seed(1)
    return build_model(tiny.parsed(copy.deepcopy(opt), root))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"lq": torch.rand(2, 3, 8, 10, generator=generator), "gt": torch.rand(2, 3, 16, 20, generator=generator)}


def train(model, steps):
    for i in steps:
        model.feed_data(batch(i))
        model.update_learning_rate(i)
        model.optimize_parameters(i)
    return model.log_dict


def test_taps_are_before_and_after_the_addition_in_place():
    """EDSR: res = conv_after_body(body(x)); res += x; upsample(res). And ReLU is in place after body.k.conv1."""
    torch.manual_seed(0)
    net = edsr(tiny.STUDENT)
    taps = Taps(net, ["conv_first", "conv_after_body", "upsample@in", "body.0.conv1"], key="k")
    with taps.recording() as maps, torch.no_grad():
        lq = torch.rand(2, 3, 5, 7)
        net(lq)
        first = net.conv_first((lq - net.mean) * net.img_range)
        after_body = net.conv_after_body(net.body(first))
        found = dict(maps)
    torch.testing.assert_close(found["conv_first"], first)
    torch.testing.assert_close(found["conv_after_body"], after_body)
    torch.testing.assert_close(found["upsample@in"], after_body + first)
    assert (found["body.0.conv1"] < 0).any(), "the tap was overwritten by the ReLU"


def test_an_input_is_recorded_as_the_module_was_given_it():
    """EDSR's ReLU writes over its input, which is conv1's output."""
    torch.manual_seed(0)
    net = edsr(tiny.STUDENT)
    taps = Taps(net, ["body.0.conv1", "body.0.relu@in"], key="k")
    with taps.recording() as maps, torch.no_grad():
        net(torch.rand(2, 3, 5, 7))
        found = dict(maps)
    assert (found["body.0.relu@in"] < 0).any()
    torch.testing.assert_close(found["body.0.relu@in"], found["body.0.conv1"], rtol=0, atol=0)


def test_nothing_is_recorded_or_kept_outside_of_the_block():
    net = edsr(tiny.STUDENT)
    taps = Taps(net, ["body.0"], key="k")
    net(torch.rand(1, 3, 5, 7))
    with taps.recording() as maps:
        assert not maps
        net(torch.rand(1, 3, 5, 7))
        assert set(maps) == {"body.0"}
    with taps.recording() as again:
        assert not again


def test_gradients_flow_through_a_tap():
    net = edsr(tiny.STUDENT)
    taps = Taps(net, ["body.0"], key="k")
    with taps.recording() as maps:
        net(torch.rand(1, 3, 5, 7))
        maps["body.0"].sum().backward()
    assert net.conv_first.weight.grad.abs().sum() > 0
    assert net.conv_last.weight.grad is None


def compiled(net):
    try:
        return torch.compile(net, backend="aot_eager")  # inductor differs in the kernels it makes, and takes a minute
    except RuntimeError as error:
        pytest.skip(f"no torch.compile here: {error}")


@pytest.mark.skipif(not traces_hooks(), reason=f"torch {torch.__version__} does not compile hooks (2.1 does)")
@pytest.mark.parametrize("set_on", ["the network", "the compiled network"])
def test_taps_record_and_pass_gradients_under_torch_compile(set_on):
    """Against the same network without torch.compile; also after a run in which nothing was to be recorded."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    plain = edsr(tiny.STUDENT)
    net = copy.deepcopy(plain)
    fast = compiled(net)
    paths = ["body.0", "conv_after_body", "upsample@in", "body.0.conv1"]
    taps, expected_taps = Taps(net if set_on == "the network" else fast, paths, key="k"), Taps(plain, paths, key="k")
    x = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(fast(x), plain(x))
    for _ in range(2):
        with taps.recording() as maps, expected_taps.recording() as expected:
            fast(x)
            plain(x)
            assert set(maps) == set(paths)
            for path in paths:
                torch.testing.assert_close(maps[path], expected[path], rtol=1e-4, atol=1e-4)
            for found in (maps, expected):
                sum(found[path].square().mean() for path in paths).backward()
    for (name, p), q in zip(net.named_parameters(), plain.parameters()):
        if q.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3 * q.grad.abs().max().item(), msg=name)
    assert net.conv_first.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("body.7", r"EDSR has no such module\. Did you mean 'body.0'\?"),
        ("conv_after_bodi", r"Did you mean 'conv_after_body'\?"),
        ("", "EDSR has no such module"),
        ("body.0@after", r"@after is not known\. Write body\.0 or body\.0@in\."),
    ],
)
def test_unknown_taps_name_the_nearest(path, message):
    with pytest.raises(OptionsError, match=message):
        Taps(edsr(tiny.STUDENT), [path], key="train.distill_opt.x.taps.student")


@pytest.mark.parametrize("size", [1, 3])
def test_connectors_map_the_students_channels_to_the_teachers(size):
    connectors = Connectors()
    connectors.add("a", ConnectorSection(kernel_size=size), [(8, 12), (4, 6)])
    maps = {"a": [torch.rand(2, 8, 5, 7), torch.rand(2, 4, 3, 3)], "b": [torch.rand(2, 8, 5, 7)]}
    out = connectors(maps)
    assert [tuple(x.shape) for x in out["a"]] == [(2, 12, 5, 7), (2, 6, 3, 3)]
    assert out["b"][0] is maps["b"][0]


def test_feature_terms_are_their_formulas(opt, tmp_path):
    """FAKD, LSFD and FitNet terms together, each against the loss of maps that are recorded here by hand."""
    opt["train"]["distill_opt"] = {
        "fakd": {**FAKD_TERM, "loss_weight": 2.0},
        "fitnet": FEATURE_TERM,
        "lsfd": {**FEATURE_TERM, "type": "LocalSelectiveFeatureLoss", "loss_weight": 0.5},
    }
    model = make(opt, tmp_path)
    data, student, teacher = batch(1), copy.deepcopy(model.net_g), model.step_losses.source.teacher.net
    connect = copy.deepcopy(model.step_losses.connectors.by_term)
    log = train(model, [1])

    recorded = []

    def keep(_module, inputs, output=None):
        recorded.append((inputs[0] if output is None else output).clone())

    outputs = []
    for net, body in ((student, "0"), (teacher, "1")):
        handles = [
            net.body.get_submodule(body).register_forward_hook(keep),
            net.conv_after_body.register_forward_hook(keep),
            net.upsample.register_forward_pre_hook(keep),
        ]
        outputs.append(net(data["lq"]).detach())
        [handle.remove() for handle in handles]
    s_body, s_after, s_up, t_body, t_after, t_up = recorded

    assert log["l_fakd"] == pytest.approx(
        2.0 * spatial_affinity_loss([s_body, s_after], [t_body, t_after]).item(), rel=1e-5
    )
    pairs = [connect["fitnet"][0](s_body), connect["fitnet"][1](s_up)], [t_body, t_up]
    assert log["l_fitnet"] == pytest.approx(0.1 * feature_loss(*pairs).item(), rel=1e-5)
    pairs = [connect["lsfd"][0](s_body), connect["lsfd"][1](s_up)], [t_body, t_up]
    assert log["l_lsfd"] == pytest.approx(0.5 * local_selective_feature_loss(*outputs, *pairs).item(), rel=1e-5)


def test_fakd_sends_gradients_into_the_students_features(opt, tmp_path):
    """A public re-implementation detaches them: with FAKD alone, everything up to the last tap must move."""
    opt["train"]["distill_opt"] = {"fakd": FAKD_TERM}
    del opt["train"]["pixel_opt"]
    model = make(opt, tmp_path)
    train(model, [1])
    moved = {name for name, p in model.net_g.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert "conv_first.weight" in moved
    assert "body.0.conv1.weight" in moved
    assert "conv_after_body.weight" in moved
    assert not any(name.startswith(("upsample", "conv_last")) for name in moved)


def test_connectors_train_with_the_student_and_are_not_in_its_checkpoint(opt, tmp_path):
    opt["train"]["distill_opt"] = {"fitnet": FEATURE_TERM}
    model = make(opt, tmp_path)
    before = copy.deepcopy(model.step_losses.connectors.state_dict())
    for folder in ("models", "training_states"):
        (tmp_path / "experiments/tiny_distill" / folder).mkdir(parents=True)
    train(model, [1, 2])
    after = model.step_losses.connectors.state_dict()
    assert all(not torch.equal(before[k], after[k]) for k in before)
    model.save(0, 2)
    student = torch.load(tmp_path / "experiments/tiny_distill/models/net_g_2.pth", weights_only=True)
    assert set(student["params"]) == set(edsr(tiny.STUDENT).state_dict())


def test_a_resumed_run_goes_on_with_its_connectors(opt, tmp_path):
    """Two steps, save, build anew, resume, two steps: as four steps at a stretch."""
    opt["train"]["distill_opt"] = {"fitnet": FEATURE_TERM}
    opt["train"]["ema_decay"] = 0
    straight = make(opt, tmp_path)
    train(straight, [1, 2, 3, 4])

    for folder in ("models", "training_states"):
        (tmp_path / "experiments/tiny_distill" / folder).mkdir(parents=True)
    first = make(opt, tmp_path)
    train(first, [1, 2])
    first.save(0, 2)
    opt["path"]["pretrain_network_g"] = str(tmp_path / "experiments/tiny_distill/models/net_g_2.pth")
    torch.manual_seed(99)
    second = build_model(tiny.parsed(copy.deepcopy(opt), tmp_path))
    second.resume_training(torch.load(tmp_path / "experiments/tiny_distill/training_states/2.state"))
    train(second, [3, 4])
    for name in ("net_g", "connectors"):
        found, expected = (
            (m.net_g if name == "net_g" else m.step_losses.connectors).state_dict() for m in (second, straight)
        )
        assert all(torch.equal(found[k], expected[k]) for k in expected)


def test_connectors_do_not_change_how_the_run_starts(opt, tmp_path):
    plain = make(opt, tmp_path)
    after_plain = torch.rand(1)
    opt["train"]["distill_opt"]["fitnet"] = FEATURE_TERM
    connected = make(opt, tmp_path)
    assert torch.equal(torch.rand(1), after_plain)
    assert all(torch.equal(a, b) for a, b in zip(plain.net_g.parameters(), connected.net_g.parameters()))


def test_terms_count_from_start_to_stop_and_the_teacher_rests_in_between(opt, tmp_path):
    opt["train"]["distill_opt"]["contrastive"].update(start=2, stop=3)
    model = make(opt, tmp_path)
    calls = []
    model.step_losses.source.teacher.net.register_forward_hook(lambda *_: calls.append(1))
    seen = [("l_contrastive" in train(model, [i]), len(calls)) for i in (1, 2, 3, 4)]
    assert seen == [(False, 0), (True, 1), (True, 2), (False, 2)]


TAPS = FEATURE_TERM["taps"]
BAD = [
    ({"taps": None}, "compares feature maps, and none are named"),
    ({"taps": {"student": ["body.0"]}}, "fitnet.taps.teacher is missing: it is required"),
    ({"taps": {"student": ["body.0"], "teacher": []}}, "fitnet.taps.teacher = []: List should have at least 1 item"),
    ({"taps": {"student": "body.0", "teacher": ["body.0"]}}, "fitnet.taps.student = 'body.0': Input should be a valid"),
    ({"taps": {"student": ["body.0"], "teacher": TAPS["teacher"]}}, "1 taps of the student and 2 of the teacher"),
    ({"taps": {**TAPS, "student": ["body.9", "upsample@in"]}}, "'body.9': EDSR has no such module. Did you mean"),
    ({"tap": TAPS}, "fitnet.tap = {'student':"),
    ({"taps": {**TAPS, "teacher": ["body.1", "upsample"]}}, "fitnet = 'FeatureLoss': tap 1: (N, C, H, W)"),
    ({"connector": None}, "fitnet = 'FeatureLoss': tap 0: (N, C, H, W) of equal shape expected"),
    ({"connector": {"kernel_size": 2}}, "fitnet.connector.kernel_size = 2: Input should be 1, 3, 5 or 7"),
    ({"connector": {"size": 1}}, "fitnet.connector.size = 1: unknown key"),
    ({"type": "L1Loss"}, "L1Loss reads no feature maps"),
    ({"start": 0}, "fitnet.start = 0: Input should be greater than or equal to 1"),
]


@pytest.mark.parametrize(("change", "says"), BAD, ids=[str(change)[:50] for change, _ in BAD])
def test_bad_feature_terms_are_one_line(opt, tmp_path, change, says):
    opt["train"]["distill_opt"] = {"fitnet": {**FEATURE_TERM, **change}}
    opt["train"]["distill_opt"]["fitnet"] = {
        k: v for k, v in opt["train"]["distill_opt"]["fitnet"].items() if v is not None
    }
    with pytest.raises(OptionsError) as caught:
        run_checks.check(tiny.parsed(opt, tmp_path))
    assert says in str(caught.value)


def test_the_error_names_the_term_that_is_wrong_and_not_the_first(opt, tmp_path):
    bad = {k: v for k, v in FEATURE_TERM.items() if k != "connector"}
    opt["train"]["distill_opt"] = {"fakd": FAKD_TERM, "later": {**bad, "start": 3}, "output": {"type": "L1Loss"}}
    with pytest.raises(OptionsError, match=r"train\.distill_opt\.later = 'FeatureLoss': tap 0"):
        run_checks.check(tiny.parsed(opt, tmp_path))
    opt["train"]["distill_opt"]["later"] = bad
    with pytest.raises(OptionsError, match=r"train\.distill_opt\.later = 'FeatureLoss': tap 0"):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_good_feature_terms_pass_the_check(opt, tmp_path):
    opt["train"]["distill_opt"] = {"fitnet": FEATURE_TERM, "fakd": FAKD_TERM}
    assert set(run_checks.check(tiny.parsed(opt, tmp_path)).ours.terms) == {"fitnet", "fakd"}


@pytest.mark.parametrize(
    ("taps", "says"),
    [
        ({"student": ["layers.0"], "teacher": ["body.0"]}, r"taps.student = 'layers.0': it gives .*64, 12.*connector"),
        ({"student": ["conv_first"], "teacher": ["body.0"]}, None),
    ],
)
def test_a_connector_of_tokens_is_one_line(opt, tmp_path, taps, says):
    opt["network_g"] = tiny.SWINIR
    opt["datasets"]["train"]["gt_size"] = 16
    opt["train"]["distill_opt"] = {"f": {"type": "FeatureLoss", "taps": taps, "connector": {}}}
    if says is None:
        run_checks.check(tiny.parsed(opt, tmp_path))
        return
    with pytest.raises(OptionsError, match=says):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_a_tap_that_records_no_tensor_is_one_line():
    class Two(torch.nn.Module):
        def forward(self, x):
            return x, x

    net = torch.nn.Sequential(Two())
    with Taps(net, ["0"], "k").recording(), pytest.raises(OptionsError, match=r"k = '0': .*tuple, and not a tensor"):
        net(torch.ones(1))
