"""Each trap of LMDB and of BasicSR's use of it."""

from __future__ import annotations

import multiprocessing
import os
import pickle

import lmdb
import numpy as np
import pytest
from basicsr.data.data_util import paired_paths_from_lmdb
from basicsr.utils import FileClient, imfrombytes
from photos import photo

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault, encode_png
from srkd_plugin.images.lmdb_check import find_lmdb_faults
from srkd_plugin.images.lmdb_store import FIRST_MAP_SIZE, LmdbImages, LmdbWriter, check_key


def write(folder, count=4, size=32):
    with LmdbWriter(folder) as writer:
        writer.put((f"p{number}", encode_png(photo(number, size, size))) for number in range(count))
        writer.finish(1)
    return folder


@pytest.fixture
def store(tmp_path):
    return write(tmp_path / "a.lmdb")


def test_basicsr_reads_it(store, tmp_path):
    other = write(tmp_path / "b.lmdb")
    assert (store / "meta_info.txt").read_text().splitlines()[0] == "p0.png (32,32,3) 1"
    paths = paired_paths_from_lmdb([str(store), str(other)], ["lq", "gt"])
    assert [path["lq_path"] for path in paths] == ["p0", "p1", "p2", "p3"]
    client = FileClient("lmdb", db_paths=[str(store)], client_keys=["lq"])
    image = imfrombytes(client.get("p2", "lq"))
    np.testing.assert_array_equal(image, photo(2, 32, 32))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("img.v2", "first dot"),
        ("été", "ASCII"),
        ("a\nb", "printable"),
        ("", "1 to 511"),
        ("k" * 512, "512"),
    ],
)
def test_keys_that_basicsr_would_lose_are_refused(key, words, tmp_path):
    with pytest.raises(InputError, match=words):
        check_key(key)
    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        with pytest.raises(InputError, match=words):
            writer.put([("good", b""), (key, b"")])
        assert writer.finish(1) == {}, "nothing of a refused batch is written"


def test_a_tiny_first_image_does_not_limit_the_size(tmp_path):
    large = os.urandom(FIRST_MAP_SIZE // 2)  # twice this does not fit the first map
    header = encode_png(photo(0, 8, 8))[:26]
    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        writer.put([("p0", encode_png(photo(0, 8, 8)))])
        for number in (1, 2, 3):
            writer.put([(f"p{number}", header + large)])
        assert list(writer.finish(1)) == ["p0", "p1", "p2", "p3"]
    assert LmdbImages("--hr", tmp_path / "a.lmdb").read("p3") == header + large


def test_it_can_be_continued(tmp_path):
    for number in (0, 1):
        with LmdbWriter(tmp_path / "a.lmdb") as writer:
            writer.put([(f"p{number}", encode_png(photo(number)))])
    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        writer.finish(1)
    assert LmdbImages("--hr", tmp_path / "a.lmdb").keys() == ["p0", "p1"]


def test_an_unfinished_one_is_refused(tmp_path):
    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        writer.put([("p0", encode_png(photo(0)))])
    with pytest.raises(InputError, match="was not finished"):
        LmdbImages("--hr", tmp_path / "a.lmdb")


def test_one_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--hr = .*no such folder"):
        LmdbImages("--hr", tmp_path / "a.lmdb")


def test_a_cut_off_data_file_is_refused(store):
    with open(store / "data.mdb", "r+b") as file:
        file.truncate((store / "data.mdb").stat().st_size - 4096)
    with pytest.raises(InputError, match=r"data\.mdb is cut off"):
        LmdbImages("--hr", store)


def test_garbage_is_refused(store):
    (store / "data.mdb").write_bytes(os.urandom(20000))
    with pytest.raises(InputError, match="LMDB cannot open it"):
        LmdbImages("--hr", store)


def test_a_damaged_page_is_found(store):
    """Every page but the two meta pages, one after the other, as overwritten by a bad disk."""
    whole = (store / "data.mdb").read_bytes()
    pages = len(whole) // 4096
    for page in (2, pages // 2, pages - 1):
        damaged = bytearray(whole)
        damaged[page * 4096 + 16 : page * 4096 + 600] = b"\xa5" * 584
        (store / "data.mdb").write_bytes(damaged)
        try:
            faults = find_lmdb_faults("--hr", store, 1)
        except InputError as error:
            assert "damaged" in str(error)
        else:
            assert faults, f"page {page}"


def test_meta_info_and_keys_must_agree(store):
    meta = store / "meta_info.txt"
    lines = meta.read_text().splitlines(keepends=True)
    meta.write_text("".join(lines[:-1]) + "p9.png (32,32,3) 1\n")
    faults = [str(fault) for fault in find_lmdb_faults("--hr", store, 1)]
    assert faults[:2] == ["meta_info.txt: lacks p3, which data.mdb has", "data.mdb: lacks p9, which meta_info.txt has"]


def test_meta_info_and_sizes_must_agree(store):
    meta = store / "meta_info.txt"
    meta.write_text(meta.read_text().replace("p1.png (32,32,3)", "p1.png (32,30,3)"))
    (fault,) = find_lmdb_faults("--hr", store, 1)
    assert fault.name == "p1"
    assert "(32, 32, 3)" in fault.problem


@pytest.mark.parametrize(
    "line", ["p.1.png (32,32,3) 1\n", "p1 (32,32,3) 1\n", "p1.png 32x32\n", "p0.png (32,32,3) 1\n"]
)
def test_bad_lines_of_meta_info_are_refused(store, line):
    with open(store / "meta_info.txt", "a") as file:
        file.write(line)
    with pytest.raises(InputError, match=r"line 5|p0 twice"):
        LmdbImages("--hr", store)


def test_a_missing_key_has_a_name(store):
    with pytest.raises(ImageFault, match="not in the LMDB"):
        LmdbImages("--hr", store).read("p7")


def _read_in_child(images, expected):
    os._exit(0 if images.read("p1") == expected else 1)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_it_may_be_opened_before_a_fork(store):
    images = LmdbImages("--hr", store)
    expected = images.read("p1")
    child = multiprocessing.get_context("fork").Process(target=_read_in_child, args=(images, expected))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert images.read("p1") == expected


def test_it_can_be_sent_to_workers_and_opened_twice(store):
    images = pickle.loads(pickle.dumps(LmdbImages("--hr", store)))
    assert LmdbImages("--hr", store).keys() == images.keys()
    assert find_lmdb_faults("--hr", store, 3) == []


def test_one_that_the_process_holds_open_elsewhere_is_named(store):
    images = LmdbImages("--hr", store)
    env = lmdb.open(str(store), readonly=True, lock=False)
    with pytest.raises(InputError, match="already open"):
        images.read("p0")
    env.close()
    assert images.read("p0")
