"""confidence_l1_loss against the formula, written out pixel by pixel in float64."""

import itertools
import math

import pytest
import torch

from srkd_plugin.losses import ConfidenceL1Loss, confidence_l1_loss


def images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def batch(shape=(2, 3, 4, 6), dtype=torch.float64):
    """student, teacher, gt; the teacher is wrong by 0 to 0.3, so that both ends of the weights are met."""
    gt = images(*shape, seed=1, dtype=dtype)
    teacher = gt + 0.3 * images(shape[0], 1, *shape[2:], seed=2, dtype=dtype)
    return (teacher + 0.2 * (images(*shape, seed=3, dtype=dtype) - 0.5)).requires_grad_(), teacher, gt


def reference(student, teacher, gt, sharpness=10.0, lowest=0.1, highest=0.75):
    n, channels, height, width = student.shape
    total, weights = 0.0, set()
    for i, y, x in itertools.product(range(n), range(height), range(width)):
        error = sum(abs(float(teacher[i, c, y, x] - gt[i, c, y, x])) for c in range(channels)) / channels
        weight = min(max(math.exp(-sharpness * error), lowest), highest)
        weights.add(weight)
        total += sum(weight * abs(float(student[i, c, y, x] - teacher[i, c, y, x])) for c in range(channels))
    return total / student.numel(), weights


@pytest.mark.parametrize("settings", [{}, {"sharpness": 3.0, "lowest": 0.45, "highest": 1.0}], ids=str)
def test_equals_the_formula(settings):
    data = batch()
    expected, weights = reference(*(x.detach() for x in data), **settings)
    assert {settings.get("lowest", 0.1), settings.get("highest", 0.75)} & weights
    assert confidence_l1_loss(*data, **settings).item() == pytest.approx(expected, rel=1e-12)
    assert ConfidenceL1Loss(loss_weight=3.0, **settings)(*data).item() == pytest.approx(3 * expected, rel=1e-12)


def test_gradcheck_and_only_the_student_gets_a_gradient():
    student, teacher, gt = (x.detach().requires_grad_() for x in batch((2, 2, 3, 4)))
    assert torch.autograd.gradcheck(lambda s: confidence_l1_loss(s, teacher, gt), (student,))
    confidence_l1_loss(student, teacher, gt).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert gt.grad is None


def test_equal_images_zeros_one_image_and_nan():
    same = images(1, 3, 4, 5)
    assert confidence_l1_loss(same, same, same).item() == 0.0
    zeros = torch.zeros(1, 1, 2, 3, requires_grad=True)
    confidence_l1_loss(zeros, torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 2, 3)).backward()
    assert zeros.grad.isfinite().all()
    for index in range(3):
        broken = [same.clone() for _ in range(3)]
        broken[index][0, 0, 0, 0] = float("nan")
        broken[1][0, 0, 1, 1] += 0.5
        assert confidence_l1_loss(*broken).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    data = [x.detach().to(dtype) for x in batch()]
    loss = confidence_l1_loss(*data)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, confidence_l1_loss(*(x.float() for x in data)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sharpness": 0.0}, "sharpness must be > 0"),
        ({"lowest": -0.1}, "lowest must be > 0"),
        ({"lowest": 0.8}, "lowest must be at most highest; got 0.8 and 0.75"),
        ({"highest": math.nan}, "highest must be a finite number"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ConfidenceL1Loss(**settings)
    with pytest.raises(ValueError, match=message):
        confidence_l1_loss(*batch(), **settings)


def test_images_that_do_not_fit_are_refused():
    student, teacher, gt = batch()
    with pytest.raises(ValueError, match=r"gt must have the shape of the outputs, \(2, 3, 4, 6\); got \(2, 3, 4, 5\)"):
        confidence_l1_loss(student, teacher, gt[..., :5])
    with pytest.raises(ValueError, match="of equal shape"):
        confidence_l1_loss(student, teacher[:1], gt)
