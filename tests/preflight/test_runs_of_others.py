"""A run is the plugin's by its model or data set alone; others have sections of the same names."""

import sys

import pytest
import tiny
from basicsr.models.sr_model import SRModel
from basicsr.utils import options as stock_options
from basicsr.utils.registry import MODEL_REGISTRY

from srkd_plugin.errors import OptionsError
from srkd_plugin.preflight.runs_of_others import unread_sections


@pytest.fixture
def own_model(monkeypatch):
    """Another package's model, which has a teacher of its own."""
    monkeypatch.setattr(MODEL_REGISTRY, "_obj_map", dict(iter(MODEL_REGISTRY)))

    @MODEL_REGISTRY.register()
    class TeacherStudentModel(SRModel):
        pass


@pytest.fixture
def parse(tmp_path, data, monkeypatch, capfd):
    """BasicSR's ``parse_options`` on stock options that are changed: what it returns, and the lines of the plugin."""

    def parsed(**changes):
        opt = {**tiny.stock_options(data), **changes}
        file = tiny.write_options(opt, tmp_path / "o.yml")
        monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(file)])
        returned, _ = stock_options.parse_options(str(tmp_path), is_train=True)
        return returned, [line for line in capfd.readouterr().err.splitlines() if "srkd_plugin" in line]

    return parsed


@pytest.mark.parametrize(
    "sections",
    [{"network_t": {"type": "Own"}, "teacher": {"loss": "l1"}}, {"checkpoints": {"dir": "x"}}, {"student": "s.pth"}],
)
def test_a_model_of_others_is_not_refused_and_nothing_is_said(own_model, parse, sections):
    opt, lines = parse(model_type="TeacherStudentModel", **sections)
    assert {key: opt[key] for key in sections} == sections and lines == []


STOCK_SECTIONS = [{"teacher": "x.pth"}, {"checkpoints": {"dir": "x"}}, {"network_t": {"type": "x"}}]


@pytest.mark.parametrize("sections", STOCK_SECTIONS)
def test_a_stock_model_with_a_section_that_looks_like_ours_is_one_line(parse, sections):
    _, lines = parse(**sections)
    assert len(lines) == 1 and f"the plugin leaves {next(iter(sections))} alone" in lines[0]


def test_a_stock_run_without_such_sections_is_no_line(parse):
    assert parse()[1] == []


def test_a_misspelt_model_of_ours_is_refused_before_basicsr_archives():
    opt = {"model_type": "DistilModel", "network_t": {}}
    with pytest.raises(OptionsError, match=r"model_type = 'DistilModel': .* Did you mean 'DistillModel'\?"):
        unread_sections(opt)
    assert unread_sections({"model_type": "DistilModel"}) is None
    assert unread_sections({"network_t": {}}) is None


def test_a_model_type_that_is_no_text_is_no_name_of_ours():
    assert unread_sections({"model_type": {"type": "DistillModel"}, "network_t": {}}) is None
