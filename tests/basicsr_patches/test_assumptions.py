"""The table of what we assume of BasicSR: complete, true of the BasicSR that is installed, and of others on request.

``SRKD_TEST_BASICSR`` names folders of other copies of BasicSR, each with ``basicsr/`` in it, separated as in ``PATH``.
"""

import ast
import importlib
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import basicsr.models.sr_model
import pytest
import tiny
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.models.sr_model import SRModel
from basicsr.utils import misc, registry

from srkd_plugin.basicsr_patches import assumptions
from srkd_plugin.basicsr_patches.assumptions import ASSUMPTIONS, Assumption, differences

OTHERS = [Path(folder) for folder in os.environ.get("SRKD_TEST_BASICSR", "").split(os.pathsep) if folder]
PACKAGE = tiny.PROJECT / "srkd_plugin"
MODULES = sorted({assumption.name.partition(":")[0] for assumption in ASSUMPTIONS})

others = pytest.mark.parametrize(
    "other",
    OTHERS or [pytest.param(None, marks=pytest.mark.skip(reason="SRKD_TEST_BASICSR names no folders"))],
    ids=lambda folder: folder and folder.name,
)

DIFFERENCES = f"""
import importlib
import srkd_plugin.registration
from srkd_plugin.basicsr_patches import assumptions
for module in {MODULES}:
    importlib.import_module(module)
print("found:", assumptions.differences())
"""


def trees():
    return {file: ast.parse(file.read_text()) for file in sorted(PACKAGE.rglob("*.py"))}


def names_of_basicsr():
    """``module:name`` of everything that is imported from BasicSR anywhere in the package, or read from its modules."""
    for tree in trees().values():
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "basicsr":
                for alias in node.names:
                    if isinstance(getattr(importlib.import_module(node.module), alias.name), ModuleType):
                        modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                    else:
                        yield f"{node.module}:{alias.name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                yield f"{modules[node.value.id]}:{node.attr}"


def object_of(name):
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute.split(".")[0])


def test_every_name_that_is_taken_from_basicsr_is_in_the_table():
    known = [object_of(assumption.name) for assumption in ASSUMPTIONS]
    imported = sorted(set(names_of_basicsr()))
    assert len(imported) > 20
    assert [name for name in imported if not any(object_of(name) is value for value in known)] == []


def test_every_private_name_of_basicsrs_classes_that_is_used_is_in_the_table():
    classes = (SRModel, PairedImageDataset, registry.Registry)
    known = {assumption.name.rpartition(".")[2] for assumption in ASSUMPTIONS}
    known |= {name for assumption in ASSUMPTIONS for name in assumption.sets.split()}
    used = {
        node.attr
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    }
    private = {name for name in used if any(hasattr(cls, name) for cls in classes) or name == "_obj_map"}
    assert {"_obj_map", "_update_best_metric_result"} <= private <= known


@pytest.mark.parametrize(
    "module", ["training/resumable.py", "distill/distill_model.py", "training/split_validation.py"]
)
def test_every_method_of_srmodel_that_is_called_or_overridden_is_in_the_table(module):
    known = {assumption.name.rpartition(".")[2] for assumption in ASSUMPTIONS}
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "model"):
            names.add(node.attr)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
    assert {name for name in names if hasattr(SRModel, name) and not hasattr(object(), name)} - known <= {"__dict__"}


def test_the_modules_of_ours_in_the_table_are_there():
    for assumption in ASSUMPTIONS:
        assert find_spec(f"srkd_plugin.{assumption.by}") is not None, assumption
        assert assumption.kind in Assumption.__doc__


