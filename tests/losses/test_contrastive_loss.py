"""contrastive_loss against the formula, written out here image by image in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srkd_plugin.losses import ContrastiveLoss, contrastive_loss
from srkd_plugin.losses.pairwise import _PairwiseL1, pairwise_l1

SHAPE = (5, 3, 6, 10)  # not square; H != W != C != N
FORMS = [("l1", None), ("cosine", "exp"), ("cosine", "ratio"), ("cosine", "infonce")]
NEGATIVES = ["teacher", "student", "both", "lq_bicubic"]
pytestmark = pytest.mark.filterwarnings("ignore:form. ratio")


def images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def batch(shape=SHAPE, dtype=torch.float64):
    """student, teacher, lq; the teacher is near the student, as in training."""
    n, c, h, w = shape
    teacher = images(*shape, seed=1, dtype=dtype)
    student = (teacher + 0.1 * (images(*shape, seed=2, dtype=dtype) - 0.5)).requires_grad_()
    return student, teacher, images(n, c, h // 2, w // 2, seed=3, dtype=dtype)


def reference(student, teacher, bicubic, similarity, form, negatives, negative_reduction, reduction, center, tau, eps):
    """Equation (1) of the paper, in numpy float64, straight from the formula: loops, no pairwise tricks."""
    n = len(student)
    banks = {"teacher": [teacher], "student": [student], "both": [teacher, student], "lq_bicubic": [bicubic]}[negatives]

    def cosine(a, b):
        a, b = a.ravel(), b.ravel()
        if center:
            a, b = a - a.mean(), b - b.mean()
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

    losses = []
    for i in range(n):
        others = [bank[k] for bank in banks for k in range(n) if k != i]
        if similarity == "l1":
            total = sum(np.abs(student[i] - other).mean() for other in others)
            total = total / len(others) if negative_reduction == "mean" else total
            losses.append(np.abs(student[i] - teacher[i]).mean() / (total + eps))
            continue
        f = (lambda c: c) if form == "ratio" else (lambda c: math.exp(c / tau))
        positive = f(cosine(student[i], teacher[i]))
        total = sum(f(cosine(student[i], other)) for other in others)
        total = total / len(others) if negative_reduction == "mean" else total
        losses.append(-math.log(positive / (total + (positive if form == "infonce" else 0.0))))
    return sum(losses) if reduction == "sum" else sum(losses) / n


@pytest.mark.parametrize(("similarity", "form"), FORMS)
@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize(("negative_reduction", "reduction"), itertools.product(["sum", "mean"], repeat=2))
def test_equals_the_formula(similarity, form, negatives, negative_reduction, reduction):
    student, teacher, lq = batch()
    bicubic = torch.nn.functional.interpolate(lq, size=SHAPE[-2:], mode="bicubic", align_corners=False)
    center = form == "infonce"
    tau = 0.3 if form in ("exp", "infonce") else 1.0
    options = {
        "similarity": similarity,
        "form": form,
        "negatives": negatives,
        "negative_reduction": negative_reduction,
        "reduction": reduction,
        "center": center,
        "temperature": tau,
    }
    expected = reference(
        *(x.detach().numpy() for x in (student, teacher, bicubic)),
        *(similarity, form, negatives, negative_reduction, reduction, center, tau, 1e-6),
    )
    assert contrastive_loss(student, teacher, lq, **options).item() == pytest.approx(expected, rel=1e-10)
    in_float32 = contrastive_loss(student.float(), teacher.float(), lq.float(), **options)
    assert in_float32.dtype == torch.float32
    assert in_float32.item() == pytest.approx(expected, rel=2e-5, abs=2e-6)


def test_value_worked_out_by_hand():
    """Two images of one constant: S = 0.5, 0.8; T = 0.6, 0.2; so d_pos = 0.1, 0.6 and d_neg = 0.3, 0.2."""
    student = torch.tensor([0.5, 0.8], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 3, 4, 5)
    teacher = torch.tensor([0.6, 0.2], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 3, 4, 5)
    assert contrastive_loss(student, teacher, eps=1e-12).item() == pytest.approx(0.1 / 0.3 + 0.6 / 0.2)
    assert contrastive_loss(student, teacher, eps=1e-12, reduction="mean").item() == pytest.approx((1 / 3 + 3) / 2)


def test_cosine_value_worked_out_by_hand():
    """Images of two pixels, S = T = (1, 0), (0, 1): cosines 1 with the positive and 0 with the negative."""
    student = torch.eye(2, dtype=torch.float64).view(2, 1, 1, 2)
    loss = contrastive_loss(student, student, similarity="cosine")
    assert loss.item() == pytest.approx(2 * (-1.0 + 0.0))
    infonce = contrastive_loss(student, student, similarity="cosine", form="infonce")
    assert infonce.item() == pytest.approx(2 * math.log((math.e + 1) / math.e))


@pytest.mark.parametrize("factor", [255.0, 1e-2])
@pytest.mark.parametrize(("similarity", "form"), FORMS)
def test_free_of_the_value_range(similarity, form, factor):
    student, teacher, lq = batch()
    options = {"similarity": similarity, "form": form, "eps": 1e-12}
    expected = contrastive_loss(student, teacher, lq, **options).item()
    scaled = contrastive_loss(factor * student, factor * teacher, factor * lq, **options).item()
    assert scaled == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("similarity", "form"), FORMS)
@pytest.mark.parametrize("negatives", NEGATIVES)
def test_gradcheck(similarity, form, negatives):
    student, teacher, lq = batch((3, 2, 2, 4))

    def loss(s):
        return contrastive_loss(s, teacher, lq, similarity=similarity, form=form, negatives=negatives)

    assert torch.autograd.gradcheck(loss, (student,))


def test_gradcheck_of_the_backward_pass_for_other_devices():
    """pairwise_l1 takes this path on CUDA only; its arithmetic is the same on the CPU."""
    a, b = (images(*shape, seed=s).requires_grad_() for shape, s in (((3, 7), 1), ((4, 7), 2)))
    assert torch.autograd.gradcheck(_PairwiseL1.apply, (a, b))
    torch.testing.assert_close(_PairwiseL1.apply(a, b), pairwise_l1(a, b), rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the CUDA path is not exercised here")
def test_cuda_equals_cpu():
    student, teacher, lq = batch(dtype=torch.float32)
    here = contrastive_loss(student, teacher, lq)
    there = contrastive_loss(student.cuda(), teacher.cuda(), lq.cuda())
    torch.testing.assert_close(there.cpu(), here)


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_gradients_reach_the_student_only(negatives):
    student, teacher, lq = batch()
    teacher.requires_grad_()
    lq.requires_grad_()
    contrastive_loss(student, teacher, lq, negatives=negatives).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert lq.grad is None


@pytest.mark.parametrize(("similarity", "form"), FORMS)
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_batch_of_equal_images_is_finite(similarity, form, value):
    student = torch.full(SHAPE, value).requires_grad_()
    loss = contrastive_loss(student, torch.full(SHAPE, value), similarity=similarity, form=form)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    if similarity == "l1":
        assert loss.item() == 0.0


def test_equal_teacher_images_give_the_inverse_of_k():
    teacher = images(1, 3, 4, 6).expand(5, 3, 4, 6)
    student = teacher + 0.1
    loss = contrastive_loss(student, teacher, reduction="mean", eps=1e-12)
    assert loss.item() == pytest.approx(1 / 4)


def test_constant_image_has_no_direction_and_gets_no_gradient():
    student, teacher, _ = batch(dtype=torch.float32)
    student = student.detach().clone()
    student[0] = 0.3
    student.requires_grad_()
    contrastive_loss(student, teacher, similarity="cosine", center=True).backward()
    assert student.grad[0].abs().max() == 0
    assert student.grad[1:].abs().sum() > 0
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(("similarity", "form"), FORMS)
@pytest.mark.parametrize("who", [0, 1])
def test_nan_is_not_hidden(similarity, form, who):
    pair = [x.detach().clone() for x in batch()[:2]]
    pair[who][2, 1, 3, 4] = math.nan
    assert contrastive_loss(*pair, similarity=similarity, form=form).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("similarity", "form"), FORMS)
def test_half_precision_inputs_are_computed_in_float32(dtype, similarity, form):
    student, teacher, _ = (x.detach().to(dtype) for x in batch())
    loss = contrastive_loss(student.requires_grad_(), teacher, similarity=similarity, form=form)
    expected = contrastive_loss(student.float(), teacher.float(), similarity=similarity, form=form)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)
    loss.backward()
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()


def test_autocast_does_not_lower_the_precision():
    student, teacher, _ = batch(dtype=torch.float32)
    expected = contrastive_loss(student, teacher, similarity="cosine")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = contrastive_loss(student, teacher, similarity="cosine")
    torch.testing.assert_close(inside, expected, rtol=0, atol=0)


def test_the_literal_ratio_is_unbounded_below_and_says_so():
    with pytest.warns(UserWarning, match="no lower bound"):
        loss = ContrastiveLoss(similarity="cosine", form="ratio")
    values = []
    for off in (1e-1, 1e-3, 1e-5):  # the negatives' cosine
        student = torch.tensor([[1.0, off], [off, 1.0]], dtype=torch.float64).view(2, 1, 1, 2)
        values.append(loss(student, torch.eye(2, dtype=torch.float64).view(2, 1, 1, 2)).item())
    assert values[0] > values[1] > values[2]
    assert values[2] < -20


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 6), c=st.integers(1, 4), h=st.integers(1, 7), w=st.integers(1, 7), seed=st.integers(0, 99))
def test_l1_is_the_formula_on_any_shape(n, c, h, w, seed):
    student, teacher = images(n, c, h, w, seed=seed), images(n, c, h, w, seed=seed + 100)
    expected = reference(student.numpy(), teacher.numpy(), None, "l1", None, "teacher", "sum", "sum", False, 1.0, 1e-6)
    assert contrastive_loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_order_of_the_batch_does_not_matter(seed):
    student, teacher, _ = batch()
    order = torch.randperm(len(student), generator=torch.Generator().manual_seed(seed))
    expected = contrastive_loss(student, teacher, negatives="both")
    torch.testing.assert_close(contrastive_loss(student[order], teacher[order], negatives="both"), expected)


def test_module_is_the_function_times_its_weight():
    student, teacher, lq = batch()
    module = ContrastiveLoss(negatives="lq_bicubic", reduction="mean", loss_weight=2.5)
    assert module.reads == ("student", "teacher", "lq")
    assert ContrastiveLoss().reads == ("student", "teacher")
    expected = 2.5 * contrastive_loss(student, teacher, lq, negatives="lq_bicubic", reduction="mean")
    torch.testing.assert_close(module(student, teacher, lq), expected)
    assert "negatives=lq_bicubic" in repr(module)


def test_module_and_function_have_the_same_defaults():
    import inspect

    of_function = {k: p.default for k, p in inspect.signature(contrastive_loss).parameters.items() if k in DEFAULTS}
    of_module = {k: p.default for k, p in inspect.signature(ContrastiveLoss).parameters.items() if k in DEFAULTS}
    assert of_function == of_module == DEFAULTS


DEFAULTS = {
    "similarity": "l1",
    "form": None,
    "temperature": 1.0,
    "negatives": "teacher",
    "negative_reduction": "sum",
    "reduction": "sum",
    "center": False,
    "eps": 1e-6,
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"similarity": "l2"}, "similarity must be one of l1, cosine; got 'l2'"),
        ({"similarity": "cosine", "form": "log"}, "form must be one of exp, ratio, infonce; got 'log'"),
        ({"negatives": "gt"}, "negatives must be one of teacher, student, both, lq_bicubic, history; got 'gt'"),
        ({"reduction": "none"}, "reduction must be one of sum, mean; got 'none'"),
        ({"negative_reduction": "max"}, "negative_reduction must be one of sum, mean; got 'max'"),
        ({"temperature": 0.0}, "temperature must be > 0; got 0.0"),
        ({"eps": 0.0}, "eps must be > 0; got 0.0"),
        ({"form": "exp"}, "form='exp' applies to similarity: cosine only"),
        ({"center": True}, "center=True applies to similarity: cosine only"),
        ({"temperature": 0.1}, "temperature=0.1 applies to similarity: cosine only"),
        ({"similarity": "cosine", "form": "ratio", "temperature": 0.1}, "temperature=0.1 has no place in form: ratio"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveLoss(**arguments)


@pytest.mark.parametrize(
    ("student", "teacher", "lq", "message"),
    [
        ((1, 3, 4, 4), (1, 3, 4, 4), None, "a batch of 1 image has no negatives"),
        ((2, 3, 4, 4), (2, 3, 4, 5), None, r"equal shape; got \(2, 3, 4, 4\) and \(2, 3, 4, 5\)"),
        ((3, 4, 4), (3, 4, 4), None, r"must be \(N, C, H, W\)"),
        ((2, 3, 4, 4), (2, 3, 4, 4), None, "needs lq"),
        (
            (2, 3, 4, 4),
            (2, 3, 4, 4),
            (2, 1, 2, 2),
            r"lq must have N and C of the outputs, \(2, 3\); got \(2, 1, 2, 2\)",
        ),
    ],
)
def test_bad_images_are_named(student, teacher, lq, message):
    with pytest.raises(ValueError, match=message):
        contrastive_loss(
            torch.rand(student), torch.rand(teacher), None if lq is None else torch.rand(lq), negatives="lq_bicubic"
        )


@pytest.mark.parametrize("options", [{}, {"similarity": "cosine", "form": "infonce", "center": True}])
def test_compile_equals_eager(options):
    student, teacher, _ = batch(dtype=torch.float32)
    compiled = torch.compile(lambda s, t: contrastive_loss(s, t, **options), backend="aot_eager")
    torch.testing.assert_close(compiled(student, teacher), contrastive_loss(student, teacher, **options))


def test_memory_does_not_hold_all_pairs():
    """At N = 48 a tensor of all differences would be 48 x the images; the largest one saved for backward is 1 x."""
    student, teacher, _ = batch((48, 3, 16, 20), dtype=torch.float32)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        contrastive_loss(student, teacher, negatives="teacher")
    assert max(sizes) <= student.numel()


def of_history(student, k=3):
    """Images of an earlier student: near the student's, each batch in its own way."""
    return torch.stack([student.detach() + 0.2 * (images(*student.shape, seed=10 + i) - 0.5) for i in range(k)])


