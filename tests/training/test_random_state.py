import random

import numpy as np
import torch

from srkd_plugin.training import random_state


def draw():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()


def test_a_state_survives_a_file_and_gives_the_same_numbers(tmp_path):
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    draw()  # leaves half a pair of Gaussians in Python's and numpy's generators
    torch.save(random_state.capture(), tmp_path / "state")
    expected = [draw() for _ in range(3)]
    random.seed(4), np.random.seed(5), torch.manual_seed(6)
    random_state.restore(torch.load(tmp_path / "state", weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_seeded_draws_depend_on_the_key_alone_and_leave_the_rest_as_it_was():
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    expected = [draw(), draw()]
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    outside, inside = [draw()], {}
    for key in ((10, 0, 0), (10, 0, 1), (10, 1, 0), (11, 0, 0), (10, 0, 0)):
        with random_state.seeded(key):
            drawn = draw()
        assert inside.setdefault(key, drawn) == drawn
    outside.append(draw())
    assert outside == expected
    assert len({number for drawn in inside.values() for number in drawn}) == 4 * 5
