"""The line of progress at a terminal: what it shows, what it leaves alone, and when there is none."""

import io
import logging
import re

import pytest
import terminals
import tiny

from srkd_plugin.basicsr_patches import progress_line

TRAIN = ("-m", "srkd_plugin", "train", "-opt")


def options(data, teacher_file, name="seen", iters=4):
    opt = tiny.distill_options(data, teacher_file, name, iters)
    opt["val"]["val_freq"] = 2
    return opt


def log_of(root, name):
    """The log file's text without what differs from run to run: times, durations, folders."""
    (file,) = (root / "experiments" / name).glob("train_*.log")
    text = file.read_text()
    for pattern in (r"^\d{4}-\d\d-\d\d [\d:,]+ ", r"\[eta: .*?\] ", r"Time consumed: .*", re.escape(str(root))):
        text = re.sub(pattern, "", text, flags=re.MULTILINE)
    return text


@pytest.mark.integration
def test_a_terminal_has_the_line_and_the_log_file_is_as_without(data, teacher_file, tmp_path):
    folders = {kind: tmp_path / kind for kind in ("terminal", "pipe", "off")}
    file = tiny.write_options(options(data, teacher_file), tmp_path / "d.yml")
    for folder in folders.values():
        folder.mkdir()
    shown = terminals.run_on_terminal(*TRAIN, file, cwd=folders["terminal"])
    piped = tiny.run_ok(*TRAIN, file, cwd=folders["pipe"])
    off = terminals.run_on_terminal(*TRAIN, file, cwd=folders["off"], SRKD_PROGRESS="0")
    assert shown.code == off.code == 0, shown.terminal + off.terminal

    line = shown.lines[-2]  # and an empty one after it
    assert re.search(r"^seen: 100%\|.*\| 4/4 \[.*\d+\.\d+(it/s|s/it), psnr \d\d?\.\d{4}, l_pix \d\.\d{3}e", line), line
    assert "l_contrastive" in line and float(re.search(r"psnr ([\d.]+)", line)[1]) > 1
    assert "| 1/4 [" in shown.terminal and "psnr" not in shown.terminal.split("| 2/4 [")[0].split("| 1/4 [")[1]
    assert not any(re.search(r"%\|", text) for text in (piped, off.terminal, off.stdout))

    logs = [log_of(folder, "seen") for folder in folders.values()]
    assert logs[0] == logs[1] == logs[2] and "l_contrastive" in logs[0]
    kept = [line for line in shown.lines if line.startswith("20") and "INFO" in line]
    assert len(kept) == len([line for line in off.lines if line.startswith("20") and "INFO" in line])
    assert not any("%|" in line for line in kept), "the log's lines stand on lines of their own"


@pytest.mark.integration
def test_a_resumed_run_begins_at_its_iteration_and_stock_runs_have_the_line_under_our_command(data, tmp_path):
    opt = tiny.stock_options(data, "stock", iters=2)
    tiny.run_ok(*TRAIN, tiny.write_options(opt, tmp_path / "s.yml"), cwd=tmp_path)
    opt["train"]["total_iter"] = 6
    file = tiny.write_options(opt, tmp_path / "s.yml")
    shown = terminals.run_on_terminal(*TRAIN, file, "--auto-resume", cwd=tmp_path)
    assert shown.code == 0, shown.terminal
    assert "| 2/6 [" in shown.terminal and "| 1/6 [" not in shown.terminal and "| 6/6 [" in shown.lines[-2]


class Model:
    """What of a model the line follows."""

    def __init__(self, fails_at=None):
        self.log_dict, self.metric_results, self.fails_at = {"l_pix": 0.25, "w_pix": 2.0}, {"psnr": 30.0}, fails_at

    def update_learning_rate(self, current_iter, warmup_iter=-1):
        pass

    def optimize_parameters(self, current_iter):
        if current_iter == self.fails_at:
            raise FloatingPointError("not finite")

    def validation(self, loader, current_iter, tb_logger, save_img=False):
        pass

    def save(self, epoch, current_iter):
        pass


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_terminal(monkeypatch):
    """Let standard error be a terminal from here on; pytest sets its own between fixtures and test."""
    written = Terminal()
    monkeypatch.setattr("sys.stderr", written)
    return written


def attached(opt, **arguments):
    model = Model(**arguments)
    progress_line.attach(model, opt)
    return model


def is_followed(model):
    return "optimize_parameters" in vars(model)


def test_only_runs_of_ours_on_rank_0_at_a_terminal_are_followed(data, monkeypatch):
    terminal = on_terminal(monkeypatch)
    ours, stock = tiny.distill_options(data, None), tiny.stock_options(data)
    assert is_followed(attached(ours)) and is_followed(attached({**ours, "rank": 0}))
    assert not is_followed(attached(stock)) and not is_followed(attached({**ours, "rank": 1}))
    assert not is_followed(attached({**ours, "logger": {**ours["logger"], "progress": False}}))
    with progress_line.in_every_run():
        assert is_followed(attached(stock))
    monkeypatch.setenv("SRKD_PROGRESS", "0")
    assert not is_followed(attached(ours))
    monkeypatch.delenv("SRKD_PROGRESS")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert not is_followed(attached(ours))
    assert terminal.getvalue() == ""


def test_an_error_and_the_last_validation_end_the_line_and_give_the_log_back(data, monkeypatch):
    from basicsr.utils import get_root_logger

    get_root_logger()  # whose handler would otherwise keep this test's terminal
    terminal, opt = on_terminal(monkeypatch), tiny.distill_options(data, None)
    loader = type("Loader", (), {"dataset": type("Set", (), {"opt": {"name": "val"}})})
    handlers = [handler for handler in get_root_logger().handlers if type(handler) is logging.StreamHandler]
    model = attached(opt)
    model.optimize_parameters(1)
    assert any("emit" in vars(handler) for handler in handlers)
    model.save(epoch=-1, current_iter=-1)
    assert not terminal.getvalue().endswith("\n"), "the last validation is to come"
    model.validation(loader, 4, None, False)
    assert re.search(r"1/4 .*psnr 30\.0000, l_pix 2\.500e-01\] *\n$", terminal.getvalue())
    assert "w_pix" not in terminal.getvalue()
    assert not any("emit" in vars(handler) for handler in handlers)

    model = attached(opt, fails_at=2)
    model.optimize_parameters(1)
    with pytest.raises(FloatingPointError):
        model.optimize_parameters(2)
    assert terminal.getvalue().endswith("\n") and not any("emit" in vars(handler) for handler in handlers)
