"""The shipped options files: what they say they are, and that every one of them runs."""

import re
import shutil
from pathlib import Path

import cached
import cv2
import pytest
import tiny
import torch
import yaml
from basicsr.archs import build_network

from srkd_plugin.preflight import run_checks
from srkd_plugin.teacher_cache.make import make_cache

FOLDER = tiny.PROJECT / "options"
FILES = sorted(FOLDER.glob("*.yml"))
TRAIN = [f for f in FILES if "test" not in f.stem]
DISTILL = [f for f in TRAIN if "distill" in f.stem or "recipe" in f.stem]
REAL_WORLD = FOLDER / "distill_realesrgan_compact.yml"
WITH_TEACHER = [f for f in TRAIN if "network_t:" in f.read_text()]
QUANTIZED = [f for f in TRAIN if "quantize" in f.stem]
CACHED = [f for f in DISTILL if "TeacherCacheDataset" in f.read_text()]
RECIPES = [f for f in DISTILL if f.stem.endswith("recipe_best")]
OTHER_STUDENTS = [f for f in DISTILL if f.stem.endswith(("l1_compact", "_edsr_32x5"))]
PAPER_STUDENT, PAPER_TEACHER = 1_369_859, 40_729_603


def load(file):
    return yaml.safe_load(file.read_text())


def parameters(section):
    with torch.random.fork_rng(), torch.device("cpu"):
        return sum(p.numel() for p in build_network(section).parameters())


def test_they_are_all_here():
    rows = {"teacher_edsr_l", "student_edsr_m", "distill_cl_l1", "distill_cl_cs", "distill_output", "distill_fakd"}
    twins = {"demo_teacher", "demo_student", "demo_distill_cl_l1", "demo_distill_cl_cs", "demo_test", "test_student"}
    others = {"distill_realesrgan_compact", "distill_lsfd", "distill_fitnet", "distill_csd", "student_slice"}
    assert {f.stem for f in FILES} >= rows | others | twins | {"recipe_best", "demo_recipe_best"}
    assert [f.stem for f in WITH_TEACHER if f not in [*DISTILL, *QUANTIZED]] == ["student_slice"]


def test_the_training_files_are_as_their_source_says():
    tiny.run_ok("scripts/shipped_options.py", "--check", cwd=tiny.PROJECT)


def test_a_file_that_was_edited_is_named_and_written_again(tmp_path):
    for folder in ("scripts", "options"):
        shutil.copytree(tiny.PROJECT / folder, tmp_path / folder)
    file = tmp_path / "options/distill_fakd.yml"
    edited = file.read_text().replace("loss_weight: 0.0392", "loss_weight: 0.0393")
    file.write_text(edited)
    checked = tiny.run("scripts/shipped_options.py", "--check", cwd=tmp_path)
    assert (checked.returncode, file.read_text()) == (1, edited)
    assert checked.stdout.startswith("options/distill_fakd.yml is not current")
    assert tiny.run_ok("scripts/shipped_options.py", cwd=tmp_path) == "options/distill_fakd.yml\n"
    assert file.read_text() == (FOLDER / file.name).read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_header_says_how_to_run_it(file):
    comment = file.read_text().split("\nname:")[0]
    script = "test" if "test" in file.stem else "train"
    assert f"python basicsr/{script}.py -opt options/{file.name}" in comment
    assert all(line.startswith("#") for line in comment.splitlines())
    if "demo" not in file.stem and "teacher" not in file.stem:
        assert "paper's Table 2" in comment
    if file in DISTILL:
        assert "images in 0..1" in comment


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_names_are_unique_and_basicsrs_loader_reads_the_same(file):
    from basicsr.utils.options import ordered_yaml

    ours = load(file)
    theirs = yaml.load(file.read_text(), Loader=ordered_yaml()[0])
    assert theirs == ours
    assert sum(load(other)["name"] == ours["name"] for other in FILES) == 1


