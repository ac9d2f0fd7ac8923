"""The JSON schema: current, and of one opinion with the code that reads the files."""

import copy
import importlib.util
import json

import jsonschema
import pytest
import tiny
import yaml

from srkd_plugin.options import sections
from srkd_plugin.options.schema import json_schema

FILES = sorted(tiny.PROJECT.glob("options/*.yml"))


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    return jsonschema.Draft202012Validator(json_schema())


def faults(validator, opt):
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(opt)]


def test_the_file_is_current():
    path = tiny.PROJECT / "scripts/options_reference.py"
    spec = importlib.util.spec_from_file_location("options_reference", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert json.loads(script.SCHEMA.read_text()) == json_schema(), "run python scripts/options_reference.py"
    assert json.loads(script.schema()) == json_schema()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_shipped_files_are_valid_and_name_it(file, validator):
    text = file.read_text()
    assert faults(validator, yaml.safe_load(text)) == []
    assert text.startswith("# yaml-language-server: $schema=srkd.schema.json\n")
    assert (file.parent / "srkd.schema.json").exists()


FAULTS = {
    "teacher.precison": ("bf16", "teacher"),
    "teacher.precision": ("fp8", "teacher.precision"),
    "train.nan_policy": ("ignore", "train.nan_policy"),
    "train.amp": ({"init_scale": 0.5}, "train.amp.init_scale"),
    "train.distill_opt.pix": ({"type": "L1Loss"}, "train.distill_opt"),
    "train.distill_opt.my term": ({"type": "L1Loss"}, "train.distill_opt"),
    "train.distill_opt.output": ({"loss_weight": 1.0}, "train.distill_opt.output"),
    "train.distill_opt.fakd": (
        {"type": "L1Loss", "taps": {"student": [], "teacher": ["a"]}},
        "train.distill_opt.fakd.taps.student",
    ),
    "train.optim_g.lr": (-1.0, "train.optim_g.lr"),
    "datasets.train.type": ("TeacherCacheDataset", "datasets.train"),  # and no dataroot_teacher
    "datasets.train.exact_resume": ("yes", "datasets.train.exact_resume"),
    "datasets.val_more": ({}, "datasets.val_more"),
    "num_gpu": ("all", "num_gpu"),
    "val.metrics.psnr.crop_border": (-1, "val.metrics.psnr.crop_border"),
    "checkpoints": (3, "checkpoints"),
}
ACCEPTED = {
    "num_gpu": "auto",
    "train.mixup": True,
    "train.ema_decy": 0.9,
    "datasets.train.gt_usm": True,
    "network_t.depth": 3,
    "train.distill_opt.contrastive.similarity": "l1",
    "teacher": None,
    "val": None,
    "manual_seed": None,
    "checkpoints": {"keep_last": None},
}


def changed(path, value, opt):
    opt = copy.deepcopy(opt)
    *parents, key = path.split(".")
    section = opt
    for parent in parents:
        section = section[parent]
    section[key] = value
    return opt


@pytest.mark.parametrize("path", FAULTS)
def test_what_the_reader_refuses_is_a_fault(path, validator, data):
    value, where = FAULTS[path]
    assert faults(validator, changed(path, value, tiny.distill_options(data, None))) == [where]


@pytest.mark.parametrize("path", ACCEPTED)
def test_what_the_reader_accepts_is_none(path, validator, data):
    assert faults(validator, changed(path, ACCEPTED[path], tiny.distill_options(data, None))) == []


def test_every_key_of_ours_is_in_it_with_its_meaning():
    for path, model in sections.SECTIONS:
        node = json_schema()
        for part in path.split(".") if path else ():
            node = node["patternProperties"]["."] if part == "<name>" else node["properties"][part]
        for name in model.model_fields:
            assert node["properties"][name]["description"], f"{path}.{name}"
