"""The precision that the student trains in, the loss scale, torch.compile and TF32, in one process."""

import copy
import logging

import pytest
import tiny
import torch

from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.precision import check_compiles, check_precision, set_tf32, traces_hooks

CPU = torch.device("cpu")


def can(precision):
    try:
        check_precision("train.amp.precision", precision, CPU)
    except OptionsError:
        return False
    return True


lowered = pytest.mark.parametrize(
    "precision",
    [
        pytest.param(p, marks=pytest.mark.skipif(not can(p), reason=f"torch {torch.__version__}: no {p} on the CPU"))
        for p in ("bf16", "fp16")
    ],
)
needs_fp16 = pytest.mark.skipif(not can("fp16"), reason=f"torch {torch.__version__}: no fp16 on the CPU")


def can_compile():
    try:
        check_compiles("student.compile", CPU)
    except OptionsError:
        return False
    return True


needs_compiler = pytest.mark.skipif(not can_compile(), reason="torch.compile cannot work here")


@pytest.fixture
def opt(data, teacher_file):
    return tiny.distill_options(data, teacher_file)


def step(model, iteration=1):
    generator = torch.Generator().manual_seed(iteration)
    lq, gt = torch.rand(4, 3, 8, 10, generator=generator), torch.rand(4, 3, 16, 20, generator=generator)
    model.feed_data({"lq": lq, "gt": gt})
    model.optimize_parameters(iteration)
    return model.log_dict


def gradients(model):
    return torch.cat([p.grad.flatten() for p in model.net_g.parameters()])


def weights(model):
    return copy.deepcopy([model.net_g.state_dict(), model.net_g_ema.state_dict()])


def same(a, b):
    return all(torch.equal(x[key], y[key]) for x, y in zip(a, b) for key in x)


