"""What all public losses share: settings and tensors that cannot be are refused, degenerate ones are not hidden."""

import inspect
import math

import pytest
import torch

from srkd_plugin import losses

# not square; N, C, H, W differ; H and W are even
SHAPE = (4, 3, 6, 10)


def two_layers(x):
    return [x, torch.tanh(x[..., ::2, ::2])]


FUNCTIONS = {
    "confidence_l1_loss": lambda s, t, **more: losses.confidence_l1_loss(s, t, torch.zeros_like(s), **more),
    "contrastive_loss": lambda s, t, **more: losses.contrastive_loss(s, t, **more),
    "feature_loss": lambda s, t, **more: losses.feature_loss([s], [t], **more),
    "local_selective_feature_loss": lambda s, t, **more: losses.local_selective_feature_loss(s, t, [s], [t], **more),
    "spatial_affinity_loss": lambda s, t, **more: losses.spatial_affinity_loss([s], [t], **more),
    "vgg_contrastive_loss": lambda s, t, **more: losses.vgg_contrastive_loss(
        s, t, t[..., ::2, ::2], two_layers, **{"layer_weights": (0.5, 1.0), **more}
    ),
}
CALLS = pytest.mark.parametrize("call", FUNCTIONS.values(), ids=FUNCTIONS)
WITH_EPS = [name for name in FUNCTIONS if name not in ("confidence_l1_loss", "feature_loss")]


def images(seed, dtype=torch.float32, shape=SHAPE):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_the_list_is_complete():
    assert {name for name in losses.__all__ if inspect.isfunction(getattr(losses, name))} == set(FUNCTIONS)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("contrastive_loss", {"similarity": "cos"}, "of l1, cosine; got 'cos'. Did you mean 'cosine'?"),
        ("contrastive_loss", {"similarity": "cosine", "form": "infonc"}, "got 'infonc'. Did you mean 'infonce'?"),
        ("contrastive_loss", {"similarity": "L1"}, "similarity must be one of l1, cosine; got 'L1'"),
        ("contrastive_loss", {"reduction": "none"}, "reduction must be one of sum, mean; got 'none'"),
        ("contrastive_loss", {"negative_reduction": "MEAN"}, "negative_reduction must be one of sum, mean; got 'MEAN'"),
        ("contrastive_loss", {"negatives": "teachers"}, "got 'teachers'. Did you mean 'teacher'?"),
        ("contrastive_loss", {"similarity": ["l1"]}, "similarity must be one of l1, cosine; got ['l1']"),
        ("contrastive_loss", {"similarity": "cosine", "center": "no"}, "center must be one of True, False; got 'no'"),
        ("contrastive_loss", {"similarity": "cosine", "temperature": -1.0}, "temperature must be > 0; got -1.0"),
        ("contrastive_loss", {"similarity": "cosine", "temperature": math.inf}, "temperature must be a finite number"),
        ("feature_loss", {"criterion": "huber"}, "criterion must be one of l1, l2; got 'huber'"),
        ("spatial_affinity_loss", {"chunk": 0}, "chunk must be >= 1; got 0"),
        ("spatial_affinity_loss", {"chunk": 2.5}, "chunk must be a whole number; got 2.5"),
        ("vgg_contrastive_loss", {"num_negatives": 0}, "num_negatives must be >= 1; got 0"),
        ("vgg_contrastive_loss", {"num_negatives": True}, "num_negatives must be a whole number; got True"),
        ("vgg_contrastive_loss", {"layer_weights": ()}, "layer_weights is empty"),
        ("vgg_contrastive_loss", {"layer_weights": (1.0, -1.0)}, "layer_weights must be >= 0; got -1.0"),
        ("vgg_contrastive_loss", {"layer_weights": (1.0, math.nan)}, "layer_weights must be a finite number; got nan"),
    ]
    + [(name, {"eps": 0.0}, "eps must be > 0; got 0.0") for name in WITH_EPS]
    + [(name, {"eps": -1e-6}, "eps must be > 0; got -1e-06") for name in WITH_EPS]
    + [(name, {"eps": math.nan}, "eps must be a finite number; got nan") for name in WITH_EPS]
    + [(name, {"eps": "1e-6"}, "eps must be a finite number; got '1e-6'") for name in WITH_EPS],
)
def test_settings_that_cannot_be_are_refused_by_the_function(name, settings, message):
    with pytest.raises(ValueError) as caught:
        FUNCTIONS[name](images(1), images(2), **settings)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (losses.ContrastiveLoss, {"similarity": "cos"}),
        (losses.ContrastiveLoss, {"center": "no", "similarity": "cosine"}),
        (losses.FeatureLoss, {"criterion": "huber"}),
        (losses.LocalSelectiveFeatureLoss, {"eps": 0.0}),
        (losses.SpatialAffinityLoss, {"eps": 0.0}),
        (losses.SpatialAffinityLoss, {"chunk": 1.5}),
        (losses.VGGContrastiveLoss, {"eps": "1e-7"}),
    ],
)
def test_and_when_the_module_is_built(module, settings):
    with pytest.raises(ValueError, match="must be"):
        module(**settings)


