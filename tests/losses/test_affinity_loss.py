"""spatial_affinity_loss against the formula with the whole H*W x H*W matrix, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srkd_plugin.losses import SpatialAffinityLoss, spatial_affinity_loss


def maps(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def reference(student, teacher, eps=1e-8):
    """He et al. 2020 in numpy float64: loops over images and positions."""

    def affinity(features):
        columns = features.reshape(features.shape[0], -1)
        columns = columns / (np.sqrt((columns**2).sum(axis=0)) + eps)
        positions = range(columns.shape[1])
        return np.array([[columns[:, i] @ columns[:, j] for j in positions] for i in positions])

    return np.mean([np.abs(affinity(s) - affinity(t)).mean() for s, t in zip(student.numpy(), teacher.numpy())])


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 3), cs=st.integers(1, 5), ct=st.integers(1, 5), h=st.integers(1, 5), w=st.integers(1, 6))
def test_equals_the_formula_on_any_shape_and_chunk(n, cs, ct, h, w):
    student, teacher = maps(n, cs, h, w, seed=1), maps(n, ct, h, w, seed=2)
    expected = reference(student, teacher)
    for chunk in (1, 4, 1000):
        found = spatial_affinity_loss([student], [teacher], chunk=chunk).item()
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_taps_are_summed_and_the_weight_applies():
    students = [maps(2, 3, 4, 5, seed=1), maps(2, 2, 3, 3, seed=2)]
    teachers = [maps(2, 6, 4, 5, seed=3), maps(2, 1, 3, 3, seed=4)]
    expected = sum(reference(s, t) for s, t in zip(students, teachers))
    assert SpatialAffinityLoss(loss_weight=0.5)(students, teachers).item() == pytest.approx(0.5 * expected)


def test_value_worked_out_by_hand():
    """Two positions: parallel columns in the student (A = 1 everywhere), orthogonal ones in the teacher (A = I)."""
    student = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]]).view(1, 2, 1, 2)
    teacher = torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]]).view(1, 2, 1, 2)
    assert spatial_affinity_loss([student], [teacher]).item() == pytest.approx(0.5)


@pytest.mark.parametrize("chunk", [2, 100])
def test_gradcheck(chunk):
    student, teacher = maps(2, 3, 2, 3, seed=1).requires_grad_(), maps(2, 4, 2, 3, seed=2)
    assert torch.autograd.gradcheck(lambda s: spatial_affinity_loss([s], [teacher], chunk=chunk), (student,))


def test_gradient_equals_autograd_of_the_naive_form():
    student, teacher = maps(2, 3, 4, 5, seed=1).requires_grad_(), maps(2, 3, 4, 5, seed=2).requires_grad_()

    def affinity(x):
        x = x.flatten(2)
        x = x / (x.norm(dim=1, keepdim=True) + 1e-8)
        return x.mT @ x

    (expected,) = torch.autograd.grad((affinity(student) - affinity(teacher)).abs().mean(), student)
    spatial_affinity_loss([student], [teacher], chunk=7).backward()
    torch.testing.assert_close(student.grad, expected)
    assert teacher.grad is None


def test_zero_columns_equal_maps_and_nan():
    zeros = torch.zeros(2, 3, 4, 5, requires_grad=True)
    loss = spatial_affinity_loss([zeros], [torch.zeros(2, 3, 4, 5)])
    loss.backward()
    assert loss.item() == 0.0
    assert zeros.grad.isfinite().all()
    same = maps(2, 3, 4, 5)
    assert spatial_affinity_loss([same], [same]).item() == 0.0
    broken = same.clone()
    broken[0, 0, 0, 0] = float("nan")
    assert spatial_affinity_loss([broken], [same]).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher = (maps(2, 3, 4, 5, seed=s).to(dtype) for s in (1, 2))
    loss = spatial_affinity_loss([student.requires_grad_()], [teacher])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, spatial_affinity_loss([student.float()], [teacher.float()]))
    loss.backward()
    assert student.grad.isfinite().all()


def test_what_is_saved_for_backward_does_not_hold_the_matrix():
    student, teacher = maps(1, 4, 30, 40, dtype=torch.float32).requires_grad_(), maps(1, 4, 30, 40, dtype=torch.float32)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        spatial_affinity_loss([student], [teacher])
    assert max(sizes) <= student.numel()


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ([], [], "same number of taps, at least one; got 0 and 0"),
        ([(1, 2, 3, 3)], [(1, 2, 3, 3)] * 2, "got 1 and 2"),
        ([(1, 2, 3, 3)], [(1, 2, 3, 4)], r"tap 0: \(N, C, H, W\) of equal N, H, W expected"),
    ],
)
def test_bad_taps_are_named(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        spatial_affinity_loss([torch.rand(s) for s in student], [torch.rand(t) for t in teacher])
    with pytest.raises(ValueError, match="chunk must be >= 1; got 0"):
        SpatialAffinityLoss(chunk=0)
