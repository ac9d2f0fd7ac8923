"""What cannot be read is named, in this process and in workers; all else is the data set's."""

import pickle
import shutil

import cv2
import lmdb
import pytest
import tiny
from basicsr.data import build_dataset
from torch.utils.data import DataLoader, Dataset

from srkd_plugin.training.named_reads import NamedReads, ReadError


@pytest.fixture
def folders(data, tmp_path):
    """A copy of the set that may be spoilt."""
    for name in ("HR", "LR", "HR.lmdb", "LR.lmdb"):
        shutil.copytree(data / name, tmp_path / name)
    return tmp_path


def dataset_of(root, section="val", **changes):
    """The set of a run; the validation set has no random crops."""
    options = {**tiny.stock_options(root)["datasets"][section], "phase": section, "scale": 2, **changes}
    return NamedReads(build_dataset(options), options["name"])


def index_of(dataset, name):
    return next(i for i, pair in enumerate(dataset.paths) if name in pair["lq_path"])


def spoil(root, how):
    file = root / "LR/im3.png"
    if how == "empty":
        file.write_bytes(b"")
    elif how == "text":
        file.write_text("<html>quota exceeded</html>")
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-20])
    elif how == "gone":
        file.unlink()
    else:
        cv2.imwrite(str(file), cv2.imread(str(file))[:-1])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("empty", r"tiny_val: lq image .*LR/im3\.png: it cannot be decoded \("),
        ("text", r"tiny_val: lq image .*LR/im3\.png: it cannot be decoded \("),
        ("gone", r"tiny_val: lq image .*LR/im3\.png: it cannot be read \(No such file or directory\) \(FileNotFound"),
    ],
)
def test_a_damaged_file_is_named(folders, how, says, workers):
    dataset = dataset_of(folders)
    spoil(folders, how)
    with pytest.raises(ReadError, match=says):
        list(DataLoader(dataset, num_workers=workers))


def test_a_pair_that_does_not_fit_is_named_with_basicsrs_words(folders):
    spoil(folders, "smaller")
    roots = {"dataroot_gt": str(folders / "HR"), "dataroot_lq": str(folders / "LR")}
    dataset = dataset_of(folders, "train", io_backend={"type": "disk"}, **roots)
    both = r"tiny: item \d, lq image .*im3\.png, gt image .*im3\.png cannot be read"
    with pytest.raises(ReadError, match=both + r" \(ValueError: .*Scale mismatches. GT \(48, 40\)"):
        dataset[index_of(dataset, "im3")]


def test_a_missing_key_of_an_lmdb_is_named(folders):
    env = lmdb.open(str(folders / "LR.lmdb"))
    with env.begin(write=True) as transaction:
        transaction.delete(b"im3")
    env.close()
    dataset = dataset_of(folders, "train")
    with pytest.raises(ReadError, match=r"tiny: lq image im3: it is not in the LMDB \("):
        dataset[index_of(dataset, "im3")]


class Failing(Dataset):
    """A data set of somebody else's."""

    def __getitem__(self, index):
        raise KeyError("lq")

    def __len__(self):
        return 3


def test_a_data_set_without_paths():
    with pytest.raises(ReadError, match=r"^other: item 2 cannot be read \(KeyError: 'lq'\)$"):
        NamedReads(Failing(), "other")[2]


def test_all_else_is_the_data_sets(folders):
    dataset = dataset_of(folders)
    assert dataset.opt["name"] == "tiny_val"
    assert len(dataset) == 6
    assert dataset[0].keys() == {"lq", "gt", "lq_path", "gt_path"}
    dataset.dataset.file_client = None
    assert pickle.loads(pickle.dumps(dataset)).opt["name"] == "tiny_val"
    with pytest.raises(AttributeError, match="no_such"):
        dataset.no_such  # noqa: B018
