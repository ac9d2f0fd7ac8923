"""Split validation in one process; what it gives on several ranks is in tests/integration/test_distributed.py."""

from types import SimpleNamespace

import tiny
import torch
from basicsr.data import build_dataloader, build_dataset

from srkd_plugin.training.split_validation import validate_split


def test_validating_draws_nothing_from_the_trainings_random_stream(data, tmp_path):
    """A run that is resumed after a validation would otherwise go on with other random numbers."""
    opt = tiny.parsed(tiny.stock_options(data), tmp_path)
    section = opt["datasets"]["val"]
    loader = build_dataloader(build_dataset(section), section)
    net = torch.nn.Conv2d(1, 1, 1)
    model = SimpleNamespace(net_g=net, get_bare_model=lambda net: net, device="cpu", opt={"val": {}})
    seen = []
    before = torch.get_rng_state()
    validate_split(
        model, lambda share, *rest: seen.extend(image["lq_path"][0] for image in share), loader, 1, None, False
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert len(set(seen)) == len(loader.dataset) == 6