@lowered
def test_the_student_alone_runs_in_the_precision_and_its_gradients_are_close(opt, tmp_path, precision):
    exact = tiny.model(opt, tmp_path)
    log = step(exact)
    opt["train"]["amp"] = {"precision": precision}
    model = tiny.model(opt, tmp_path)
    seen = []
    model.net_g.body[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    teacher = model.step_losses.source.teacher.net
    teacher.body[0].conv1.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    low = step(model)
    assert seen == [{"bf16": torch.bfloat16, "fp16": torch.float16}[precision], torch.float32]  # student, teacher
    assert model.net_g.body[0].conv1.weight.dtype == model.output.dtype == torch.float32
    assert not torch.equal(model.output, exact.output)  # it did run in another precision
    assert low["l_contrastive"] == pytest.approx(log["l_contrastive"], rel=0.02)
    found, expected = gradients(model), gradients(exact)
    # L1's gradient is a sign, which rounding turns where images are nearly equal; bfloat16 has 8 bits, float16 11
    assert (found - expected).norm() < {"bf16": 0.15, "fp16": 0.05}[precision] * expected.norm()
    assert log["grad_norm/l_pix"] == pytest.approx(low["grad_norm/l_pix"], rel=0.05)


@lowered
def test_feature_terms_compare_float32(opt, tmp_path, precision):
    taps = {"student": ["body.0", "upsample@in"], "teacher": ["body.1", "upsample@in"]}
    opt["train"]["distill_opt"] = {"hint": {"type": "FeatureLoss", "taps": taps, "connector": {"kernel_size": 1}}}
    opt["teacher"] = {"precision": "bf16"}
    expected = step(tiny.model(opt, tmp_path))["l_hint"]
    opt["train"]["amp"] = {"precision": precision}
    model = tiny.model(opt, tmp_path)
    assert step(model)["l_hint"] == pytest.approx(expected, rel=0.02)
    connector = next(iter(model.step_losses.connectors.parameters()))
    assert connector.dtype == connector.grad.dtype == torch.float32


@needs_fp16
def test_an_overflow_leaves_the_iteration_out_and_halves_the_scale(opt, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    opt["train"]["amp"] = {"precision": "fp16", "init_scale": 2.0**40}
    model = tiny.model(opt, tmp_path)
    before = weights(model)
    step(model, 1)
    assert same(weights(model), before)
    assert model.amp.scale() == 2.0**39
    assert "iteration 1: the gradient overflows at a loss scale of 1.09951e+12; left out" in caplog.text
    assert model.finite_steps.skipped == 0  # it is no fault, and does not count
    for iteration in range(2, 40):
        step(model, iteration)
    assert not same(weights(model), before)
    assert 1 < model.amp.scale() < 2.0**39


@needs_fp16
def test_a_gradient_that_is_nan_at_any_scale_is_a_fault(opt, tmp_path):
    opt["train"]["amp"] = {"precision": "fp16", "init_scale": 4.0}
    model = tiny.model(opt, tmp_path)
    model.net_g.conv_last.weight.register_hook(lambda grad: grad * float("nan"))
    step(model, 1), step(model, 2)
    assert model.amp.scale() == 1.0
    with pytest.raises(FloatingPointError, match=r"iteration 3: the gradient of .* is not finite"):
        step(model, 3)


@needs_fp16
def test_a_loss_that_is_not_finite_is_a_fault_at_any_scale(opt, tmp_path):
    opt["train"]["amp"] = {"precision": "fp16"}
    opt["train"]["nan_policy"] = "skip"
    model = tiny.model(opt, tmp_path)
    model.feed_data({"lq": torch.rand(4, 3, 8, 10), "gt": torch.full((4, 3, 16, 20), float("inf"))})
    model.optimize_parameters(1)
    assert model.finite_steps.skipped == 1
    step(model, 2)
    assert model.finite_steps.skipped == 1


@needs_fp16
def test_a_balance_does_not_depend_on_the_scale(opt, tmp_path):
    opt["train"]["distill_opt"]["contrastive"] = {"type": "ContrastiveLoss", "balance": {"target": 2.0}}
    factor = step(tiny.model(opt, tmp_path))["factor/l_contrastive"]
    opt["train"]["amp"] = {"precision": "fp16", "init_scale": 4096.0}
    assert step(tiny.model(opt, tmp_path))["factor/l_contrastive"] == pytest.approx(factor, rel=0.05)


@needs_fp16
def test_the_scale_is_saved_and_resumed(opt, tmp_path):
    opt["train"]["amp"] = {"precision": "fp16", "init_scale": 2.0**40, "growth_interval": 100}
    model = tiny.model(opt, tmp_path)
    step(model, 1)
    model.save(0, 1)
    state = torch.load(tmp_path / "experiments/tiny_distill/training_states/1.state", weights_only=True)
    resumed = tiny.model(opt, tmp_path)
    resumed.resume_training(state)
    assert resumed.amp.scale() == 2.0**39
    assert resumed.amp.state_dict() == model.amp.state_dict()
    opt["train"].pop("amp")  # back to float32
    plain = tiny.model(opt, tmp_path)
    plain.resume_training(state)
    assert plain.amp.scale() == 1.0


@needs_compiler
@pytest.mark.timeout(600)
def test_compiled_networks_compute_the_same_and_checkpoints_do_not_show_it(opt, tmp_path):
    taps = {"student": ["body.0"], "teacher": ["body.1"]}
    if traces_hooks():
        opt["train"]["distill_opt"]["hint"] = {"type": "FeatureLoss", "taps": taps, "connector": {}}
    opt["train"]["grad_norm_log"] = {"first": 0, "every": 2}
    eager = tiny.model(opt, tmp_path)
    expected = step(eager)
    opt["student"], opt["teacher"] = {"compile": True}, {"compile": True}
    model = tiny.model(opt, tmp_path)
    found = step(model)
    for name in (name for name in expected if name.startswith("l_")):
        assert found[name] == pytest.approx(expected[name], rel=1e-4)
    torch.testing.assert_close(gradients(model), gradients(eager), rtol=1e-3, atol=1e-6)
    assert "grad_norm/l_contrastive" in step(model, 2)  # several backward passes, which a compiled graph does not allow
    model.save(0, 1)
    saved = torch.load(tmp_path / "experiments/tiny_distill/models/net_g_1.pth", weights_only=True)["params"]
    assert saved.keys() == eager.net_g.state_dict().keys()


def test_without_a_compiler_compiling_for_the_cpu_is_refused(monkeypatch, tmp_path):
    if not can_compile():
        pytest.skip("torch.compile cannot work here anyway")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(OptionsError, match=r"^teacher.compile = True: torch.compile needs a C\+\+ compiler .*: false"):
        check_compiles("teacher.compile", CPU)
    check_compiles("teacher.compile", torch.device("cuda"))


def test_taps_in_a_compiled_network_need_a_torch_that_keeps_hooks(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.0.1+cpu")
    with pytest.raises(
        OptionsError, match=r"^student.compile = True: torch 2.0.1\+cpu leaves out the hooks .* 2.1 or new"
    ):
        check_compiles("student.compile", torch.device("cuda"), taps=True)


@pytest.fixture
def tf32_settings():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("tf32_settings")
@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_switched_for_both_or_left_alone(opt, tmp_path, allowed):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not allowed
    set_tf32(None)
    tiny.model(opt, tmp_path)
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == (not allowed)
    opt["tf32"] = allowed
    tiny.model(opt, tmp_path)
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == allowed
