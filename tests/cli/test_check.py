"""``srkd check``: what it says, and that it runs and writes nothing."""

import json

import pytest
import realesr
import tiny

from srkd_plugin.cli.main import main


@pytest.fixture
def look(tmp_path, capsys, random_states_of_basicsr):
    def run(opt, *flags):
        file = opt if hasattr(opt, "read_text") else tiny.write_options(opt, tmp_path / "o.yml")
        before = tiny.tree(tmp_path)
        code = main(["check", "-opt", str(file), "--root", str(tmp_path), *flags])
        assert tiny.tree(tmp_path) == before
        return code, capsys.readouterr()

    return run


@pytest.fixture
def random_states_of_basicsr():
    import torch

    with torch.random.fork_rng(devices=[]):
        yield


def test_a_good_file(look, data, teacher_file, tmp_path):
    states = tmp_path / "experiments/tiny_distill/training_states"
    states.mkdir(parents=True)
    (states / "20.state").touch()
    (states / "3.state").touch()
    code, printed = look(tiny.distill_options(data, teacher_file))
    assert code == 0
    for part in (
        "teacher: EDSR, 12,435 parameters",
        "EMA 0.9, fp32",
        "term l_pix: L1Loss, weight 1.0, always",
        "term l_contrastive: ContrastiveLoss, weight 10.0, always",
        "datasets.train: 6 pairs, smallest GT seen 48x40",
        "would be renamed to tiny_distill_archived_<time>",
        "it goes on there after iteration 20",
        "an options file is code",
        "is divided by 255 if its loss does not depend on the range",
        "disk: 2 checkpoints of about ",
    ):
        assert part in printed.out


def test_facts_as_json(look, data, teacher_file):
    code, printed = look(tiny.distill_options(data, teacher_file), "--json")
    facts = json.loads(printed.out)
    assert (code, facts["teacher"]["parameters"], facts["of_this_plugin"]) == (0, 12435, True)
    assert facts["disk"]["checkpoint"] > 4 * 4 * facts["student"]["parameters"]  # weights, EMA, Adam's two moments


def test_names_with_basicsrs_suffix_print_nothing(look, data, teacher_file):
    opt = realesr.options(data, teacher_file)
    opt["network_g"] = {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 1, "upscale": 2}
    code, printed = look(opt)
    assert code == 0 and printed.out.startswith("tiny_realesr: training, ") and printed.err == ""
    assert "datasets.train: 6 images, smallest GT seen 48x40" in printed.out
    assert "datasets.val: 6 pairs, " in printed.out
    code, printed = look(opt, "--json")
    train, val = json.loads(printed.out)["data"]
    assert code == 0 and (train["pairs"], train["images"], val["pairs"], val["images"]) == (None, 6, 6, None)


