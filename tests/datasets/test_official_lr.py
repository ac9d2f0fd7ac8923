"""Official LR images: named as their photographs, or with the scale behind; never another photograph's."""

from pathlib import Path

import pytest

from srkd_plugin.datasets.official_lr import pair_official_lr
from srkd_plugin.errors import InputError


def pair(stems, names, scale=2):
    found = pair_official_lr(stems, {name: Path(f"LR/{name}.png") for name in names}, scale, Path("LR"))
    return {stem: path.stem for stem, path in found.items()}


@pytest.mark.parametrize("ending", ["", "x2"])
@pytest.mark.parametrize("stems", [["0001", "0002"], ["a", "ax2"], ["a", "ax2", "ax2x2"]])
def test_all_are_named_in_one_way(stems, ending):
    names = [f"{stem}{ending}" for stem in stems]
    assert pair(stems, names) == dict(zip(stems, names))
    assert pair(stems[:1], names[:1]) == {stems[0]: names[0]}


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["0001"], "there is no 0002 and no 0002x2 in it"),
        (["0001x2", "0002x4"], "there is no 0002 and no 0002x2 in it"),
        (["0001", "0002x2"], "some of its names end in x2 and others do not, e.g. that for 0002"),
        (["0001", "0002", "0001x2", "0002x2"], "both 0001 and 0001x2 are in it"),
    ],
)
def test_what_cannot_be_told(names, says):
    with pytest.raises(InputError, match=f"--lq = 'LR': {says}"):
        pair(["0001", "0002"], names)
