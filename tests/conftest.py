import sys

import pytest
import tiny


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """HR and LR folders and LMDBs of tiny images."""
    return tiny.make_pairs(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """Weights of the tiny teacher."""
    return tiny.save_teacher(tmp_path_factory.mktemp("weights") / "teacher.pth")


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory):
    """Weights of a random VGG19."""
    return tiny.save_vgg(tmp_path_factory.mktemp("vgg") / "vgg19.pth")


@pytest.fixture
def checkout(tmp_path):
    """A BasicSR checkout of one's own."""
    (tmp_path / "checkout").mkdir()
    return tiny.copy_basicsr(tmp_path / "checkout")


@pytest.fixture
def elsewhere(tmp_path):
    """A working directory that is not the checkout."""
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


@pytest.fixture(scope="session")
def cache(data, teacher_file, tmp_path_factory):
    """A cache of the tiny teacher, uint16, without images."""
    import cached

    out = tmp_path_factory.mktemp("cache") / "teacher.lmdb"
    cached.make(data, teacher_file, out)
    return out


@pytest.fixture(autouse=True)
def no_run_is_left_behind():
    """A run that a test begins in this process ends with the test: BasicSR's functions are stock's again."""
    yield
    training_run = sys.modules.get("srkd_plugin.basicsr_patches.training_run")
    if training_run is not None:
        training_run._current = None
