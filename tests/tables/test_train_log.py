"""What is read out of the log of a training, in the words that BasicSR and the runner write it."""

import pytest

from srkd_plugin.tables.train_log import CPU, WALL, exit_code, of_this_training, read_curve, seconds


def begin(at=0):
    return f"2026-01-01 INFO: Start training from epoch: 0, iter: {at}\n"


def logged(at):
    return f"2026-01-01 INFO: [none..][epoch:  0, iter: {at:7,d}, lr:(1.000e-04,)] l_pix: 1.0e-02\n"


def validated(psnr, name="tiny"):
    return f"2026-01-01 INFO: Validation {name}\n\t # psnr: {psnr:.4f}\tBest: {psnr:.4f} @ 9 iter\n\n"


END = "2026-01-01 INFO: End of training. Time consumed: 0:00:01\n2026-01-01 INFO: Save the latest model.\n"


def ended(code=0, wall=2.0, cpu=3.0):
    return f"# python train.py: exit code {code} after {wall:.2f} s, {cpu:.2f} s of CPU time\n"


def options(val_freq, total):
    return {"val": {"val_freq": val_freq}, "train": {"total_iter": total}}


@pytest.mark.parametrize("name", ["tiny", "a set"])
def test_a_validation_between_two_logged_iterations_is_where_val_freq_says(name):
    log = begin() + logged(100) + validated(30.0, name) + logged(200) + logged(300) + validated(31.0, name)
    log += logged(400) + validated(32.0, name) + END + validated(33.0, name) + ended()
    assert read_curve(log, options(150, 500)) == [(150, 30.0), (300, 31.0), (450, 32.0), (500, 33.0)]


def test_validations_before_anything_is_logged_have_their_iterations():
    log = begin() + validated(30.0) + validated(31.0) + END + validated(31.0)
    assert read_curve(log, options(5, 10)) == [(5, 30.0), (10, 31.0)]


def test_a_resumed_run_goes_on_from_its_checkpoint():
    """Killed after a validation that its checkpoint does not have: that one is made again."""
    first = begin() + logged(100) + validated(30.0) + logged(200) + validated(31.0) + logged(300) + ended(-9)
    resumed = "INFO: Resuming training from epoch: 0, iter: 150.\n" + begin(150) + logged(200) + validated(31.5)
    assert read_curve(first + resumed, options(150, 500)) == [(150, 30.0), (300, 31.5)]


def test_a_validation_that_a_kill_cost_is_that_of_the_checkpoint():
    log = begin() + validated(30.0) + logged(200) + ended(-9) + begin(300) + validated(31.0) + validated(32.0)
    assert read_curve(log, options(150, 500)) == [(150, 30.0), (300, 31.0), (450, 32.0)]


def test_several_sets_are_validated_at_one_iteration():
    log = begin() + "".join(validated(30.0 + i, "one") + validated(20.0 + i, "two") for i in range(2))
    assert read_curve(log, options(5, 100)) == [(5, 20.0), (10, 21.0)], "the last one counts"


def test_a_training_that_began_anew_has_nothing_of_the_one_before():
    """Its experiment was removed, and the table has half of the iterations now."""
    old = begin() + logged(1000) + validated(29.0) + logged(2000) + validated(35.0) + END + validated(35.0) + ended()
    new = "env\n" + begin() + logged(1000) + validated(30.0) + END + validated(30.0) + ended(cpu=1.0)
    assert read_curve(old + new, options(1000, 1000)) == [(1000, 30.0)]
    assert of_this_training(old + new) == new
    assert seconds(of_this_training(old + new), CPU) == 1.0
    assert of_this_training(old) == old and of_this_training("") == ""


def test_times_are_those_of_all_commands_of_a_training():
    log = begin() + ended(75, 2.0, 3.0) + begin(100) + ended(0, 1.5, 2.5)
    assert of_this_training(log) == log
    assert (seconds(log, WALL), seconds(log, CPU)) == (3.5, 5.5)


def test_how_the_last_command_ended():
    assert exit_code("") is None
    assert exit_code(begin()) is None
    assert exit_code(begin() + ended(-15)) == -15
    assert exit_code(begin() + ended(1) + begin(100)) is None, "it goes on"
