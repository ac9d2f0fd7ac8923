"""The templates of docs/extending.md: each is run as it is printed."""

import importlib.util
import re
import sys

import pytest
import tiny
import torch
import yaml
from basicsr.utils.registry import LOSS_REGISTRY

from srkd_plugin.distill.targets import source
from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.export.job import ExportJob, Wishes
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import StudentFile
from srkd_plugin.options.reference import reference
from srkd_plugin.options.sections import SECTIONS
from srkd_plugin.options.validate import check_section
from srkd_plugin.preflight import run_checks

PAGE = (tiny.PROJECT / "docs/extending.md").read_text("utf-8")


def blocks(name):
    """A template's Python, and the YAML that follows it or None."""
    part = PAGE.split(f"<!-- template: {name} -->")[1].split("<!-- template")[0]
    code = re.search(r"```python\n(.*?)```", part, re.S)[1]
    options = re.search(r"```yaml\n(.*?)```", part, re.S)
    return code, options and yaml.safe_load(options[1])


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Imports a template from a file, as a user's module is."""

    def imported(code):
        (tmp_path / "template_of_docs.py").write_text(code)
        spec = importlib.util.spec_from_file_location("template_of_docs", tmp_path / "template_of_docs.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "template_of_docs", module)
        spec.loader.exec_module(module)
        return module

    return imported


@pytest.fixture
def opt(data, teacher_file):
    return tiny.distill_options(data, teacher_file)


def step(opt, root):
    """The losses of one step, after the options were checked as a run checks them."""
    run_checks.check(tiny.parsed(opt, root))
    model = tiny.model(opt, root)
    generator = torch.Generator().manual_seed(0)
    batch = {"lq": torch.rand(4, 3, 8, 10, generator=generator), "gt": torch.rand(4, 3, 16, 20, generator=generator)}
    model.feed_data(batch)
    model.optimize_parameters(1)
    with torch.no_grad():
        target = model.step_losses.source.teacher(batch["lq"])
    return model, batch, target


def test_the_loss(opt, tmp_path, run):
    code, options = blocks("loss")
    try:
        edge_loss = run(code).EdgeLoss
        opt["train"]["distill_opt"] = options["train"]["distill_opt"]
        model, _, target = step(opt, tmp_path)
        d = model.output.detach().double() - target.double()
        expected = (d[..., 1:, :] - d[..., :-1, :]).abs().mean() + (d[..., 1:] - d[..., :-1]).abs().mean()
        assert model.log_dict["l_edges"] == pytest.approx(0.1 * expected.item(), rel=1e-5)
        assert edge_loss(power=2)(torch.zeros(1, 3, 4, 5), torch.ones(1, 3, 4, 5)) == 0
        opt["train"]["distill_opt"]["edges"]["pover"] = 2
        with pytest.raises(OptionsError, match=r"edges.pover.*Did you mean 'power'"):
            run_checks.check(tiny.parsed(opt, tmp_path))
    finally:
        LOSS_REGISTRY._obj_map.pop("EdgeLoss", None)


@pytest.fixture
def sources(monkeypatch):
    monkeypatch.setattr(source, "SOURCES", source.SOURCES)
    before = list(source.SOURCES)
    yield
    source.SOURCES[:] = before


def test_the_source(opt, tmp_path, sources, run):
    code, options = blocks("source")
    run(code)
    opt.update(options)
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss"}}
    model, batch, target = step(opt, tmp_path)
    mixed = 0.75 * target + 0.25 * batch["gt"]
    assert model.log_dict["l_output"] == pytest.approx((model.output - mixed).abs().mean().item(), rel=1e-5)
    opt["blended"]["gt_share"] = 2.0
    with pytest.raises(OptionsError, match=r"blended.gt_share = 2.0"):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_the_key(monkeypatch, run):
    code, _ = blocks("key")
    section = run(code).WithFrozenLayers
    assert check_section(section, "student", {"frozen_layers": 3, "init": "random"}).frozen_layers == 3
    with pytest.raises(OptionsError, match=r"student.frozen_layer.*Did you mean 'frozen_layers'"):
        check_section(section, "student", {"frozen_layer": 3})
    field = section.model_fields["frozen_layers"]
    sections = [(path, section if path == "student" else model) for path, model in SECTIONS]
    monkeypatch.setattr("srkd_plugin.options.reference.SECTIONS", sections)
    assert f"| `student.frozen_layers` | whole number | `0` | {field.description} |" in reference({})


def test_the_exporter(tmp_path, run):
    module = run(blocks("exporter")[0])
    student = StudentFile(tiny.STUDENT, 2, build_described("network_g", tiny.STUDENT).state_dict())
    (written,) = module.half_weights.write(ExportJob(student, "net-x2", tmp_path))
    assert written.files == (tmp_path / "net-x2-half.safetensors",) and 0 < written.max_error <= 1e-3
    assert written.files[0].exists() and module.half_weights.is_wanted(Wishes())
    broken = {**student.weights, "conv_first.bias": torch.full((8,), float("nan"))}
    with pytest.raises(InputError, match="float16 changes a weight by nan"):
        list(module.half_weights.write(ExportJob(StudentFile(tiny.STUDENT, 2, broken), "bad", tmp_path)))
    assert not (tmp_path / "bad-half.safetensors").exists()
