"""DistillModel in one process: what a step computes, what trains, what does not, and what is logged."""

import copy

import pytest
import tiny
import torch

from srkd_plugin.errors import OptionsError
from srkd_plugin.losses import contrastive_loss
from srkd_plugin.networks.precision import check_precision
from srkd_plugin.training.grad_norms import describe_balance, gradient_norms

BATCH = {"lq": (4, 3, 8, 10), "gt": (4, 3, 16, 20)}


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(*shape, generator=generator) for name, shape in BATCH.items()}


@pytest.fixture
def opt(data, teacher_file):
    return tiny.distill_options(data, teacher_file)


def step(model, seed=0, iteration=1):
    model.feed_data(batch(seed))
    model.optimize_parameters(iteration)
    return model.log_dict


def test_the_step_is_l_rec_plus_alpha_l_cl(opt, tmp_path):
    """Against the same step written out: equation (2) of the paper, one Adam step."""
    model = tiny.model(opt, tmp_path)
    student, data = copy.deepcopy(model.net_g), batch()
    with torch.no_grad():
        target = model.step_losses.source.teacher.net(data["lq"])
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3, betas=(0.9, 0.99))
    output = student(data["lq"])
    l_rec = (output - data["gt"]).abs().mean()
    l_cl = contrastive_loss(output, target)
    (l_rec + 10.0 * l_cl).backward()
    optimizer.step()

    log = step(model)
    assert log["l_pix"] == pytest.approx(l_rec.item(), rel=1e-6)
    assert log["l_contrastive"] == pytest.approx(10.0 * l_cl.item(), rel=1e-6)
    for expected, found in zip(student.parameters(), model.net_g.parameters()):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_resumed_run_compiles_the_iterations_that_it_would_have_compiled(opt, tmp_path):
    """Gradient norms are measured, uncompiled, in the first iterations of the run, not of the process."""
    opt["train"]["grad_norm_log"] = {"first": 2, "every": 5}

    def uncompiled(model, iterations):
        compiled = []
        model._trained_net = lambda lq: compiled.append(1) or model.net_g(lq)
        for i in iterations:
            before = len(compiled)
            assert ("grad_norm/l_pix" in step(model, i, i)) == (len(compiled) == before)
            if len(compiled) == before:
                yield i

    model = tiny.model(opt, tmp_path)
    assert list(uncompiled(model, range(1, 4))) == [1, 2]
    model.save(0, 3)
    again = tiny.model(opt, tmp_path)
    again.resume_training(torch.load(again.checkpoints.states / "3.state", weights_only=False))
    assert list(uncompiled(again, range(4, 8))) == [5]