@CALLS
@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (images(1), images(2)[:, :, :-2], "equal"),
        (images(1), images(2)[:-1], "equal"),
        (images(1)[0], images(2)[0], r"\(N, C, H, W\)"),
        (images(1)[..., :0], images(2)[..., :0], "empty"),
        ((255 * images(1)).to(torch.uint8), images(2), "floating-point values; got torch.uint8"),
        (images(1), images(2).long(), "floating-point values; got torch.int64"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(call, student, teacher, message):
    with pytest.raises(ValueError, match=message):
        call(student, teacher)


@pytest.mark.parametrize("function", [losses.feature_loss, losses.spatial_affinity_loss])
def test_taps_must_be_lists_that_are_not_empty(function):
    with pytest.raises(ValueError, match="at least one; got 0 and 0"):
        function([], [])
    with pytest.raises(ValueError, match=r"taps must be a list of feature maps; got one tensor, \(4, 3, 6, 10\)"):
        function(images(1), images(2))


def test_local_selection_wants_images_and_taps_of_one_batch():
    taps = [images(3)], [images(4)]
    with pytest.raises(ValueError, match=r"equal shape; got \(4, 3, 6, 10\) and \(4, 3, 6, 8\)"):
        losses.local_selective_feature_loss(images(1), images(2)[..., :8], *taps)
    with pytest.raises(ValueError, match="tap 0 is of 4 images, and there are 1"):
        losses.local_selective_feature_loss(images(1)[:1], images(2)[:1], *taps)


def test_lq_must_be_images():
    with pytest.raises(ValueError, match=r"lq must have N and C of the outputs, \(4, 3\); got \(4, 3\)"):
        losses.contrastive_loss(images(1), images(2), torch.rand(4, 3), negatives="lq_bicubic")
    with pytest.raises(ValueError, match="lq must have floating-point values"):
        losses.vgg_contrastive_loss(
            images(1), images(2), torch.ones(4, 3, 3, 5, dtype=torch.uint8), two_layers, layer_weights=(1.0, 1.0)
        )


@CALLS
@pytest.mark.parametrize("student_is_broken", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_not_hidden(call, student_is_broken, value):
    broken = images(1)
    broken[2, 1, 3, 4] = value
    pair = (broken, images(2)) if student_is_broken else (images(2), broken)
    assert not call(*pair).isfinite()


@CALLS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_from_the_first_operation_on(call, dtype):
    student, teacher = images(1).to(dtype).requires_grad_(), images(2).to(dtype)
    loss = call(student, teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, call(student.float(), teacher.float()), rtol=0, atol=0)
    loss.backward()
    assert student.grad.dtype == dtype and student.grad.isfinite().all()


@CALLS
@pytest.mark.parametrize("value", [None, 0.0, 1.0])
def test_equal_images_are_finite_with_finite_gradients(call, value):
    """All images of the batch are the same one, of student and teacher; None: an image that is not constant."""
    teacher = images(1)[:1].expand(SHAPE) if value is None else torch.full(SHAPE, value)
    student = teacher.clone().requires_grad_()
    loss = call(student, teacher)
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", ["feature_loss", "local_selective_feature_loss", "spatial_affinity_loss"])
def test_a_single_image_is_a_batch_where_there_are_no_negatives(name):
    """The mean over a batch of one is that of its image: two images give the mean of what each of them gives."""
    student, teacher = (images(seed, torch.float64)[:2] for seed in (1, 2))
    alone = [FUNCTIONS[name](student[i : i + 1], teacher[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(FUNCTIONS[name](student, teacher), sum(alone) / 2)


@pytest.mark.parametrize("name", ["contrastive_loss", "vgg_contrastive_loss"])
def test_a_single_image_is_refused_where_there_are(name):
    with pytest.raises(ValueError, match="a batch of 1 image has no negatives"):
        FUNCTIONS[name](images(1)[:1], images(2)[:1])