def test_networks_have_the_papers_sizes():
    assert parameters(load(FOLDER / "teacher_edsr_l.yml")["network_g"]) == PAPER_TEACHER
    assert parameters(load(FOLDER / "student_edsr_m.yml")["network_g"]) == PAPER_STUDENT
    for file in [*FOLDER.glob("distill_*.yml"), FOLDER / "student_slice.yml"]:
        if file == REAL_WORLD:
            continue
        options = load(file)
        assert options["network_t"] == load(FOLDER / "teacher_edsr_l.yml")["network_g"]
        if file not in OTHER_STUDENTS:
            assert options["network_g"] == load(FOLDER / "student_edsr_m.yml")["network_g"]
            assert load(FOLDER / "test_student.yml")["network_g"] == options["network_g"]


@pytest.mark.parametrize("prefix", ["", "demo_"])
@pytest.mark.parametrize("student", ["compact", "edsr_32x5"])
def test_files_of_another_student_differ_in_it_alone(prefix, student):
    row, own = load(FOLDER / f"{prefix}distill_cl_l1_{student}.yml"), load(FOLDER / f"{prefix}distill_cl_l1.yml")
    network = row.pop("network_g")
    assert row.pop("name") == own.pop("name").replace("_l1", f"_l1_{student}")
    assert own.pop("network_g")["upscale"] == network["upscale"]
    assert row == own
    if student == "compact":
        assert (network["type"], network["act_type"]) == ("SRVGGNetCompact", "prelu")
    else:
        assert (network["type"], network["num_feat"], network["num_block"]) == ("EDSR", 32, 5)


@pytest.mark.parametrize("prefix", ["", "demo_"])
def test_rows_of_a_table_differ_in_nothing_but_the_method(prefix):
    plain = load(FOLDER / f"{prefix}student{'' if prefix else '_edsr_m'}.yml")
    for file in FOLDER.glob(f"{prefix}*.yml"):
        if (
            file not in WITH_TEACHER
            or file in [*OTHER_STUDENTS, *QUANTIZED, REAL_WORLD]
            or file.stem.startswith("demo") != bool(prefix)
        ):
            continue
        row = load(file)
        if file.stem == "distill_fakd":  # FAKD's own formula halves L_rec
            assert row["train"]["pixel_opt"]["loss_weight"] == 0.5
            row["train"]["pixel_opt"]["loss_weight"] = 1.0
        for key in ("name", "model_type", "network_t", "teacher"):
            row.pop(key)
        if file in CACHED:  # the same images, and the teacher's
            assert row["datasets"]["train"].pop("dataroot_teacher").endswith(".lmdb")
            row["datasets"]["train"]["type"] = "PairedImageDataset"
        assert ("distill_opt" in row["train"], "student" in row).count(True) == (2 if file in RECIPES else 1)
        row["train"].pop("distill_opt", None)
        row.pop("student", None)
        row["path"] = {k: v for k, v in row["path"].items() if not k.endswith("_t")}
        assert row == {k: v for k, v in plain.items() if k not in ("name", "model_type")}


@pytest.mark.parametrize("file", [f for f in CACHED if f not in RECIPES], ids=lambda f: f.stem)
def test_a_cached_twin_differs_in_the_data_set_alone(file):
    cached_run, live = load(file), load(FOLDER / f"{file.stem[: -len('_cached')]}.yml")
    assert cached_run["datasets"]["train"].pop("type") == "TeacherCacheDataset"
    assert cached_run["datasets"]["train"].pop("dataroot_teacher")
    assert live["datasets"]["train"].pop("type") == "PairedImageDataset"
    assert cached_run.pop("name") == f"{live.pop('name').replace('_l1', '_l1_cached')}"
    assert cached_run == live


@pytest.fixture(scope="module")
def teacher_and_cache(data, tmp_path_factory):
    """Random weights in a file, and a cache, for a file's network_t: paths by file."""
    made = {}

    def make(file):
        if file not in made:
            root = tmp_path_factory.mktemp("cached")
            opt = load(file)
            torch.manual_seed(0)
            torch.save({"params": build_network(dict(opt["network_t"])).state_dict()}, root / "teacher.pth")
            opt["path"]["pretrain_network_t"] = str(root / "teacher.pth")
            opt["datasets"]["train"].update(dataroot_gt=str(data / "HR.lmdb"), dataroot_lq=str(data / "LR.lmdb"))
            make_cache(cached.job(opt, root / "teacher.lmdb"))
            made[file] = (root / "teacher.pth", root / "teacher.lmdb")
        return made[file]

    return make