def test_the_teacher_is_frozen_and_apart(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    net = model.step_losses.source.teacher.net
    before = copy.deepcopy(net.state_dict())
    for i in range(3):
        step(model, seed=i, iteration=i + 1)
    assert not net.training
    assert not any(p.requires_grad or p.grad is not None for p in net.parameters())
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    optimized = {id(p) for group in model.optimizer_g.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in model.net_g.parameters()}
    assert not model.step_losses.source.teacher(batch()["lq"]).requires_grad


def test_the_right_weights_are_loaded(opt, tmp_path, teacher_file):
    for key in ("params", "params_ema"):
        opt["path"]["param_key_t"] = key
        loaded = tiny.model(opt, tmp_path).step_losses.source.teacher.net.state_dict()
        expected = torch.load(teacher_file, weights_only=True)[key]
        assert all(torch.equal(loaded[k], expected[k]) for k in expected)


def test_the_student_starts_as_in_a_run_without_a_teacher(opt, data, tmp_path):
    ours = tiny.model(opt, tmp_path)
    after_ours = torch.rand(3)
    stock = tiny.model(tiny.stock_options(data), tmp_path)
    after_stock = torch.rand(3)
    for a, b in zip(ours.net_g.parameters(), stock.net_g.parameters()):
        assert torch.equal(a, b)
    assert torch.equal(after_ours, after_stock)


def test_pure_distillation(opt, tmp_path):
    del opt["train"]["pixel_opt"]
    model = tiny.model(opt, tmp_path)
    before = copy.deepcopy(model.net_g.state_dict())
    log = step(model)
    assert {k for k in log if k.startswith("l_")} == {"l_contrastive"}
    assert any(not torch.equal(before[k], v) for k, v in model.net_g.state_dict().items())


def test_pure_distillation_needs_no_gt_and_a_term_that_does_says_so(opt, tmp_path):
    del opt["train"]["pixel_opt"]
    model = tiny.model(opt, tmp_path)
    model.feed_data({"lq": batch()["lq"]})
    model.optimize_parameters(1)
    assert model.log_dict["l_contrastive"] > 0
    model.step_losses.terms[0].reads = ("student", "gt")
    with pytest.raises(
        OptionsError, match=r"distill_opt.contrastive .* reads gt, and a step .* has student, teacher, lq"
    ):
        model.optimize_parameters(2)


def test_any_number_of_terms_and_basicsrs_own_losses(opt, tmp_path):
    terms = opt["train"]["distill_opt"]
    terms["output"] = {"type": "L1Loss", "loss_weight": 3.0}
    terms["bicubic"] = {"type": "ContrastiveLoss", "negatives": "lq_bicubic"}
    model = tiny.model(opt, tmp_path)
    student = copy.deepcopy(model.net_g)
    log = step(model)
    data = batch()
    target = model.step_losses.source.teacher(data["lq"])
    output = student(data["lq"]).detach()
    assert log["l_output"] == pytest.approx(3.0 * (output - target).abs().mean().item(), rel=1e-6)
    expected = contrastive_loss(output, target, data["lq"], negatives="lq_bicubic").item()
    assert log["l_bicubic"] == pytest.approx(expected, rel=1e-6)


def test_vgg_is_neither_trained_nor_saved(opt, tmp_path, vgg_file):
    opt["train"]["distill_opt"] = {"csd": {"type": "VGGContrastiveLoss", "vgg_weights": str(vgg_file)}}
    model = tiny.model(opt, tmp_path)
    (loss,) = (term.loss for term in model.step_losses.terms)
    before = copy.deepcopy(loss.vgg.state_dict())
    assert step(model)["l_csd"] > 0
    assert all(torch.equal(before[k], v) for k, v in loss.vgg.state_dict().items())
    model.save(0, 1)
    saved = [*tmp_path.rglob("*_1.pth"), *tmp_path.rglob("1.state")]
    assert len(saved) == 2
    assert sum(f.stat().st_size for f in saved) < 1e6, "VGG19 takes 50 MB"


@pytest.mark.parametrize("arch", ["SRVGGNetCompact", "RCAN", "MSRResNet", "RRDBNet", "ECBSR"])
def test_any_architecture_of_basicsrs_registry(opt, tmp_path, arch):
    more = {
        "SRVGGNetCompact": {"num_conv": 2, "upscale": 2},
        "RCAN": {"num_group": 1, "num_block": 1, "squeeze_factor": 2, "upscale": 2},
        "MSRResNet": {"num_block": 1, "upscale": 2},
        "RRDBNet": {"num_block": 1, "num_grow_ch": 4, "scale": 2},
        "ECBSR": {"num_block": 1, "num_channel": 4, "with_idt": False, "act_type": "prelu", "scale": 2},
    }[arch]
    width = {} if "num_channel" in more else {"num_feat": 8}
    opt["network_g"] = {"type": arch, "num_in_ch": 3, "num_out_ch": 3, **width, **more}
    assert step(tiny.model(opt, tmp_path))["l_contrastive"] > 0
    opt["network_t"], opt["network_g"] = opt["network_g"], dict(tiny.STUDENT)
    opt["path"]["pretrain_network_t"], opt["teacher"] = None, {"random_init": True}
    assert step(tiny.model(opt, tmp_path))["l_contrastive"] > 0


@pytest.mark.parametrize("term", ["pix", "contrastive"])
def test_a_nonfinite_loss_names_the_term_and_updates_nothing(opt, tmp_path, term):
    model = tiny.model(opt, tmp_path)
    step(model)
    before = copy.deepcopy((model.net_g.state_dict(), model.optimizer_g.state_dict()["state"][0]["step"]))
    data = batch()
    data["gt" if term == "pix" else "lq"][0, 0, 0, 0] = float("nan")
    model.feed_data(data)
    with pytest.raises(FloatingPointError, match=rf"iteration 2: .*l_{term} = nan"):
        model.optimize_parameters(2)
    assert all(torch.equal(before[0][k], v) for k, v in model.net_g.state_dict().items())
    assert model.optimizer_g.state_dict()["state"][0]["step"] == before[1]


def test_gradient_norms_are_logged_first_and_on_demand(opt, tmp_path):
    opt["train"]["grad_norm_log"] = {"first": 2, "every": 5}
    model = tiny.model(opt, tmp_path)
    logged = [i for i in range(1, 12) if "grad_norm/l_contrastive" in step(model, seed=i, iteration=i)]
    assert logged == [1, 2, 5, 10]


def test_gradient_norms_are_those_of_separate_backward_passes(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    student, data = copy.deepcopy(model.net_g), batch()
    log = step(model)
    target = model.step_losses.source.teacher(data["lq"])
    for name, loss in (
        ("l_pix", lambda out: (out - data["gt"]).abs().mean()),
        ("l_contrastive", lambda out: 10.0 * contrastive_loss(out, target)),
    ):
        student.zero_grad()
        loss(student(data["lq"])).backward()
        expected = sum(p.grad.square().sum() for p in student.parameters()).sqrt().item()
        assert log[f"grad_norm/{name}"] == pytest.approx(expected, rel=1e-4)


def test_gradient_norm_of_a_loss_that_does_not_reach_the_student_is_zero():
    weight = torch.nn.Parameter(torch.ones(3))
    other = torch.ones(1, requires_grad=True)
    losses = {"l_pix": 2 * weight.sum(), "l_none": torch.tensor(1.0), "l_other": other.sum()}
    norms = {k: v.item() for k, v in gradient_norms(losses, [weight]).items()}
    assert norms == {"l_pix": pytest.approx(12**0.5), "l_none": 0.0, "l_other": 0.0}
    assert "l_none: 0.000e+00 (0 x l_pix)" in describe_balance(norms, "l_pix")
    assert " x " not in describe_balance({"l_a": 1.0}, "l_pix")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_teacher_precision_and_memory_format(opt, tmp_path, precision):
    try:
        check_precision("teacher.precision", precision, torch.device("cpu"))
    except OptionsError as error:
        pytest.skip(str(error))
    exact = tiny.model(opt, tmp_path).step_losses.source.teacher(batch()["lq"])
    opt["teacher"] = {"precision": precision, "channels_last": True}
    model = tiny.model(opt, tmp_path)
    lowered = model.step_losses.source.teacher(batch()["lq"])
    assert lowered.dtype == torch.float32
    assert model.step_losses.source.teacher.net.body[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    # EDSR computes in 0..255; bf16 has 8 bits of mantissa
    torch.testing.assert_close(lowered, exact, rtol=0, atol=0.05)
    assert not torch.equal(lowered, exact)


def test_loading_in_part_is_said(opt, tmp_path, caplog):
    import logging

    opt["network_t"]["num_block"] = 3
    opt["path"]["strict_load_t"] = False
    logging.getLogger("basicsr").propagate = True
    try:
        with caplog.at_level(logging.WARNING, logger="basicsr"):
            tiny.model(opt, tmp_path)
    finally:
        logging.getLogger("basicsr").propagate = False
    assert "loaded in part only: body.2.conv1.weight is not in the file" in caplog.text


def test_a_batch_without_gt_is_not_compared_with_the_gt_of_the_batch_before(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    step(model)
    assert torch.equal(model.gt, batch()["gt"])
    model.feed_data({"lq": batch()["lq"]})
    model.test()
    assert "gt" not in model.get_current_visuals()
