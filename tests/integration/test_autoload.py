"""An unmodified BasicSR knows the plugin, however it is installed and started; and nobody else notices it."""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import tiny

pytestmark = [pytest.mark.integration, tiny.needs_autoload]

KNOWS_US = """
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY
assert "DistillModel" in MODEL_REGISTRY and "ContrastiveLoss" in LOSS_REGISTRY
"""


def beside(folder):
    """The path on which a folder's modules come first, and this copy of the plugin after them."""
    return os.pathsep.join([str(folder), str(tiny.PROJECT)])


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request, tmp_path_factory):
    """Python of a fresh virtual environment with the plugin installed; all else comes from the one that runs the tests.

    The path of the latter goes into a .pth file, so its own .pth files (an editable install of ours) are not read.
    """
    root = tmp_path_factory.mktemp(request.param)
    source = root / "source"
    shutil.copytree(tiny.PROJECT / "srkd_plugin", source / "srkd_plugin", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("options", "docs"):
        shutil.copytree(tiny.PROJECT / name, source / name)
    for name in ("setup.py", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"):
        shutil.copy(tiny.PROJECT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    python = root / "venv/bin/python"
    purelib = tiny.run_ok("-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=root, python=python)
    Path(purelib.strip(), "test_environment.pth").write_text(sysconfig.get_path("purelib"))
    how = [source] if request.param == "wheel" else ["--editable", source]
    tiny.run_ok("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", *how, cwd=root, python=python)
    return python


def test_unmodified_scripts_know_us(installed, checkout, elsewhere, data, teacher_file):
    options = tiny.write_options(tiny.distill_options(data, teacher_file, iters=2), elsewhere / "distill.yml")
    log = tiny.run_ok(checkout / "basicsr/train.py", "-opt", options, cwd=elsewhere, python=installed)
    assert "l_contrastive" in log
    assert (checkout / "experiments/tiny_distill/models/net_g_latest.pth").exists()
    where = tiny.run_ok("-c", "import srkd_plugin; print(srkd_plugin.__file__)", cwd=elsewhere, python=installed)
    assert str(tiny.PROJECT) not in where


def test_the_installation_has_the_command_the_types_and_the_options_files(installed):
    distribution = """
import sys
from importlib.metadata import distribution, version
ours = distribution("srkd-plugin")
assert version("srkd-plugin") == __import__("srkd_plugin").__version__
print(*(ours.locate_file(file).resolve() for file in ours.files), sep="\\n")
"""
    files = [Path(line) for line in tiny.run_ok("-c", distribution, cwd=installed.parent, python=installed).split()]
    assert all(file.exists() for file in files)
    assert installed.parent / "srkd" in files
    entries = [file for file in files if file.suffix == ".pth"]
    if entries:  # editable: a plain path entry, which costs nothing at start-up, and no import finder
        (entry,) = entries
        source = installed.parents[2] / "source"
        assert entry.read_text().strip() == str(source)
        assert not [file for file in files if file.name.startswith("__editable__") and file.suffix == ".py"]
        return
    assert "py.typed" in {file.name for file in files}
    templates = {path.name for path in tiny.PROJECT.glob("srkd_plugin/report/templates/*")}
    assert len(templates) >= 6 and {file.name for file in files if file.parent.name == "templates"} == templates
    shared = installed.parents[1] / "share/srkd_plugin/options"
    shipped = {path.relative_to(tiny.PROJECT / "options") for path in tiny.PROJECT.glob("options/**/*.yml")}
    assert {file.relative_to(shared) for file in files if shared in file.parents} >= shipped
    packages = {file.parent.name for file in files if file.name == "__init__.py"}
    assert packages == {path.parent.name for path in tiny.PROJECT.glob("srkd_plugin/**/__init__.py")}


def test_python_m_and_spawned_processes_know_us(checkout, data, teacher_file):
    options = tiny.distill_options(data, teacher_file, iters=2)
    options["datasets"]["train"]["num_worker_per_gpu"] = 1
    file = tiny.write_options(options, checkout / "distill.yml")
    tiny.run_ok("-m", "basicsr.train", "-opt", file, cwd=checkout)
    assert (checkout / "experiments/tiny_distill/models/net_g_latest.pth").exists()

    (checkout / "knows_us.py").write_text(f"def check(_):\n    {KNOWS_US.strip().replace(chr(10), chr(10) + '    ')}\n")
    spawn = """
import torch, multiprocessing
from knows_us import check
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.map(check, [0])
"""
    (checkout / "spawn.py").write_text(spawn)
    tiny.run_ok("spawn.py", cwd=checkout)


def test_switched_off_it_is_not_there_and_can_be_imported_by_hand(tmp_path):
    off = """
import sys, torch
assert not any("srkd" in name for name in sys.modules), "something of ours was imported"
assert not any(hasattr(finder, "is_srkd_finder") for finder in sys.meta_path)
import srkd_plugin.registration
"""
    tiny.run_ok("-c", off + KNOWS_US, cwd=tmp_path, TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    switch = "import sys, torch; assert not any(hasattr(f, 'is_srkd_finder') for f in sys.meta_path)"
    tiny.run_ok("-c", switch, cwd=tmp_path, SRKD_PLUGIN_AUTOLOAD="0")


def test_without_basicsr_nothing_but_the_hook_is_loaded(tmp_path):
    code = """
import sys, torch, torchvision
ours = {name for name in sys.modules if "srkd" in name}
assert ours == {"srkd_plugin", "srkd_plugin._autoload"}, ours
from srkd_plugin import _autoload
before = len(sys.meta_path)
_autoload.install(), _autoload.install_finder()
assert len(sys.meta_path) == before
"""
    tiny.run_ok("-c", code, cwd=tmp_path)


def test_functional_tensor_is_supplied_to_basicsr_only_and_only_if_missing(monkeypatch):
    from types import ModuleType

    from torchvision.transforms.functional import rgb_to_grayscale

    from srkd_plugin import _autoload

    finder, name = _autoload._BasicSRFinder(), _autoload.FUNCTIONAL_TENSOR
    monkeypatch.setattr(sys, "meta_path", [finder])
    monkeypatch.setitem(sys.modules, "basicsr", ModuleType("basicsr"))
    supplied = finder.find_spec(name).loader.create_module(None)
    assert supplied.rgb_to_grayscale is rgb_to_grayscale

    class Real:
        @staticmethod
        def find_spec(*_):
            return "torchvision's own"

    monkeypatch.setattr(sys, "meta_path", [finder, Real])
    assert finder.find_spec(name) == "torchvision's own"
    monkeypatch.setattr(sys, "meta_path", [finder])
    monkeypatch.delitem(sys.modules, "basicsr")
    assert finder.find_spec(name) is None


def test_a_broken_plugin_warns_once_and_leaves_basicsr_alone(tmp_path):
    """Breaks a loss file of a copy of the package: BasicSR imports, the registries are as stock's, one warning."""
    shutil.copytree(tiny.PROJECT / "srkd_plugin", tmp_path / "srkd_plugin")
    with open(tmp_path / "srkd_plugin/losses/contrastive_loss.py", "a") as file:
        file.write("\nraise RuntimeError('broken on purpose')\n")
    code = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch, basicsr, basicsr.models
ours = [str(w.message) for w in caught if "srkd_plugin" in str(w.message)]
assert len(ours) == 1 and "broken on purpose" in ours[0], ours
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY
assert "L1Loss" in LOSS_REGISTRY and "SRModel" in MODEL_REGISTRY
assert "ContrastiveLoss" not in LOSS_REGISTRY and "DistillModel" not in MODEL_REGISTRY
"""
    tiny.run_ok("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path))


def test_a_name_that_is_taken_stays_whose_it_is(tmp_path):
    code = """
import torch, basicsr
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY
class ContrastiveLoss: pass
LOSS_REGISTRY.register(ContrastiveLoss)
import srkd_plugin.registration
from srkd_plugin.losses import ContrastiveLoss as Ours
assert LOSS_REGISTRY.get("ContrastiveLoss") is ContrastiveLoss
assert LOSS_REGISTRY.get("ContrastiveLoss_srkd") is Ours
assert "ContrastiveLoss_srkd" in srkd_plugin.registration.names() and "DistillModel" in MODEL_REGISTRY
"""
    shim = tmp_path / "sitecustomize.py"
    shim.write_text(tiny.FUNCTIONAL_TENSOR_BY_HAND)
    printed = tiny.run_ok("-c", code, cwd=tmp_path, SRKD_PLUGIN_AUTOLOAD="0", PYTHONPATH=beside(tmp_path))
    assert "srkd" not in printed


@pytest.mark.parametrize("module", ["registration", "networks.teacher"])
def test_a_clone_without_its_generated_version_is_one_line_with_a_remedy(checkout, module):
    (checkout / "basicsr/version.py").unlink()
    command = f"""
import importlib, sys
from srkd_plugin.cli.exit_codes import run_command
sys.exit(run_command(lambda: importlib.import_module("srkd_plugin.{module}")))
"""
    done = tiny.run("-c", command, cwd=checkout, PYTHONPATH=beside(checkout))
    (line,) = (line for line in done.stdout.splitlines() if "version.py" in line)
    assert "this BasicSR is a clone without basicsr/version.py" in line
    assert line.endswith(f"run python setup.py --version in {checkout}")
    assert done.returncode == 2 and "Traceback" not in done.stdout


def test_registering_after_basicsr_was_imported_still_changes_what_it_must(tmp_path):
    """With the automatic way off, BasicSR's train module has its own reference to parse_options already."""
    code = """
import torch, basicsr.train, basicsr.test
import srkd_plugin.registration
from basicsr.utils import options
assert hasattr(options.parse_options, "_srkd_stock")
assert basicsr.train.parse_options is options.parse_options is basicsr.test.parse_options
srkd_plugin.registration.register()
assert not hasattr(options.parse_options._srkd_stock, "_srkd_stock"), "changed twice"
"""
    (tmp_path / "sitecustomize.py").write_text(tiny.FUNCTIONAL_TENSOR_BY_HAND)
    tiny.run_ok("-c", code, cwd=tmp_path, SRKD_PLUGIN_AUTOLOAD="0", PYTHONPATH=beside(tmp_path))


def test_importing_a_loss_after_basicsr_registers_too(tmp_path):
    code = "import torch, basicsr\nfrom srkd_plugin.losses import ContrastiveLoss" + KNOWS_US
    (tmp_path / "sitecustomize.py").write_text(tiny.FUNCTIONAL_TENSOR_BY_HAND)
    tiny.run_ok("-c", code, cwd=tmp_path, SRKD_PLUGIN_AUTOLOAD="0", PYTHONPATH=beside(tmp_path))


@pytest.mark.parametrize("module", ["losses.contrastive_loss", "distill.distill_model", "preflight"])
def test_any_module_of_ours_may_be_imported_first(tmp_path, module):
    code = "import importlib, sys\nimportlib.import_module('srkd_plugin.' + sys.argv[1])" + KNOWS_US
    tiny.run_ok("-W", "error::RuntimeWarning", "-c", code, module, cwd=tmp_path)


def test_user_site_is_not_needed():
    """The tests above isolate environments by .pth files; a plugin in the user's site would break that silently."""
    assert not list(Path(site.getusersitepackages()).glob("srkd_plugin*"))
