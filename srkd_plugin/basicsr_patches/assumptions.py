"""What the plugin assumes of BasicSR: every name that is patched, subclassed, copied, called or read from outside.

BasicSR has no stable interface; its versions and the copies in other people's repositories differ. The table is true of
1.4.2, of master and of 1.3.5 as forks carry it. To see what another BasicSR changes, run the table's test on it:
``SRKD_TEST_BASICSR=FOLDER:FOLDER python -m pytest -rs tests/basicsr_patches/test_assumptions.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, NamedTuple, Optional


class Assumption(NamedTuple):
    """One name of BasicSR's.

    Attributes:
        name: ``module:attribute``.
        kind: How it is used: ``patched``, ``subclassed``, ``overridden``, ``called`` or ``read``.
        by: The module of ours that uses it, below ``srkd_plugin``.
        without: What of ours does not work if it is missing or differs.
        takes: Names of its first parameters (of a class: of its instances' methods, ``self`` included); empty if they
            do not matter.
        sets: Attributes that the function sets on its object, or names of globals that it uses.
    """

    name: str
    kind: str
    by: str
    without: str
    takes: str = ""
    sets: str = ""


UTILS, MODEL, BASE = "basicsr.utils", "basicsr.models.sr_model:SRModel", "basicsr.models.base_model:BaseModel"
PAIRED = "basicsr.data.paired_image_dataset"
REALESR = ("basicsr.models.realesrnet_model:RealESRNetModel", "basicsr.models.realesrgan_model:RealESRGANModel")
RESUMABLE, DISTILL = "training.resumable", "distill.distill_model"
RUNS = "runs are not checked, and not resumed as they should be"
TRAINING, RESUME, CHECK = "DistillModel does not train", "resumed runs are not exact", "options are not checked"
VALIDATION, BEST = "validation is not split over ranks", "the best results are forgotten on resume"
DEGRADES = "RealESRDistillModel does not train"
CPU, CACHE, REGISTER = "distributed runs need CUDA", "the teacher cache does not work", "nothing is registered"

ASSUMPTIONS = (
    # the trainer's functions
    Assumption(
        f"{UTILS}.options:parse_options", "patched", "basicsr_patches.parse_options", RUNS, "root_path is_train"
    ),
    Assumption(f"{UTILS}.options:ordered_yaml", "patched", "basicsr_patches.parse_options", "srkd check reads no file"),
    Assumption(f"{UTILS}.misc:check_resume", "patched", "basicsr_patches.resume", RESUME, "opt resume_iter"),
    Assumption(
        *("basicsr.data:build_dataloader", "patched", "basicsr_patches.training_run", RESUME),
        "dataset dataset_opt num_gpu dist sampler seed",
    ),
    Assumption("basicsr.models:build_model", "patched", "basicsr_patches.training_run", RESUME, "opt"),
    Assumption(
        *("basicsr.train:load_resume_state", "patched", "basicsr_patches.training_run", RESUME),
        *("opt", "check_resume"),
    ),
    Assumption("basicsr.train:train_pipeline", "called", "train", "srkd train does not start", "root_path"),
    Assumption("basicsr.test:test_pipeline", "called", "test", "srkd test does not start", "root_path"),
    # repairs
    Assumption(f"{UTILS}.dist_util:_init_dist_pytorch", "patched", "basicsr_patches.repairs", CPU, "backend"),
    Assumption(f"{UTILS}.dist_util:_init_dist_slurm", "patched", "basicsr_patches.repairs", CPU, "backend port"),
    Assumption(f"{BASE}.model_to_device", "patched", "basicsr_patches.repairs", CPU, "self net"),
    Assumption(
        *(f"{UTILS}.logger:init_wandb_logger", "patched", "basicsr_patches.repairs", "today's wandb is not repaired"),
        "opt",
    ),
    *(
        Assumption(f"{model}.{name}", "patched", "basicsr_patches.repairs", "it needs CUDA", takes, sets)
        for model in REALESR
        for name, takes, sets in (
            ("__init__", "self opt", "jpeger usm_sharpener queue_size DiffJPEG USMSharp cuda"),
            ("_dequeue_and_enqueue", "self", "lq gt queue_lr queue_gt queue_ptr queue_size cuda"),
        )
    ),
    Assumption(
        *(f"{UTILS}.img_process_util:filter2D", "patched", "basicsr_patches.repairs", "it needs CUDA", "img kernel")
    ),
    # registries
    Assumption(f"{UTILS}.registry:Registry.register", "called", "losses.contrastive_loss", REGISTER, "self obj"),
    Assumption(
        *(f"{UTILS}.registry:Registry._do_register", "patched", "basicsr_patches.registry"),
        *("a name of ours that others register ends BasicSR", "self name obj", "_obj_map"),
    ),
    Assumption(f"{UTILS}.registry:Registry.get", "called", "preflight.basicsr_sections", CHECK, "self name"),
    Assumption(f"{UTILS}.registry:Registry.keys", "called", "preflight.basicsr_sections", CHECK, "self"),
    Assumption(f"{UTILS}.registry:Registry.__iter__", "called", "registration", REGISTER, "self"),
    Assumption(f"{UTILS}.registry:Registry.__contains__", "called", "preflight.basicsr_sections", CHECK, "self name"),
    *(
        Assumption(f"{UTILS}.registry:{kind}_REGISTRY", "read", "registration", REGISTER)
        for kind in ("ARCH", "DATASET", "LOSS", "METRIC", "MODEL")
    ),
    # the model
    Assumption(MODEL, "subclassed", RESUMABLE, TRAINING),
    Assumption(
        *(f"{MODEL}.init_training_settings", "overridden", DISTILL, TRAINING, "self"),
        "ema_decay net_g_ema cri_pix cri_perceptual",
    ),
    Assumption(f"{MODEL}.__init__", "read", RESUMABLE, TRAINING, "self opt", "net_g"),
    Assumption(f"{MODEL}.setup_optimizers", "overridden", DISTILL, TRAINING, "self", "optimizer_g"),
    Assumption(f"{MODEL}.feed_data", "overridden", DISTILL, TRAINING, "self data", "lq gt"),
    Assumption(
        *(f"{MODEL}.optimize_parameters", "overridden", DISTILL, TRAINING, "self current_iter"), "output log_dict"
    ),
    Assumption(
        *(f"{BASE}.get_current_log", "read", "basicsr_patches.progress_line", "the line of progress has no losses"),
        *("self", "log_dict"),
    ),
    Assumption(
        *(f"{MODEL}.test", "overridden", "training.any_size_model", "images are not padded to a multiple"),
        *("self", "lq output"),
    ),
    Assumption(
        *(f"{MODEL}.dist_validation", "overridden", RESUMABLE, VALIDATION),
        "self dataloader current_iter tb_logger save_img",
    ),
    Assumption(
        *(f"{MODEL}.nondist_validation", "called", "training.split_validation", VALIDATION),
        *("self dataloader current_iter tb_logger save_img", "metric_results"),
    ),
    Assumption(
        *(f"{MODEL}._log_validation_metric_values", "overridden", RESUMABLE, "keep_best keeps nothing"),
        "self current_iter dataset_name tb_logger",
    ),
    Assumption(f"{MODEL}.save", "overridden", RESUMABLE, "checkpoints are stock's", "self epoch current_iter"),
    Assumption(
        f"{BASE}.__init__", "read", RESUMABLE, TRAINING, "self opt", "opt device is_train schedulers optimizers"
    ),
    Assumption(f"{BASE}.resume_training", "overridden", RESUMABLE, RESUME, "self resume_state"),
    Assumption(f"{BASE}.update_learning_rate", "overridden", RESUMABLE, RESUME, "self current_iter warmup_iter"),
    *(
        Assumption(f"basicsr.models.lr_scheduler:{name}", "read", "training.resume_optimizer", RESUME, "", attributes)
        for name, attributes in (
            ("MultiStepRestartLR.__init__", "milestones gamma restarts restart_weights"),
            ("CosineAnnealingRestartLR.__init__", "periods cumulative_period restart_weights eta_min"),
        )
    ),
    Assumption(
        f"{BASE}.validation", "overridden", RESUMABLE, RESUME, "self dataloader current_iter tb_logger save_img"
    ),
    Assumption(f"{BASE}._initialize_best_metric_results", "called", RESUMABLE, BEST, "self dataset_name"),
    Assumption(
        *(f"{BASE}._update_best_metric_result", "called", RESUMABLE, BEST), "self dataset_name metric val current_iter"
    ),
    Assumption(f"{BASE}.load_network", "overridden", DISTILL, TRAINING, "self net load_path strict param_key"),
    Assumption(f"{BASE}.get_bare_model", "called", DISTILL, TRAINING, "self net"),
    Assumption(f"{BASE}.print_network", "called", DISTILL, TRAINING, "self net"),
    Assumption(f"{BASE}.reduce_loss_dict", "called", DISTILL, TRAINING, "self loss_dict"),
    Assumption(f"{BASE}.model_ema", "called", DISTILL, TRAINING, "self decay"),
    Assumption(f"{BASE}.get_optimizer", "called", "preflight.basicsr_sections", CHECK, "self optim_type params lr"),
    Assumption(f"{BASE}.setup_schedulers", "called", "preflight.basicsr_sections", CHECK, "self", "schedulers"),
    Assumption(REALESR[0], "subclassed", "distill.realesr_distill_model", DEGRADES),
    Assumption(
        *(f"{REALESR[0]}.feed_data", "overridden", "distill.realesr_distill_model", DEGRADES, "self data"),
        "is_train device opt lq gt jpeger usm_sharpener _dequeue_and_enqueue",
    ),
    Assumption(
        *(f"{REALESR[0]}.nondist_validation", "called", "distill.realesr_distill_model", DEGRADES),
        *("self dataloader current_iter tb_logger save_img", "is_train"),
    ),
    *(
        Assumption(f"{UTILS}:{name}", "called", "distill.pair_pool", "degradations are not checked")
        for name in ("DiffJPEG", "USMSharp")
    ),
    # data
    Assumption("basicsr.data:build_dataset", "called", "preflight.on_all_ranks", CHECK, "dataset_opt"),
    Assumption(
        *(f"{PAIRED}:PairedImageDataset.__init__", "subclassed", "teacher_cache.teacher_cache_dataset", CACHE),
        *("self opt", "opt file_client io_backend_opt paths mean std"),
    ),
    Assumption(f"{PAIRED}:bgr2ycbcr", "called", "teacher_cache.make", CACHE, "img y_only"),
    Assumption(
        *("basicsr.data.transforms:augment", "called", "teacher_cache.teacher_cache_dataset", CACHE),
        "imgs hflip rotation",
    ),
    Assumption(
        *("basicsr.data.transforms:paired_random_crop", "called", "teacher_cache.teacher_cache_dataset", CACHE),
        "img_gts img_lqs gt_patch_size scale gt_path",
    ),
    Assumption(
        *("basicsr.data.data_sampler:EnlargedSampler.__init__", "read", "training.train_loader", RESUME),
        *("self dataset num_replicas rank ratio", "num_replicas rank epoch"),
    ),
    Assumption(
        *("basicsr.data.data_sampler:EnlargedSampler.set_epoch", "read", "training.train_loader", RESUME),
        *("self epoch", "epoch"),
    ),
    Assumption(f"{UTILS}:FileClient.get", "called", "teacher_cache.teacher_cache_dataset", CACHE, "self filepath"),
    Assumption(f"{UTILS}:imfrombytes", "called", "teacher_cache.teacher_cache_dataset", CACHE, "content flag float32"),
    Assumption(f"{UTILS}:img2tensor", "called", "teacher_cache.make", CACHE, "imgs bgr2rgb float32"),
    Assumption(f"{UTILS}:tensor2img", "called", "evaluate.verify_teacher", "teachers are not verified", "tensor"),
    # the rest
    Assumption("basicsr.archs:build_network", "called", "networks.teacher", TRAINING, "opt"),
    Assumption(
        *("basicsr.archs.arch_util:ResidualBlockNoBN.__init__", "read", "networks.student_init"),
        *("student.init: teacher_slice does not work", "self num_feat res_scale", "res_scale conv1 conv2"),
    ),
    Assumption("basicsr.losses:build_loss", "called", "distill.loss_calls", TRAINING, "opt"),
    *(
        Assumption(f"basicsr.archs.vgg_arch:{name}", "read", "preflight.perceptual_loss", CHECK)
        for name in ("NAMES", "VGG_PRETRAIN_PATH", "insert_bn")
    ),
    Assumption(
        *("basicsr.metrics:calculate_psnr", "called", "evaluate.compare_images", "images are not compared"),
        "img img2 crop_border input_order test_y_channel",
    ),
    Assumption(
        *("basicsr.metrics:calculate_ssim", "called", "evaluate.benchmark", "exported students are not measured"),
        "img img2 crop_border input_order test_y_channel",
    ),
    Assumption(f"{UTILS}:get_root_logger", "called", DISTILL, TRAINING, "logger_name log_level log_file"),
    Assumption(
        *(f"{UTILS}.logger:initialized_logger", "read", "preflight.run_checks"),
        "the check decides where BasicSR's log goes",
    ),
)


def differences(assumptions: Iterable[Assumption] = ASSUMPTIONS) -> list[str]:
    """What is not as assumed in the modules of BasicSR that are loaded; nothing is imported.

    Returns:
        A phrase for each name that is missing or differs, which says what of ours does not work.
    """
    found = []
    for assumption in assumptions:
        module = sys.modules.get(assumption.name.partition(":")[0])
        problem = None if module is None else _problem(module, assumption)
        if problem:
            found.append(f"{assumption.name.replace(':', '.')} {problem}: {assumption.without}")
    return found


def line(found: list[str]) -> str:
    """One line for what :func:`differences` has found."""
    basicsr = sys.modules.get("basicsr")
    version, folder = getattr(basicsr, "__version__", "of unknown version"), getattr(basicsr, "__path__", ["?"])[0]
    return f"BasicSR {version} in {folder} is not as srkd_plugin assumes: {'; '.join(found)}."


def _problem(module: Any, assumption: Assumption) -> Optional[str]:
    value = module
    for name in assumption.name.partition(":")[2].split("."):
        value = getattr(value, name, None)
    if value is None:
        return "is missing"
    while hasattr(value, "__wrapped__"):  # a change of ours, or a decorator of BasicSR's
        value = value.__wrapped__
    code = getattr(value, "__code__", None)
    if code is None:
        return "is no function" if assumption.takes or assumption.sets else None
    takes = tuple(assumption.takes.split())
    has = code.co_varnames[: code.co_argcount]
    if has[: len(takes)] != takes:
        return f"takes ({', '.join(has)}) and not ({', '.join(takes)})"
    missing = [name for name in assumption.sets.split() if name not in code.co_names]
    return f"has no {' and no '.join(missing)}" if missing else None
