"""feature_loss and local_selective_feature_loss against their formulas in numpy float64."""

import numpy as np
import pytest
import torch

from srkd_plugin.losses import (
    FeatureLoss,
    LocalSelectiveFeatureLoss,
    feature_loss,
    local_selective_feature_loss,
)


def maps(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def taps(seed):
    return [maps(2, 3, 4, 6, seed=seed), maps(2, 5, 2, 3, seed=seed + 1)]


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
def test_feature_loss_is_the_formula(criterion, power):
    students, teachers = taps(1), taps(3)
    expected = sum((np.abs(s.numpy() - t.numpy()) ** power).mean() for s, t in zip(students, teachers))
    assert feature_loss(students, teachers, criterion=criterion).item() == pytest.approx(expected, rel=1e-12)
    module = FeatureLoss(loss_weight=3.0, criterion=criterion)
    assert module(students, teachers).item() == pytest.approx(3.0 * expected, rel=1e-12)


def lsfd_reference(student, teacher, students, teachers, eps=1e-6):
    """Our reading of LSFD, position by position."""
    total = 0.0
    for s, t in zip(students, teachers):
        n, _, h, w = s.shape
        per_image = []
        for i in range(n):
            error = np.abs(student[i] - teacher[i]).mean(axis=0)
            sy, sx = error.shape[0] // h, error.shape[1] // w
            pooled = np.array(
                [[error[y * sy : (y + 1) * sy, x * sx : (x + 1) * sx].mean() for x in range(w)] for y in range(h)]
            )
            attention = pooled / (pooled.mean() + eps)
            per_image.append((attention * np.abs(s[i] - t[i])).mean())
        total += np.mean(per_image)
    return total


def test_local_selective_is_the_formula():
    student, teacher = maps(2, 3, 8, 12, seed=7), maps(2, 3, 8, 12, seed=8)
    students, teachers = taps(1), taps(3)
    arrays = [[x.numpy() for x in group] for group in (students, teachers)]
    expected = lsfd_reference(student.numpy(), teacher.numpy(), *arrays)
    found = local_selective_feature_loss(student, teacher, students, teachers).item()
    assert found == pytest.approx(expected, rel=1e-12)
    module = LocalSelectiveFeatureLoss(loss_weight=2.0)
    assert module(student, teacher, students, teachers).item() == pytest.approx(2.0 * expected, rel=1e-12)


def test_attention_has_mean_one():
    """With features that differ by the same everywhere, the attention drops out."""
    student, teacher = maps(2, 3, 8, 12, seed=7), maps(2, 3, 8, 12, seed=8)
    features = maps(2, 3, 4, 6)
    loss = local_selective_feature_loss(student, teacher, [features + 0.5], [features], eps=1e-12)
    assert loss.item() == pytest.approx(0.5)


def test_gradcheck_and_who_gets_gradients():
    student, teacher = maps(2, 3, 4, 4, seed=7), maps(2, 3, 4, 4, seed=8)
    feature, target = maps(2, 3, 2, 2, seed=1).requires_grad_(), maps(2, 3, 2, 2, seed=2).requires_grad_()
    fixed = target.detach()
    for criterion in ("l1", "l2"):
        assert torch.autograd.gradcheck(lambda f, c=criterion: feature_loss([f], [fixed], criterion=c), (feature,))
    assert torch.autograd.gradcheck(lambda f: local_selective_feature_loss(student, teacher, [f], [fixed]), (feature,))
    image = student.clone().requires_grad_()
    loss = local_selective_feature_loss(image, teacher, [feature], [target]) + feature_loss([feature], [target])
    loss.backward()
    assert feature.grad.abs().sum() > 0
    assert target.grad is None
    assert image.grad is None


def test_equal_images_have_no_attention_and_nan_is_not_hidden():
    image, feature = maps(1, 3, 4, 4), maps(1, 2, 2, 2)
    assert local_selective_feature_loss(image, image, [feature], [feature + 1]).item() == 0.0
    broken = feature.clone()
    broken[0, 0, 0, 0] = float("nan")
    assert feature_loss([broken], [feature]).isnan()
    assert local_selective_feature_loss(image, image + 1, [broken], [feature]).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher = (maps(2, 3, 8, 12, seed=s).to(dtype) for s in (7, 8))
    students, teachers = ([x.to(dtype).requires_grad_() for x in taps(s)] for s in (1, 3))
    loss = local_selective_feature_loss(student, teacher, students, teachers) + feature_loss(students, teachers)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert all(s.grad.isfinite().all() for s in students)


def test_channels_that_differ_ask_for_a_connector():
    with pytest.raises(ValueError, match=r"tap 0: .*got \(1, 2, 3, 3\) and \(1, 4, 3, 3\); a connector"):
        feature_loss([torch.rand(1, 2, 3, 3)], [torch.rand(1, 4, 3, 3)])
    with pytest.raises(ValueError, match="criterion must be one of l1, l2; got 'l3'"):
        FeatureLoss(criterion="l3")
