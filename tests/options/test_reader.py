"""Reading a file once, typed; and key names, which are those of the models."""

import copy

import pytest
import tiny

from srkd_plugin.errors import OptionsError
from srkd_plugin.options import reader
from srkd_plugin.options.key_names import own_keys, stock_keys


@pytest.fixture
def opt(data, teacher_file, tmp_path):
    return tiny.parsed(tiny.distill_options(data, teacher_file), tmp_path)


def test_ours_and_basicsrs_sections_with_their_defaults(opt):
    options = reader.read(opt)
    assert options.is_ours and options.raw is opt and options.warnings == []
    assert (options.ours.terms["contrastive"].type, options.ours.train_set.exact_resume) == ("ContrastiveLoss", False)
    assert (options.stock.train.total_iter, options.stock.train_set.pin_memory) == (4, False)
    assert options.stock.metrics["psnr"].better == "higher"
    assert options.lq_shape == (3, 8)
    opt["datasets"]["train"]["color"] = "y"
    assert reader.read(opt).lq_shape == (1, 8)


def test_a_stock_run_has_our_defaults(data, tmp_path):
    options = reader.read(tiny.parsed(tiny.stock_options(data), tmp_path))
    assert not options.is_ours
    assert (options.ours.terms, options.ours.amp.precision) == ({}, "fp32")


def test_whole_numbers_may_be_written_as_floats(opt):
    opt["val"]["val_freq"] = 5e3
    assert repr(reader.read(opt).stock.val.val_freq) == "5000"


def test_the_model_gets_what_the_check_has_read(opt):
    """BasicSR copies the options in between, and adds a key."""
    first = reader.read(opt)
    for_model = copy.deepcopy({**opt, "root_path": "/parent/of/basicsr"})
    again = reader.read(for_model)
    assert again.ours is first.ours and again.stock is first.stock
    assert again.raw is for_model


def test_what_was_changed_is_read_anew(opt):
    first = reader.read(opt)
    opt["path"]["resume_state"] = "4.state"
    assert reader.read(opt).ours is not first.ours
    opt["datasets"]["train"]["use_hflip"] = 1  # equal to True, and refused
    with pytest.raises(OptionsError, match="use_hflip = 1: Input should be a valid boolean"):
        reader.read(opt)


def test_key_names_are_those_of_the_models():
    assert set(reader.TOP_KEYS) == {
        *("network_t", "teacher", "teachers", "student", "checkpoints", "trust_weights", "tf32")
    }
    assert set(reader.TRAIN_KEYS) == {
        "distill_opt",
        "amp",
        "quantize",
        "samples",
        "history",
        "eco",
        "grad_norm_log",
        "accumulate",
        "accumulate_negatives",
        "nan_policy",
        "max_skipped",
        "lr_on_resume",
    }
    assert set(own_keys("datasets.train")) == {"exact_resume", "dataroot_teacher"}
    for section in ("", "path", "train", "datasets.train"):
        assert not set(own_keys(section)) & set(stock_keys(section))


@pytest.mark.parametrize(
    ("key", "meant"), [("networks_t", "network_t"), ("trust_weight", "trust_weights"), ("chekpoints", "checkpoints")]
)
def test_a_key_that_looks_like_ours_is_refused(opt, key, meant):
    with pytest.raises(OptionsError, match=f"{key} = None: unknown key. Did you mean '{meant}'?"):
        reader.read({**opt, key: None})


def test_a_key_of_basicsrs_is_no_misspelt_one_of_ours(opt):
    assert reader.read({**opt, "network_d": {"type": "VGGStyleDiscriminator"}}).warnings == []