@pytest.mark.parametrize(("similarity", "form"), FORMS)
@pytest.mark.parametrize("negative_reduction", ["sum", "mean"])
@pytest.mark.parametrize("n", [1, 3])
def test_history_equals_the_formula(similarity, form, negative_reduction, n):
    """Image by image: its negatives are the earlier student's images of itself, and no other image's."""
    student, teacher, lq = batch((n, 3, 4, 6))
    history = of_history(student)
    settings = {"similarity": similarity, "form": form, "center": form == "infonce", "reduction": "mean"}

    def cosine(a, b):
        a, b = a.ravel(), b.ravel()
        if form == "infonce":
            a, b = a - a.mean(), b - b.mean()
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

    expected = []
    s, t, h = (x.detach().numpy() for x in (student, teacher, history))
    for i in range(n):
        if similarity == "l1":
            total = sum(np.abs(s[i] - h[k, i]).mean() for k in range(3))
            total = total / 3 if negative_reduction == "mean" else total
            expected.append(np.abs(s[i] - t[i]).mean() / (total + 1e-6))
            continue
        f = (lambda c: c) if form == "ratio" else math.exp
        positive, total = f(cosine(s[i], t[i])), sum(f(cosine(s[i], h[k, i])) for k in range(3))
        total = total / 3 if negative_reduction == "mean" else total
        expected.append(-math.log(positive / (total + (positive if form == "infonce" else 0.0))))
    found = contrastive_loss(
        student, teacher, lq, history, negatives="history", negative_reduction=negative_reduction, **settings
    )
    assert found.item() == pytest.approx(sum(expected) / n, rel=1e-9)


@pytest.mark.parametrize(("similarity", "form"), FORMS)
def test_gradients_with_history_reach_the_student_only(similarity, form):
    student, teacher, lq = batch((2, 2, 2, 4))
    history = of_history(student).requires_grad_()

    def loss(s):
        return contrastive_loss(s, teacher, lq, history, similarity=similarity, form=form, negatives="history")

    assert torch.autograd.gradcheck(loss, (student,))
    loss(student).backward()
    assert history.grad is None


def test_history_that_does_not_fit_is_refused():
    student, teacher, lq = batch()
    with pytest.raises(ValueError, match="needs history"):
        contrastive_loss(student, teacher, lq, negatives="history")
    with pytest.raises(ValueError, match=r"history must be \(K, 5, 3, 6, 10\); got \(5, 3, 6, 10\)"):
        contrastive_loss(student, teacher, lq, student.detach(), negatives="history")
    loss = ContrastiveLoss(negatives="history")
    assert loss.reads == ("student", "teacher", "lq", "history")
    assert loss(student, teacher, lq, of_history(student)).item() > 0