def test_l_cl_is_the_papers():
    term = load(FOLDER / "distill_cl_l1.yml")["train"]["distill_opt"]["contrastive"]
    assert (term["loss_weight"], term["negatives"]) == (10.0, "teacher")
    assert (term["negative_reduction"], term["reduction"]) == ("sum", "sum")


def test_weights_of_terms_with_a_source_are_converted_to_0_1():
    terms = {name: load(FOLDER / f"distill_{name}.yml")["train"]["distill_opt"] for name in ("fakd", "csd")}
    assert terms["fakd"]["affinity"]["loss_weight"] == pytest.approx(10 / 255, rel=1e-3)
    assert terms["csd"]["csd"]["loss_weight"] == pytest.approx(200 / 255, rel=1e-3)


def quarter_lr(data, folder):
    """LQ of x4 for the tiny images."""
    folder.mkdir()
    for image in (data / "HR").iterdir():
        cv2.imwrite(str(folder / image.name), cv2.resize(cv2.imread(str(image)), None, fx=1 / 4, fy=1 / 4))
    return folder


def trained_student(file, folder):
    torch.save({"params": build_network(load(file)["network_g"]).state_dict()}, folder / f"{file.stem}.pth")
    return folder / f"{file.stem}.pth"


def test_the_real_world_files_networks_are_those_of_real_esrgans_weights():
    """RealESRGAN_x4plus.pth and realesr-general-x4v3.pth: numbers of parameters of the published files."""
    options = load(REAL_WORLD)
    assert parameters(options["network_t"]) == 16_697_987
    assert parameters(options["network_g"]) == 1_213_296
    assert options["gt_size"] == options["datasets"]["train"]["gt_size"]


@pytest.mark.parametrize("prefix", ["", "demo_"])
def test_a_quantized_student_is_the_one_that_was_distilled(prefix):
    file, distilled = FOLDER / f"{prefix}quantize_cl_l1.yml", load(FOLDER / f"{prefix}distill_cl_l1.yml")
    row = load(file)
    assert row["path"]["pretrain_network_g"] == f"experiments/{distilled['name']}/models/net_g_latest.pth"
    assert all(row[key] == distilled[key] for key in ("network_g", "network_t", "datasets"))
    assert row["train"]["quantize"]["freeze"] < row["train"]["total_iter"] == row["train"]["scheduler"]["periods"][0]


@pytest.mark.parametrize("file", WITH_TEACHER, ids=lambda f: f.stem)
def test_the_check_accepts_them(file, tmp_path, data, vgg_file, teacher_and_cache):
    options = load(file)
    for term in options["train"].get("distill_opt", {}).values():
        if "vgg_weights" in term:
            term["vgg_weights"] = str(vgg_file)
    if file in QUANTIZED:
        options["path"]["pretrain_network_g"] = str(trained_student(file, tmp_path))
    options["num_gpu"] = 0
    options["path"]["pretrain_network_t"], options["teacher"]["random_init"] = None, True
    for name, section in options["datasets"].items():
        ending = ".lmdb" if name == "train" else ""
        section.update(dataroot_gt=str(data / f"HR{ending}"), dataroot_lq=str(data / f"LR{ending}"))
    if file == REAL_WORLD:
        del options["datasets"]["train"]["dataroot_lq"]
        options["gt_size"] = 32
        options["datasets"]["val"]["dataroot_lq"] = str(quarter_lr(data, tmp_path / "X4"))
    if file in CACHED:
        weights, cache = teacher_and_cache(file)
        options["path"]["pretrain_network_t"], options["teacher"]["random_init"] = str(weights), False
        options["datasets"]["train"]["dataroot_teacher"] = str(cache)
    options["datasets"]["train"].update(gt_size=32)  # the images are small
    found = run_checks.check(tiny.parsed(options, tmp_path)).ours
    assert set(found.terms) == set(options["train"].get("distill_opt", {}))