def test_json_is_all_that_stdout_has(look, data, teacher_file, tmp_path, monkeypatch):
    (tmp_path / "chatty_module.py").write_text("print('hello')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, printed = look(tiny.distill_options(data, teacher_file), "--json", "--import", "chatty_module")
    assert code == 0 and json.loads(printed.out)["name"] == "tiny_distill"
    assert printed.err == "hello\n"


def test_a_stock_file_says_that_nothing_is_ours(look, data):
    code, printed = look(tiny.stock_options(data))
    assert code == 0 and "it names nothing of srkd_plugin" in printed.out


def test_a_stock_files_weights_are_looked_for(look, data, teacher_file):
    opt = tiny.stock_options(data)
    opt["path"]["pretrain_network_g"] = "no/such.pth"
    code, printed = look(opt)
    assert code == 2 and "path.pretrain_network_g = 'no/such.pth': there is no such file" in printed.err
    opt["path"]["pretrain_network_g"] = str(teacher_file)
    code, printed = look(opt)
    assert code == 2 and "the weights do not fit network_g: " in printed.err
    opt["network_g"] = tiny.TEACHER
    assert look(opt)[0] == 0


def test_a_mistake_is_one_line_and_code_2(look, data, teacher_file):
    opt = tiny.distill_options(data, teacher_file)
    opt["teacher"]["precison"] = "bf16"
    code, printed = look(opt)
    assert code == 2
    assert printed.err == (
        "srkd_plugin: options error: teacher.precison = 'bf16': unknown key. Did you mean 'precision'?\n"
    )


def test_a_key_that_looks_like_one_of_basicsrs_is_a_note(look, data):
    opt = tiny.stock_options(data)
    opt["train"]["ema_decy"] = 0.9
    code, printed = look(opt)
    assert code == 0
    assert "warning: train.ema_decy = 0.9: unknown key, which is left to BasicSR. Did you mean 'ema_decay'?" in (
        printed.out.splitlines()
    )


def test_a_root_that_is_not_there_is_refused(data, teacher_file, tmp_path, capsys):
    file = tiny.write_options(tiny.distill_options(data, teacher_file), tmp_path / "o.yml")
    assert main(["check", "-opt", str(file), "--root", str(tmp_path / "nope")]) == 2
    words = f"srkd_plugin: options error: --root = '{tmp_path / 'nope'}': there is no such folder"
    assert capsys.readouterr().err.startswith(words)


def test_a_file_that_is_a_program_is_refused_and_not_run(look, tmp_path):
    file = tmp_path / "evil.yml"
    file.write_text(f"model_type: DistillModel\nname: !!python/object/apply:os.mkdir ['{tmp_path / 'pwned'}']\n")
    code, printed = look(file)
    assert code == 2 and "line 2" in printed.err and "makes the file a program" in printed.err
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ((), "model_type", "SRmodell", "model_type = 'SRmodell': no model is registered under this name. Did you mean"),
        ((), "name", None, "name is missing: it is required. Add name."),
        (("network_g",), "upscale", 4, "network_g = 'EDSR': its output for an input of (2, 3, 8, 8) is (2, 3, 32, 32)"),
        (("train",), "pixel_opt", None, "train.pixel_opt is missing: SRModel needs it, or train.perceptual_opt."),
        (("datasets", "train"), "dataroot_gt", "a" * 300, "there is no such folder"),
        (("train", "pixel_opt"), "rdeuction", "mean", "train.pixel_opt.rdeuction = 'mean': unknown key. Did you mean"),
        (("train", "pixel_opt"), "reduction", "none", "Write reduction: mean, or use a loss that gives one number."),
        (("datasets", "train"), "use_rot", None, "datasets.train.use_rot is missing: it is required."),
    ],
)
def test_a_stock_file_that_would_not_train(look, data, section, key, value, says):
    opt = tiny.stock_options(data)
    place = opt
    for name in section:
        place = place[name]
    if value is None:
        del place[key]
    else:
        place[key] = value
    code, printed = look(opt)
    assert (code, len(printed.err.splitlines())) == (2, 1)
    assert says in printed.err


def test_a_stock_file_of_a_generative_model_has_no_scale(look, tmp_path, data):
    opt = tiny.stock_options(data)
    opt["network_g"] = {"type": "StyleGAN2Generator", "out_size": 8, "num_style_feat": 8, "num_mlp": 1}
    opt["network_d"] = {"type": "StyleGAN2Discriminator", "out_size": 8}
    opt["model_type"] = "StyleGAN2Model"
    train = {"name": "faces", "type": "FFHQDataset", "dataroot_gt": str(data / "HR"), "io_backend": {"type": "disk"}}
    loader = {"num_worker_per_gpu": 0, "batch_size_per_gpu": 2, "use_hflip": True}
    opt["datasets"] = {"train": {**train, **loader, "mean": [0.5] * 3, "std": [0.5] * 3}}
    del opt["scale"], opt["train"]["pixel_opt"]
    code, printed = look(opt)
    assert code == 0, printed.err
    assert "StyleGAN2Model; it names nothing" in printed.out and "gt_size" not in printed.out


@pytest.mark.parametrize("model_type", ["SRModel", "ESRGANModel"])
def test_a_stock_file_of_pairs_has_a_scale(look, data, model_type):
    opt = {**tiny.stock_options(data), "model_type": model_type}
    del opt["scale"]
    code, printed = look(opt)
    assert code == 2 and "scale is missing: it is required" in printed.err
