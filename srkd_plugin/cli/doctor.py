"""``srkd doctor``: says what is installed, where the documents are, and whether BasicSR finds the plugin or why not."""

from __future__ import annotations

import argparse
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from srkd_plugin import __version__, _autoload
from srkd_plugin.cli.exit_codes import FAILED
from srkd_plugin.cli.parser import Parser, describe
from srkd_plugin.errors import InputError
from srkd_plugin.utils.shared_files import shared_folder

DESCRIPTION = """\
Say which versions are installed, where the documents are, what the plugin has registered, whether BasicSR finds it by
itself, and which GPUs there are. The exit code is 0 if BasicSR finds the plugin by itself, and 1 if it does not.
"""
EXAMPLES = "srkd doctor"


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd doctor``."""
    describe(parser, _run, DESCRIPTION, EXAMPLES)


def _run(args: argparse.Namespace) -> int:
    try:
        import torch  # calls the autoload, where it is able to
    except ImportError as error:
        print(f"srkd-plugin {__version__}, BasicSR {_version('basicsr')}, Python {platform.python_version()}")
        print(f"torch cannot be imported: {error}. Install it first; https://pytorch.org says how.")
        return FAILED
    by_itself = any(getattr(finder, "is_srkd_finder", False) for finder in sys.meta_path)
    print(f"srkd-plugin {__version__}, BasicSR {_version('basicsr')}, torch {torch.__version__}")
    print(f"Python {platform.python_version()}, torchvision {_version('torchvision')}, GPU: {_gpus(torch)}")
    print(f"documents: {_documents()}")
    try:
        from srkd_plugin import registration
    except ImportError as error:
        print(f"registered in BasicSR: nothing. {error}")
        print("Correct that first: srkd train and BasicSR's own commands end with it too.")
        return FAILED
    print(f"registered in BasicSR: {', '.join(registration.names())}")
    if by_itself:
        print("BasicSR finds the plugin by itself: python basicsr/train.py -opt ...")
        return 0
    print(f"BasicSR does not find the plugin by itself: {_why_not(torch)}")
    print("Use: srkd train -opt ...  (or import srkd_plugin.registration in your own script)")
    return FAILED


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # BasicSR can also be a checkout on the path
        return "(no package)"


def _documents() -> str:
    """Where the README and docs/ are; PyPI's page shows the README alone, whose links are relative."""
    try:
        docs = shared_folder("docs")
    except InputError as error:
        return str(error)
    return f"{docs.parent / 'README.md'}, {docs}"


def _gpus(torch: ModuleType) -> str:
    if not torch.cuda.is_available():
        return "none"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _why_not(torch: ModuleType) -> str:
    if not hasattr(torch, "_import_device_backends"):
        return f"torch {torch.__version__} has no autoload (it came with 2.5)."
    return f"{_autoload.OFF_SWITCH} or TORCH_DEVICE_BACKEND_AUTOLOAD is set to 0, or the plugin is not installed."
