"""Metrics that need no reference, and those of others."""

import pytest
import tiny
from basicsr.utils.registry import METRIC_REGISTRY

from srkd_plugin.errors import OptionsError
from srkd_plugin.preflight import run_checks


@pytest.fixture
def good(tmp_path, data, teacher_file):
    return tiny.parsed(tiny.distill_options(data, teacher_file), tmp_path)


@pytest.fixture
def metric(monkeypatch):
    """Registers a function as a metric for one test."""

    def register(function):
        monkeypatch.setitem(METRIC_REGISTRY._obj_map, function.__name__, function)
        return {"type": function.__name__}

    return register


@pytest.fixture
def large(tmp_path_factory):
    """NIQE takes blocks of 96 pixels."""
    return tiny.make_pairs(tmp_path_factory.mktemp("large"), count=1, height=198, width=198)


def test_niqe_is_a_metric_and_nothing_is_remarked(good, large):
    good["datasets"]["val"].update(dataroot_gt=str(large / "HR"), dataroot_lq=str(large / "LR"))
    good["val"]["metrics"]["niqe"] = {"type": "calculate_niqe", "crop_border": 2}
    assert run_checks.check(good).warnings == []


def test_any_metric_without_a_reference_is_accepted_and_needs_no_gt(good, metric):
    def sharpness(img, radius=1, **kwargs):
        return float(img.std()) * radius

    good["val"]["metrics"] = {"sharp": {**metric(sharpness), "radius": 2}}
    good["datasets"]["val"]["type"] = "SingleImageDataset"
    assert run_checks.check(good).warnings == []


def test_a_metric_of_others_that_compares_needs_gt(good, metric):
    def distance(img, img2):
        return 0.0

    good["val"]["metrics"] = {"far": metric(distance)}
    run_checks.check(good)
    good["datasets"]["val"]["type"] = "SingleImageDataset"
    with pytest.raises(OptionsError, match=r"val\.metrics\.far\.type = 'distance': it compares with gt, which Single"):
        run_checks.check(good)


def test_niqe_on_images_smaller_than_its_blocks(good):
    good["val"]["metrics"]["niqe"] = {"type": "calculate_niqe", "crop_border": 2}
    with pytest.raises(OptionsError, match=r"val\.metrics\.niqe = 'calculate_niqe': it (fails on|is nan for) an image"):
        run_checks.check(good)
