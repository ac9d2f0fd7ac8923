"""What a folder holds: images, and what is left out of them, counted and named."""

import pytest
from photos import write_photos

from srkd_plugin.errors import InputError
from srkd_plugin.images.listing import list_folder, say_left_out


@pytest.fixture
def folder(tmp_path):
    """Two images and whatever else lies in folders of photographs."""
    folder = write_photos(tmp_path / "photos", 2)
    for name in (".DS_Store", "._p0.png", "notes.txt", "a.gif", "b.avif", "c.heic"):
        (folder / name).write_bytes(b"")
    (folder / "sub.png").mkdir()
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    return folder


def test_a_folder_is_listed_by_stem(folder):
    listing = list_folder("--gt", folder)
    assert listing.images("--gt") == {"p0": folder / "p0.png", "p1": folder / "p1.png"}
    with pytest.raises(InputError, match=r"--gt = .*no images in it\. Known: "):
        list_folder("--gt", folder / "sub.png").images("--gt")
    with pytest.raises(InputError, match="a file, not a folder"):
        list_folder("--gt", folder / "p0.png")


def test_what_is_left_out_is_counted_and_named(folder, capsys):
    say_left_out([list_folder("--gt", folder)])
    assert capsys.readouterr().err == (
        f"left out of {folder}: 4 file(s) by their extension (a.gif, b.avif, c.heic and 1 more), "
        "2 hidden file(s) (.DS_Store, ._p0.png), 1 subfolder(s) (sub.png), 1 link(s) to nothing (gone.png)\n"
    )
    assert "by their extension" not in list_folder("--gt", folder).left_out(strangers=False)
    say_left_out([list_folder("--gt", write_photos(folder / "clean"))])
    assert capsys.readouterr().err == ""


def test_a_folder_without_images_says_what_it_has(folder):
    for name in ("p0.png", "p1.png"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"there are no images in it \(left out of .*4 file\(s\) by their extension"):
        list_folder("--gt", folder).images("--gt")
