"""Names of ours yield to others' in BasicSR's registries, whoever registers first."""

import pytest
import tiny
from basicsr.losses import build_loss
from basicsr.utils.registry import DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY, Registry

from srkd_plugin.basicsr_patches.registry import do_register
from srkd_plugin.basicsr_patches.replace import MARK
from srkd_plugin.errors import OptionsError
from srkd_plugin.losses import ContrastiveLoss as Ours
from srkd_plugin.options import reader
from srkd_plugin.options.registered_names import TAKEN
from srkd_plugin.preflight import run_checks
from srkd_plugin.preflight.runs_of_others import unread_sections


@pytest.fixture(autouse=True)
def registries_kept(monkeypatch):
    for registry in (DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY):
        monkeypatch.setattr(registry, "_obj_map", dict(iter(registry)))
    taken = set(TAKEN)
    yield
    TAKEN.clear()
    TAKEN.update(taken)


def class_of_somebody(name):
    return type(name, (), {"__init__": lambda self, margin=1.0: None})


def test_a_loss_of_our_name_that_is_registered_later_has_the_bare_name():
    theirs = class_of_somebody("ContrastiveLoss")
    LOSS_REGISTRY.register(theirs)
    assert LOSS_REGISTRY.get("ContrastiveLoss") is theirs
    assert LOSS_REGISTRY.get("ContrastiveLoss_srkd") is Ours
    assert isinstance(build_loss({"type": "ContrastiveLoss_srkd", "similarity": "l1"}), Ours)


@pytest.mark.parametrize("registry_of_1_3", [False, True])
def test_a_loss_of_our_name_that_is_registered_before_keeps_it(registry_of_1_3):
    registry = Registry("test")
    theirs = class_of_somebody("ContrastiveLoss")
    registry.register(theirs)

    def without_suffix(self, name, obj):
        self._obj_map[name] = obj

    stock = without_suffix if registry_of_1_3 else getattr(Registry._do_register, MARK)
    do_register(stock, registry, "ContrastiveLoss", Ours)
    assert dict(iter(registry)) == {"ContrastiveLoss": theirs, "ContrastiveLoss_srkd": Ours}


def test_two_of_others_are_refused_as_by_stock_and_suffixes_are_stocks():
    registry = Registry("test")
    registry.register(class_of_somebody("Loss"))
    registry.register(class_of_somebody("Loss"), suffix="basicsr")
    assert sorted(registry.keys()) == ["Loss", "Loss_basicsr"]
    with pytest.raises(AssertionError, match="'Loss' was already registered"):
        registry.register(class_of_somebody("Loss"))
    with pytest.raises(AssertionError, match="'ContrastiveLoss' was already registered"):
        LOSS_REGISTRY.register(Ours)


def test_a_term_that_may_mean_either_is_one_line(tmp_path, data):
    opt = tiny.parsed(tiny.distill_options(data, None), tmp_path)
    run_checks.check(opt)
    LOSS_REGISTRY.register(class_of_somebody("ContrastiveLoss"))
    says = r"distill_opt\.contrastive\.type = 'ContrastiveLoss': .* Write ContrastiveLoss_srkd for the plugin's"
    with pytest.raises(OptionsError, match=says):
        run_checks.check(opt)
    opt["train"]["distill_opt"]["contrastive"]["type"] = "ContrastiveLoss_srkd"
    assert run_checks.check(opt).ours.terms["contrastive"].type == "ContrastiveLoss_srkd"


def test_a_stock_loss_is_not_asked_about(tmp_path, data):
    """Others' loss as pixel_opt is theirs to check."""
    LOSS_REGISTRY.register(class_of_somebody("FeatureLoss"))
    run_checks.check(tiny.parsed(tiny.distill_options(data, None), tmp_path))


def test_a_model_or_data_set_of_our_name_makes_a_run_theirs(data):
    opt = tiny.distill_options(data, None)
    cached = {"datasets": {"train": {"type": "TeacherCacheDataset"}}}
    assert reader.is_ours(opt) and reader.is_ours(cached)
    MODEL_REGISTRY.register(class_of_somebody("DistillModel"))
    DATASET_REGISTRY.register(class_of_somebody("TeacherCacheDataset"))
    assert not reader.is_ours(opt) and not reader.is_ours(cached)
    assert "Its own is DistillModel_srkd" in unread_sections(opt)
    opt["model_type"], cached["datasets"]["train"]["type"] = "DistillModel_srkd", "TeacherCacheDataset_srkd"
    assert reader.is_ours(opt) and reader.is_ours(cached)
