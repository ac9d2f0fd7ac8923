"""``parse_options`` for runs of ours: checked before BasicSR writes, and one line instead of a traceback."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

import yaml

from srkd_plugin.basicsr_patches import training_run
from srkd_plugin.basicsr_patches.replace import MARK
from srkd_plugin.basicsr_patches.training_run import TrainingRun
from srkd_plugin.errors import OptionsError
from srkd_plugin.options import reader, safe_yaml
from srkd_plugin.options.plain_values import require_plain
from srkd_plugin.parallel.cuda import has_cuda
from srkd_plugin.preflight import on_all_ranks, run_checks, runs_of_others
from srkd_plugin.preflight.start import check_start
from srkd_plugin.preflight.testing import check_test_values

TRACEBACK_SWITCH = "SRKD_TRACEBACK"
"""Set to 1 in the environment to see where an options error was raised."""

NAMES_OURS = re.compile(r"^model_type\s*:\s*['\"]?(RealESR)?DistillModel\b", re.MULTILINE)
"""How a file that cannot be read is known to be meant for a run of ours."""


_every_file = False
"""See :func:`every_file_explained`."""


@contextlib.contextmanager
def every_file_explained() -> Iterator[None]:
    """Let a file that BasicSR cannot parse be one line, whatever it is; for commands of ours.

    Under BasicSR's own scripts, files that name nothing of ours are left to BasicSR.
    """
    global _every_file
    before, _every_file = _every_file, True
    try:
        yield
    finally:
        _every_file = before


def parse_options(stock: Callable[..., Any], root_path: str, is_train: bool = True) -> Any:
    """Parse as stock does; then check a run of ours, and begin it.

    What begins is a :class:`~srkd_plugin.basicsr_patches.training_run.TrainingRun`; whoever called us is not looked at.
    """
    training_run.begin(None)
    try:
        opt, args = _parse(stock, root_path, is_train)
        if reader.is_ours(opt):
            require_plain(opt)
        run = TrainingRun(opt, _leave)
        if run.ours:
            _name_lmdbs(opt)
            check_start(opt)
        else:
            _say_what_is_unread(opt)
    except OptionsError as error:
        _leave(error)
    if is_train and (run.ours or run.exact or not has_cuda()):
        training_run.begin(run)
    return opt, args


def _name_lmdbs(opt: Mapping[str, Any]) -> None:
    """Leave out a ``/`` behind the name of an LMDB: BasicSR knows LMDBs by the end of their paths."""
    for section in opt["datasets"].values():
        for key in ("dataroot_gt", "dataroot_lq"):
            path = section.get(key)
            if isinstance(path, str) and path.rstrip(os.sep).endswith(".lmdb"):
                section[key] = path.rstrip(os.sep)


def _say_what_is_unread(opt: Mapping[str, Any]) -> None:
    line = runs_of_others.unread_sections(opt)
    if line and opt.get("rank", 0) == 0:
        print(f"srkd_plugin: warning: {line}", file=sys.stderr, flush=True)


def _parse(stock: Callable[..., Any], root_path: str, is_train: bool) -> tuple[dict[str, Any], Any]:
    """Parse as stock does; an error of it in a file of ours, or in one of our commands, becomes one line."""
    try:
        return stock(root_path, is_train)
    except OptionsError:
        raise
    except Exception as error:
        _explain(error, is_train)
        raise


def _explain(error: Exception, is_train: bool) -> None:
    """Say in one line why BasicSR could not parse a file that names something of ours; return if it names nothing.

    A part that stock needs is missing or of the wrong type, e.g. ``name``: the check finds it in the file as it is.
    With :func:`every_file_explained`, other files are explained too.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-opt", default="")
    file = Path(parser.parse_known_args()[0].opt)
    try:
        opt = safe_yaml.read(file)
    except OptionsError as unreadable:
        is_program = isinstance(unreadable.__cause__, yaml.constructor.ConstructorError)
        if is_program and not isinstance(error, yaml.YAMLError):  # stock has read it: something else is wrong
            unreadable = _cannot_parse(error, file)
        if _every_file or (file.is_file() and _may_be_ours(file.read_bytes())):
            _leave(unreadable)
        return
    if reader.is_ours(opt):
        _leave(_reason(error, opt, file, _check if is_train else check_test_values))
    if _every_file:
        _leave(_reason(error, opt, file, reader.read if is_train else check_test_values))


def _may_be_ours(content: bytes) -> bool:
    """Whether a file that cannot be read names a model of ours, or is nobody's: empty, or in another encoding."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return not text.strip() or NAMES_OURS.search(text) is not None


def _check(opt: Mapping[str, Any]) -> None:
    on_all_ranks.check_on_all_ranks(run_checks.check, opt)


def _reason(
    error: Exception, opt: dict[str, Any], file: Path, check: Callable[[Mapping[str, Any]], Any]
) -> OptionsError:
    try:
        check(opt)
    except OptionsError as found:
        return found
    except Exception:  # the check expects options that BasicSR has parsed
        pass
    return _cannot_parse(error, file)


def _cannot_parse(error: Exception, file: Path) -> OptionsError:
    problem = f"BasicSR cannot read it ({type(error).__name__}: {error})"
    return OptionsError("-opt", str(file), problem, "Compare it with the options files of the plugin.")


def parse_without_running(file: Path, root: Path, is_train: bool) -> dict[str, Any]:
    """Options as BasicSR's ``parse_options`` returns them, of a file that is read and not run; nothing is checked.

    For commands that look at a file. BasicSR's own code fills in what it fills in, with our loader in place of its
    unsafe one; the random generators are seeded.

    Args:
        file: The options file.
        root: Folder below which BasicSR would write.
        is_train: Whether it is parsed for training or for testing.

    Raises:
        OptionsError: The file cannot be read safely, or BasicSR cannot parse it.
    """
    from basicsr.utils import options as stock_options

    bare = safe_yaml.read(file)
    stock = getattr(stock_options.parse_options, MARK, stock_options.parse_options)
    arguments, loaders = sys.argv, stock_options.ordered_yaml
    sys.argv = [arguments[0], "-opt", str(file)]
    stock_options.ordered_yaml = lambda: (safe_yaml.Loader, None)
    try:
        with contextlib.redirect_stdout(None):
            opt = stock(str(root), is_train)[0]
        if reader.is_ours(opt):
            _name_lmdbs(opt)
        return opt
    except Exception as error:
        if not is_train:
            check: Callable[[Mapping[str, Any]], Any] = check_test_values
        else:
            check = run_checks.check if reader.is_ours(bare) else reader.read
        raise _reason(error, bare, file, check) from error
    finally:
        sys.argv, stock_options.ordered_yaml = arguments, loaders


def parse_content(content: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Options as BasicSR's ``parse_options`` returns them, of what will be a file; see :func:`parse_without_running`.

    Args:
        content: The options; a section ``train`` makes them a training's.
        root: Folder below which BasicSR would write.

    Raises:
        OptionsError: The content cannot be read safely, or BasicSR cannot parse it.
    """
    with tempfile.TemporaryDirectory(prefix="srkd_options_") as folder:
        file = Path(folder) / "options.yml"
        file.write_text(yaml.safe_dump(dict(content), sort_keys=False), "utf-8")
        return parse_without_running(file, root, "train" in content)


def _leave(error: OptionsError) -> None:
    """End the process with one line instead of a traceback; exit code 2, as argparse does for a bad argument."""
    if os.environ.get(TRACEBACK_SWITCH) == "1":
        raise error
    print(f"srkd_plugin: options error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(2)