@pytest.mark.integration
@tiny.needs_autoload
@pytest.mark.parametrize("file", TRAIN, ids=lambda f: f.stem)
def test_every_training_file_trains(file, checkout, data, vgg_file, teacher_and_cache):
    """Unmodified files through BasicSR's own command line, with --force_yml for data, length and batch alone."""
    size = 16 if "demo" in file.stem else 32  # gt_size of the tiny images; the networks are the file's own
    overrides = [
        "num_gpu=0",
        f"datasets:train:dataroot_gt={data / 'HR.lmdb'}",
        f"datasets:train:gt_size={size}",
        "datasets:train:num_worker_per_gpu=0",
        "datasets:train:batch_size_per_gpu=2",
        f"datasets:val:dataroot_gt={data / 'HR'}",
        "train:total_iter=2",
        "logger:print_freq=1",
    ]
    if file == REAL_WORLD:  # sharpening takes most of the time on a CPU
        overrides += [
            f"gt_size={size}",
            "gt_usm=false",
            f"datasets:val:dataroot_lq={quarter_lr(data, checkout / 'X4')}",
        ]
    else:
        overrides += [f"datasets:train:dataroot_lq={data / 'LR.lmdb'}", f"datasets:val:dataroot_lq={data / 'LR'}"]
    terms = load(file)["train"].get("distill_opt", {})
    if file in CACHED:
        weights, cache = teacher_and_cache(file)
        overrides += [f"path:pretrain_network_t={weights}", f"datasets:train:dataroot_teacher={cache}"]
    elif file in WITH_TEACHER:
        overrides += ["path:pretrain_network_t=~", "teacher:random_init=true"]
    if file in QUANTIZED:
        overrides += [f"path:pretrain_network_g={trained_student(file, data)}", "train:quantize:observe=1"]
        overrides += ["train:quantize:freeze=1"]
    overrides += [f"train:distill_opt:{t}:vgg_weights={vgg_file}" for t in terms if "vgg_weights" in terms[t]]
    command = ["basicsr/train.py", "-opt", file, "--force_yml", *overrides]
    log = tiny.run_ok(*command, cwd=checkout)
    name = load(file)["name"]
    assert (checkout / "experiments" / name / "models/net_g_latest.pth").exists()
    assert re.search(r"# psnr: \d+\.\d+", log)
    if file in WITH_TEACHER:
        losses = " ".join(rf"(?<!/)l_{term}: [^\s,]+" for term in ("pix", *terms))
        assert len(re.findall(losses, re.sub("Gradient norms.*", "", log))) == 2
        assert ("The student starts as a slice of the teacher" in log) == ("student" in load(file))
    if file in CACHED and file not in RECIPES:  # which are cut from it
        assert "Teacher [" not in log, "the teacher was built, and is not needed"
    elif file in WITH_TEACHER:
        of_file = "demo" in file.stem or file == REAL_WORLD
        teacher = parameters(load(file)["network_t"]) if of_file else PAPER_TEACHER
        kind = "EDSR" if file != REAL_WORLD else "RRDBNet"
        assert f"Teacher [{kind}], with parameters: {teacher:,d}" in log


@pytest.mark.integration
@tiny.needs_autoload
@pytest.mark.parametrize("name", ["test_student", "demo_test"])
def test_every_test_file_tests(name, checkout, data, tmp_path):
    file = FOLDER / f"{name}.yml"
    options = load(file)
    state = build_network(options["network_g"]).state_dict()
    torch.save({options["path"]["param_key_g"]: state}, tmp_path / "student.pth")
    overrides = [f"path:pretrain_network_g={tmp_path / 'student.pth'}", "num_gpu=0"]
    for phase in options["datasets"]:
        overrides += [f"datasets:{phase}:dataroot_gt={data / 'HR'}", f"datasets:{phase}:dataroot_lq={data / 'LR'}"]
    log = tiny.run_ok("basicsr/test.py", "-opt", file, "--force_yml", *overrides, cwd=checkout)
    assert len(re.findall(r"# ssim: ", log)) == len(options["datasets"])
    images = list(Path(checkout / "results").rglob("im*.png"))
    assert len(images) == (6 if options["val"]["save_img"] else 0)
