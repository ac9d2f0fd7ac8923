"""Names from options that become files and folders."""

import pytest

from srkd_plugin.errors import OptionsError
from srkd_plugin.utils.names import LONGEST, require_plain_name


@pytest.mark.parametrize("name", ["a", "distill_cl_l1_x2", "Set5 (x2)", "run[1]", "größe-2", "x=1,y@2+.", "é" * 100])
def test_plain_names_pass(name):
    require_plain_name("name", name, "a folder")


SEPARATORS = ["..", ".", "a/b", "a\\b", "/a", "../a", ".hidden", "~"]
OF_TERMINALS_AND_SHELLS = ["a\n", "a\nb", "a\0b", "a\x1b[2J", "$(a)", "-rf", "a|b", "*", "<b>", "a:b"]


@pytest.mark.parametrize("name", ["", " a", "a" * 300, "é" * 101, *SEPARATORS, *OF_TERMINALS_AND_SHELLS])
def test_others_are_refused_in_one_line(name):
    with pytest.raises(OptionsError) as refused:
        require_plain_name("datasets.val.name", name, "a folder")
    assert refused.value.key == "datasets.val.name"
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", [None, 7, True, ["a"]])
def test_a_name_is_text(name):
    with pytest.raises(OptionsError, match="text is expected"):
        require_plain_name("name", name, "a folder")


def test_a_part_behind_others_may_begin_with_anything_but_a_separator():
    require_plain_name("val.suffix", "-x2", "the end of names", whole=False)
    for text in ("/../x", "a/b", "\0", "x" * (LONGEST + 1)):
        with pytest.raises(OptionsError):
            require_plain_name("val.suffix", text, "the end of names", whole=False)
