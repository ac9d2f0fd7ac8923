"""Validation that is split over the ranks of a distributed run and gives the figures of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from basicsr.models.sr_model import SRModel
from torch.utils.data import DataLoader, Subset

from srkd_plugin.parallel import ranks


class Measured(NamedTuple):
    """The metrics of one image."""

    place: int
    """Place in the loader's order."""
    path: str
    metrics: dict[str, Any]


class _Share:
    """This rank's images of a loader, as SRModel's validation takes them; keeps the metrics that it adds up.

    Args:
        loader: All images, one per batch and in order, as BasicSR builds it for validation.
        model: Adds each image's metrics to its ``metric_results``; these are read and set to 0 after each image.
    """

    def __init__(self, loader: DataLoader, model: SRModel) -> None:
        self.dataset = cast(Any, loader.dataset)  # map-style, which torch does not say
        self.measured: list[Measured] = []
        self._model = model
        self._indices = range(ranks.own(), len(self.dataset), ranks.count())
        subset = Subset(self.dataset, self._indices)
        # a loader draws a seed for its workers, though it has none; torch's own generator is the training's
        self._loader = DataLoader(
            subset, collate_fn=loader.collate_fn, pin_memory=loader.pin_memory, generator=torch.Generator()
        )

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index, image in zip(self._indices, self._loader):
            yield image
            found = getattr(self._model, "metric_results", {})  # none where the options ask for no metrics
            self.measured.append(Measured(index, image["lq_path"][0], found))
            if found:
                self._model.metric_results = dict.fromkeys(found, 0)


def validate_split(
    model: SRModel, validate: Callable[..., None], loader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool
) -> None:
    """Let every rank validate its share of the images, and give all of them the result for all images.

    Rank r of W takes the images r, r + W, ...; there may be more ranks than images. What is done with an image
    (network, metrics, file) is SRModel's. Metrics are added up in the order of the images, as one process does, so
    that the results and the record of the best are the same bits.

    Args:
        model: The model, on every rank.
        validate: Its ``nondist_validation``.
        loader: Argument of ``nondist_validation``, with the same images on every rank; so are the other arguments.
        current_iter: The iteration.
        tb_logger: BasicSR's; None on the other ranks.
        save_img: Whether images are saved.

    Raises:
        RuntimeError: The ranks do not have the same images in the same order; on every rank.
    """
    share = _Share(loader, model)
    with _bare_student(model), _no_results(model):
        if len(share):
            validate(share, current_iter, tb_logger, save_img)
    measured = sorted(image for images in ranks.gather_objects(share.measured) for image in images)
    _check_partition(measured, len(share.dataset))
    if not model.opt["val"].get("metrics"):
        return
    name = share.dataset.opt["name"]
    if not len(share):  # what SRModel prepares for its sums
        model.metric_results = dict.fromkeys(model.opt["val"]["metrics"], 0)
        model._initialize_best_metric_results(name)
    for metric in model.metric_results:
        value = sum(image.metrics[metric] for image in measured) / len(measured)
        model.metric_results[metric] = value
        model._update_best_metric_result(name, metric, value, current_iter)
    model._log_validation_metric_values(current_iter, name, tb_logger)


@contextmanager
def _bare_student(model: SRModel) -> Iterator[None]:
    """Take DDP off in the block: it would synchronise buffers at every image, and ranks have not as many images.

    Instead they are set once to rank 0's, which are the ones that are saved.
    """
    wrapped = model.net_g
    model.net_g = model.get_bare_model(wrapped)
    ranks.make_equal(model.net_g.buffers(), model.device)
    try:
        yield
    finally:
        model.net_g = wrapped


@contextmanager
def _no_results(model: SRModel) -> Iterator[None]:
    """Keep BasicSR's validation from noting and logging the means of one rank's images as those of the set."""
    methods = ("_update_best_metric_result", "_log_validation_metric_values")
    for method in methods:
        setattr(model, method, lambda *arguments: None)
    try:
        yield
    finally:
        for method in methods:
            delattr(model, method)


def _check_partition(measured: list[Measured], count: int) -> None:
    """Check that all images were measured once: nodes may list the files of a folder in different orders."""
    paths = {image.path for image in measured}
    if [image.place for image in measured] != list(range(count)) or len(paths) != count:
        raise RuntimeError(
            f"the ranks validated {len(paths)} different images out of {count}: their data sets differ, or list their "
            "images in another order; a meta_info_file or an LMDB fixes the order"
        )