def test_the_installed_basicsr_is_as_assumed():
    for module in MODULES:
        importlib.import_module(module)
    assert differences() == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda patch: patch.delattr(misc, "check_resume"), "basicsr.utils.misc.check_resume is missing: "),
        (
            lambda patch: patch.setattr(misc, "check_resume", lambda options, iteration: None),
            "basicsr.utils.misc.check_resume takes (options, iteration) and not (opt, resume_iter): resumed runs",
        ),
        (
            lambda patch: patch.setattr(SRModel, "feed_data", lambda self, data: setattr(self, "x", data)),
            "basicsr.models.sr_model.SRModel.feed_data has no lq and no gt: DistillModel does not train",
        ),
        (
            lambda patch: patch.delattr(basicsr.models.base_model.BaseModel, "_update_best_metric_result"),
            "BaseModel._update_best_metric_result is missing: the best results are forgotten on resume",
        ),
    ],
)
def test_what_differs_is_named_with_what_does_not_work(monkeypatch, change, says):
    change(monkeypatch)
    (found,) = differences()
    assert says in found
    line = assumptions.line([found])
    assert "\n" not in line and says in line and str(Path(basicsr.__file__).parent) in line


def test_nothing_is_imported_for_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "basicsr.train")
    assert differences() == []
    assert "basicsr.train" not in sys.modules


@pytest.mark.integration
@tiny.needs_autoload
def test_a_basicsr_that_differs_is_one_line_and_goes_on(checkout):
    file = checkout / "basicsr/models/base_model.py"
    file.write_text(file.read_text().replace("_update_best_metric_result", "_update_best"))
    printed = tiny.run_ok("-c", "import torch, basicsr", cwd=checkout, PYTHONPATH=path_of(checkout))
    lines = [line for line in printed.splitlines() if "srkd_plugin" in line]
    assert len(lines) == 1 and f"{checkout}/basicsr is not as srkd_plugin assumes: " in lines[0]
    assert "BaseModel._update_best_metric_result is missing: the best results" in lines[0]


def path_of(root):
    """The path on which a copy of BasicSR comes first, and this copy of the plugin after it."""
    return os.pathsep.join([str(root), str(tiny.PROJECT), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def copied(other, tmp_path):
    """A copy with what a clone lacks: the file that its setup writes, and the architecture of the tiny networks."""
    shutil.copytree(other / "basicsr", tmp_path / "basicsr", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "experiments").mkdir()
    if not (tmp_path / "basicsr/version.py").exists():
        (tmp_path / "basicsr/version.py").write_text("__version__ = 'clone'\n__gitsha__ = 'unknown'\n")
    edsr = Path(find_spec("basicsr.archs.edsr_arch").origin)
    if not (tmp_path / "basicsr/archs/edsr_arch.py").exists():
        shutil.copy(edsr, tmp_path / "basicsr/archs")
    return tmp_path


@pytest.mark.integration
@others
def test_another_basicsr_is_as_assumed(other, copied):
    printed = tiny.run_ok("-c", DIFFERENCES, cwd=copied, PYTHONPATH=path_of(copied))
    assert "found: []" in printed
    assert "is not as srkd_plugin assumes" not in printed


@pytest.mark.integration
@others
def test_another_basicsr_trains_resumes_and_tests(other, copied, data, teacher_file):
    options = tiny.distill_options(data, teacher_file, iters=2)
    file = tiny.write_options(options, copied / "o.yml")
    run = ["basicsr/train.py", "-opt", file]
    tiny.run_ok(*run, cwd=copied, PYTHONPATH=path_of(copied))
    options["train"]["total_iter"] = 4
    tiny.write_options(options, file)
    log = tiny.run_ok(*run, "--auto_resume", cwd=copied, PYTHONPATH=path_of(copied))
    assert "Resuming training from epoch: 0, iter: 2." in log and "l_contrastive" in log
    weights = copied / "experiments/tiny_distill/models/net_g_latest.pth"
    test = tiny.stock_options(data, "tiny_test")
    test["datasets"] = {"test_1": test["datasets"]["val"]}
    test["path"]["pretrain_network_g"] = str(weights)
    file = tiny.write_options(test, copied / "t.yml")
    assert tiny.psnr_of(tiny.run_ok("basicsr/test.py", "-opt", file, cwd=copied, PYTHONPATH=path_of(copied))) > 0
