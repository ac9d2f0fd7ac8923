"""What became of images since something was made of them."""

import pytest

from srkd_plugin.images.changes import compare


def test_each_key_is_of_one_kind():
    found = compare(["a", "b", "c", "d"], ["b", "c", "d", "e"], ["c"], finished=True)
    assert found == (["b", "d"], ["c"], ["a"], ["e"])
    assert found.describe() == (
        "1 changed, which are made again (c), 1 added (e), 1 removed, which are dropped (a); "
        "2 made before are unchanged and kept"
    )
    unfinished = compare(["a"], ["a", "b"], [], finished=False)
    assert (unfinished.added, unfinished.some) == ([], False)


@pytest.mark.parametrize(("changed", "another"), [(0, False), (2, False), (3, True), (4, True)])
def test_a_set_of_which_most_has_changed_is_another_one(changed, another):
    found = compare("abcd", "abcd", "abcd"[:changed], finished=True)
    assert (found.another_set is not None) == another
    assert compare([], "ab", [], finished=False).another_set is None
