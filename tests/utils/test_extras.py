"""Packages that are not there."""

import pytest

from srkd_plugin.errors import InputError
from srkd_plugin.utils.extras import require


def test_what_is_not_installed_is_one_line_with_the_remedy():
    with pytest.raises(InputError) as caught:
        require("no_such_package.part", "export", "writing ONNX")
    assert str(caught.value).startswith("package = 'no_such_package': writing ONNX needs it")
    assert "pip install 'srkd-plugin[export]'" in str(caught.value)
    assert require("json", "export", "nothing").loads("1") == 1
