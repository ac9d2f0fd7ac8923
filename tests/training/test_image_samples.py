"""Image samples for TensorBoard: which crops, what is on them, and that the training is as without them."""

import copy

import pytest
import tiny
import torch
from torch.nn import functional as F

from srkd_plugin.training import random_state
from srkd_plugin.training.image_samples import GAP, ImageSamples, why_none

LQ = (24, 20)
"""Height and width of the tiny sets' LQ images."""


class TensorBoard:
    """What of BasicSR's TensorBoard logger a validation calls."""

    def __init__(self):
        self.pictures, self.scalars = {}, []

    def add_image(self, tag, picture, iteration):
        self.pictures[tag, iteration] = picture

    def add_scalar(self, tag, value, iteration):
        self.scalars.append(tag)


def model_and_loader(opt, root):
    from basicsr.data import build_dataloader, build_dataset

    model = tiny.model(opt, root)
    section = {**opt["datasets"]["val"], "phase": "val", "scale": 2}
    return model, build_dataloader(build_dataset(section), section, num_gpu=0)


def asking(opt, count):
    opt["logger"].update(image_samples=count, use_tb_logger=True)
    return opt


def test_each_picture_has_lq_student_teacher_and_gt_of_one_place(data, teacher_file, tmp_path):
    opt = asking(tiny.distill_options(data, teacher_file), 2)
    opt["datasets"]["train"]["gt_size"] = 32  # LQ crops of 16
    model, loader = model_and_loader(opt, tmp_path)
    board = TensorBoard()
    model.validation(loader, 7, board, False)
    assert sorted(board.pictures) == [("samples/tiny_val/im0", 7), ("samples/tiny_val/im1", 7)]
    assert board.scalars == ["metrics/tiny_val/psnr"]

    (image,) = (image for image in loader.dataset if image["lq_path"].endswith("im1.png"))
    lq, gt = image["lq"][None, :, 4:20, 2:18], image["gt"][None, :, 8:40, 4:36]
    with torch.no_grad():
        student, teacher = model.net_g_ema(lq), model.step_losses.source.teacher(lq)
    columns = [F.interpolate(lq, scale_factor=2, mode="nearest"), student.clamp(0, 1), teacher.clamp(0, 1), gt]
    picture = board.pictures["samples/tiny_val/im1", 7]
    assert picture.shape == (3, 32, 4 * 32 + 3 * GAP)
    for place, column in enumerate(columns):
        left = place * (32 + GAP)
        torch.testing.assert_close(picture[..., left : left + 32], column[0])
    assert (picture[..., 32 : 32 + GAP] == 1).all()
    assert not torch.equal(columns[1], columns[2])


def test_a_cached_teacher_has_no_column_and_a_larger_count_means_all_images(data, tmp_path):
    opt = asking(tiny.stock_options(data, "no_teacher"), 100)
    opt.update(model_type="DistillModel", student={"reparameterize": True})
    model, loader = model_and_loader(opt, tmp_path)
    board = TensorBoard()
    model.validation(loader, 1, board, False)
    assert len(board.pictures) == len(loader.dataset)
    # sides are multiples of a training crop's, 8: 24x16 of 24x20
    assert {tuple(picture.shape) for picture in board.pictures.values()} == {(3, 48, 3 * 32 + 2 * GAP)}


@pytest.mark.parametrize(
    ("unit", "wanted"), [(8, [(0, 24), (2, 18)]), (24, [(0, 24), (0, 20)]), (96, [(0, 24), (0, 20)])]
)
def test_crops_are_central_multiples_of_the_training_crops_or_the_whole_of_a_small_image(unit, wanted):
    samples = ImageSamples(1, unit, 2)
    assert [samples._span(length) for length in LQ] == wanted
    begin, end = ImageSamples(1, 48, 2)._span(1000)
    assert end - begin == 96 and begin == 452


def trained(opt, root, board, steps=3):
    model, loader = model_and_loader(opt, root)
    batch = {"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16), "lq_path": ["a", "b"], "gt_path": ["a", "b"]}
    for iteration in range(1, steps + 1):
        model.feed_data({**batch, "lq": torch.rand(2, 3, 8, 8)})  # drawn, so that a changed random state shows
        model.optimize_parameters(iteration)
        model.validation(loader, iteration, board, False)
    return model, random_state.capture()


def test_a_training_with_samples_is_bit_for_bit_one_without(data, teacher_file, tmp_path):
    plain = tiny.distill_options(data, teacher_file)
    model, state = trained(asking(copy.deepcopy(plain), 0), tmp_path / "without", TensorBoard())
    sampled, its_state = trained(asking(copy.deepcopy(plain), 3), tmp_path / "with", board := TensorBoard())
    assert len(board.pictures) == 9
    for name, value in model.net_g.state_dict().items():
        assert torch.equal(value, sampled.net_g.state_dict()[name])
    assert model.metric_results == sampled.metric_results and sampled.net_g.training
    assert torch.equal(state["torch"], its_state["torch"])
    assert state["python"] == its_state["python"] and state["numpy"] == its_state["numpy"]


def test_a_data_set_that_draws_does_not_change_what_the_training_draws(data, teacher_file, tmp_path):
    model, loader = model_and_loader(asking(tiny.distill_options(data, teacher_file), 1), tmp_path)
    images = loader.dataset

    class Drawing:
        opt = images.opt

        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            torch.rand(3)
            return images[index]

    before = torch.get_rng_state()
    model.samples.show(model, type("Loader", (), {"dataset": Drawing()})(), 1, board := TensorBoard())
    assert board.pictures and torch.equal(before, torch.get_rng_state())
    assert not {"lq", "gt", "output"} & set(vars(model))


def test_samples_that_will_not_be_there_are_said(data):
    assert why_none(0, "run", False, False) is None
    assert why_none(4, "run", True, True) is None
    assert "use_tb_logger is false" in why_none(4, "run", False, True)
    assert "debug" in why_none(4, "debug_run", True, True)
    assert "validation" in why_none(4, "run", True, False)
