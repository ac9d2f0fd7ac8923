"""Sources of targets: one more is one class and one options section; which one a run has; what the two of ours do not.

What a live teacher and a cache give is tested in ``test_distill_model.py`` and ``tests/teacher_cache``.
"""

import pytest
import tiny
import torch
from pydantic import BaseModel, ConfigDict
from torch.nn import functional as F

from srkd_plugin.distill.targets import source
from srkd_plugin.distill.targets.cached import CachedImages
from srkd_plugin.distill.targets.find import find_source
from srkd_plugin.distill.targets.live import LiveTeacher
from srkd_plugin.errors import OptionsError
from srkd_plugin.losses import contrastive_loss
from srkd_plugin.options import reader
from srkd_plugin.options.validate import check_section
from srkd_plugin.preflight import describe_run, run_checks
from srkd_plugin.utils.files import require_file


class FixedSection(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    file: str
    gain: float = 1.0


class FixedImages(source.TargetSource):
    """Images from one file of ``{name: image}``, by the names of the LQ images: ``fixed: {file: images.pth}``."""

    key = "fixed"
    batch_keys = ("lq_path",)

    def __init__(self, options):
        super().__init__(options)
        self.section = check_section(FixedSection, self.key, options.raw[self.key])

    def check(self, device, images):
        require_file("fixed.file", self.section.file)

    def describe(self):
        return {"type": "FixedImages", "file": self.section.file}

    def build(self, device):
        self.images = torch.load(self.section.file, weights_only=True)

    def example(self, lq, gt):
        return {"lq_path": [next(iter(self.images))] * len(lq)}

    def targets(self, batch, with_maps):
        images = torch.stack([self.images[name] for name in batch["lq_path"]]).to(batch["lq"])
        scale = self.options.stock.run.scale
        size = [side * scale for side in batch["lq"].shape[-2:]]
        return source.Targets(self.section.gain * F.interpolate(images, size), {})


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    lq, gt = torch.rand(2, 3, 8, 8, generator=generator), torch.rand(2, 3, 16, 16, generator=generator)
    return {"lq": lq, "gt": gt, "lq_path": ["a", "b"]}


@pytest.fixture
def opt(data, tmp_path):
    """A distillation from FixedImages; nothing of a teacher is in it."""
    source.register(FixedImages)
    torch.save({"a": torch.zeros(3, 16, 16), "b": torch.ones(3, 16, 16)}, tmp_path / "images.pth")
    opt = tiny.distill_options(data, None)
    for key in ("network_t", "teacher"):
        del opt[key]
    for key in ("pretrain_network_t", "param_key_t", "strict_load_t"):
        del opt["path"][key]
    yield {**opt, "fixed": {"file": str(tmp_path / "images.pth"), "gain": 0.5}}
    source.SOURCES.remove(FixedImages)


def train(model, steps):
    logs = []
    for i in steps:
        model.feed_data(batch(i))
        model.update_learning_rate(i)
        model.optimize_parameters(i)
        logs.append(model.log_dict)
    return logs


def test_a_third_source_trains_a_step(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    target = torch.stack([torch.zeros(3, 16, 16), 0.5 * torch.ones(3, 16, 16)])
    with torch.no_grad():
        expected = 10 * contrastive_loss(model.net_g(batch(1)["lq"]), target)
    before = {name: value.clone() for name, value in model.net_g.state_dict().items()}
    (log,) = train(model, [1])
    assert log["l_contrastive"] == pytest.approx(expected.item(), rel=1e-6)
    assert any(not torch.equal(before[name], value) for name, value in model.net_g.state_dict().items())


def test_a_third_source_is_resumable(opt, tmp_path):
    """Two steps, save, build anew, resume, two steps: as four steps at a stretch."""
    straight = train(tiny.model(opt, tmp_path / "straight"), [1, 2, 3, 4])
    first = tiny.model(opt, tmp_path)
    train(first, [1, 2])
    first.save(0, 2)
    root = tmp_path / "experiments" / opt["name"]
    opt["path"]["pretrain_network_g"] = str(root / "models/net_g_2.pth")
    second = tiny.model(opt, tmp_path, seed=99)
    second.resume_training(torch.load(root / "training_states/2.state"))
    resumed = train(second, [3, 4])
    assert [log["l_contrastive"] for log in resumed] == [log["l_contrastive"] for log in straight[2:]]


def test_a_third_source_is_checked_and_described(opt, tmp_path):
    opt = tiny.parsed(opt, tmp_path)
    run_checks.check(opt)
    facts = describe_run.describe(opt)
    assert facts["teacher"] == {"type": "FixedImages", "file": opt["fixed"]["file"]}
    assert f"teacher: FixedImages, file: {opt['fixed']['file']}" in describe_run.lines(facts)


TAPS = {"type": "SpatialAffinityLoss", "taps": {"student": ["body.0"], "teacher": ["body.1"]}}
BAD = [
    ("fixed", {"file": "no/such.pth"}, "fixed.file = 'no/such.pth': there is no such file"),
    ("fixed", {"file": 3}, "fixed.file = 3: Input should be a valid string"),
    ("fixed", {"file": "x", "gian": 1.0}, "fixed.gian = 1.0: unknown key. Did you mean 'gain'?"),
    (
        "student",
        {"init": "teacher_slice"},
        "FixedImages gives the teacher's images, and has no network to cut",
    ),
    ("fakd", TAPS, "fakd.taps.teacher = ['body.1']: FixedImages gives the teacher's images, and not its feature maps"),
    ("type", "TeacherCacheDataset", "datasets.train.dataroot_teacher is missing"),
]


@pytest.mark.parametrize(("key", "value", "says"), BAD, ids=[says[:50] for _, _, says in BAD])
def test_what_a_third_source_cannot_do_is_one_line(opt, tmp_path, key, value, says):
    section = {"fakd": opt["train"]["distill_opt"], "type": opt["datasets"]["train"]}.get(key, opt)
    section[key] = value
    with pytest.raises(OptionsError) as caught:
        run_checks.check(tiny.parsed(opt, tmp_path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.remedy


def test_images_of_another_size_are_one_line(opt, tmp_path, monkeypatch):
    monkeypatch.setattr(F, "interpolate", lambda images, size: images)
    torch.save({"a": torch.zeros(3, 15, 16)}, opt["fixed"]["file"])
    with pytest.raises(
        OptionsError, match=r"fixed = 'FixedImages': its images .* \(2, 3, 15, 16\)\. .* \(2, 3, 16, 16\)"
    ):
        run_checks.check(tiny.parsed(opt, tmp_path))


def found(opt):
    return type(find_source(reader.read(opt)))


def test_the_options_choose_the_source(opt, data, teacher_file):
    live = tiny.distill_options(data, teacher_file)
    assert found(live) is LiveTeacher
    assert found(opt) is FixedImages
    live["datasets"]["train"].update(type="TeacherCacheDataset", dataroot_teacher="c.lmdb")
    assert found(live) is CachedImages
    with pytest.raises(OptionsError, match=r"^fixed = .*from CachedImages, which datasets.train.type asks for"):
        found({**live, "fixed": opt["fixed"]})


def test_a_live_teacher_and_a_cache_need_a_network(data, teacher_file):
    opt = tiny.distill_options(data, teacher_file)
    for kind, more in (("PairedImageDataset", {}), ("TeacherCacheDataset", {"dataroot_teacher": "c.lmdb"})):
        opt["datasets"]["train"].update(type=kind, **more)
        del opt["network_t"]
        with pytest.raises(OptionsError, match="network_t is missing: DistillModel needs it"):
            found(opt)
        opt["network_t"] = dict(tiny.TEACHER)
