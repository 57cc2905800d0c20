"""Images of every kind become RGB; bad ones are told by name; sizes, arrays, and features kept on disk."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from unrolled.data import images
from unrolled.data.image_arrays import FeatureArrays, ImageArrays
from unrolled.data.image_sets import Features, Pictures, cached_features
from unrolled.data.images import ImageError, fit, from_array, read_image
from unrolled.errors import UserError


@pytest.fixture
def save(tmp_path):
    def put(image, name, **options):
        path = tmp_path / name
        image.save(path, **options)
        return path

    return put


def red(mode="RGB", size=(6, 4)):
    return Image.new("RGB", size, (200, 30, 10)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "name"), [("RGB", "a.png"), ("L", "a.png"), ("1", "a.png"), ("P", "a.gif"), ("LA", "a.png"),
                       ("RGBA", "a.png"), ("RGB", "a.bmp"), ("YCbCr", "a.jpg"), ("CMYK", "a.jpg"), ("CMYK", "a.tif"),
                       ("LAB", "a.tif"), ("HSV", "b.tif")],
)  # fmt: skip
def test_any_mode_becomes_rgb(save, mode, name):
    if mode == "HSV":
        path = save(red("RGB"), name)
    elif mode == "LAB":
        path = save(Image.new("LAB", (6, 4), (120, 150, 140)), name)
    else:
        path = save(red(mode), name)
    pixels, done = read_image(path)
    assert pixels.shape == (4, 6, 3)
    assert pixels.dtype == np.uint8
    assert (images.CMYK in done) == (mode == "CMYK")
    if mode in ("RGB", "P", "RGBA", "CMYK"):
        assert np.abs(pixels.astype(int) - (200, 30, 10)).max() < 45


def test_sixteen_bits_are_cut_to_eight(save):
    deep = np.array([[0, 257, 65535], [32768, 514, 128]], np.uint16)
    pixels, done = read_image(save(Image.fromarray(deep), "deep.png"))
    assert done == [images.DEEP]
    assert pixels[..., 0].tolist() == [[0, 1, 255], [128, 2, 0]]
    floats = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
    assert read_image(save(floats, "f.tif"))[0][0, :, 0].tolist() == [0, 128, 255]
    wild = Image.fromarray(np.array([[0.0, -3.0]], np.float32))
    with pytest.raises(ImageError, match="values from -3"):
        read_image(save(wild, "wild.tif"))


def test_the_first_frame_of_an_animation_is_taken_and_said(save):
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue", "lime")]
    path = save(frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    pixels, done = read_image(path)
    assert done == [images.FRAMES]
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_turns_the_picture(save):
    picture = Image.new("RGB", (6, 4), "white")
    picture.putpixel((0, 0), (0, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned clockwise for viewing
    pixels, done = read_image(save(picture, "turned.png", exif=exif))
    assert done == [images.TURNED]
    assert pixels.shape == (6, 4, 3)
    assert pixels[0, 3].tolist() == [0, 0, 0]


def test_transparency_lies_on_white(save):
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (255, 0, 0, 128))
    pixels, done = read_image(save(picture, "clear.png"))
    assert done == [images.CLEAR]
    assert pixels[0].tolist() == [[255, 255, 255], [255, 127, 127]]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.putpixel((1, 0), 1)
    pixels, _ = read_image(save(palette, "palette.png", transparency=0))
    assert pixels[0].tolist() == [[255, 255, 255], [200, 0, 0]]


def test_enormous_images_are_refused_from_their_header(save, monkeypatch):
    path = save(Image.new("1", (4000, 3000)), "large.png")
    assert read_image(path)[0].shape == (3000, 4000, 3)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("unpacked"))
    with pytest.raises(ImageError, match=r"large.png: 4000 x 3000 pixels, above the limit of 10 megapixels"):
        read_image(path, megapixels=10)


def test_a_bomb_is_refused_whatever_the_limit(save, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = save(Image.new("1", (40, 30)), "bomb.png")
    with pytest.raises(ImageError, match="enormous"):
        read_image(path, megapixels=1e9)


def test_large_jpegs_are_unpacked_smaller(save):
    path = save(red(size=(1600, 1200)), "photo.jpg")
    pixels, _ = read_image(path, size=64)
    assert pixels.shape == (150, 200, 3)


def test_bad_files_are_told_by_name(tmp_path, save):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)).save(whole, "PNG")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:2000])
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 50)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not an image")
    for name in ("cut.png", "cut.jpg", "empty.jpg", "text.jpg", "nowhere.jpg"):
        with pytest.raises(ImageError, match=name) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError):
        read_image(tmp_path)


def test_pictures_are_made_the_size_asked_for():
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200
    assert fit(wide, 4, "crop").tolist() == np.full((4, 4, 3), 200).tolist()
    assert fit(wide, 8, "stretch").shape == (8, 8, 3)
    padded = fit(wide, 8, "pad")
    assert padded[:2].min() == padded[6:].min() == 255
    assert np.array_equal(padded[2:6], wide)
    assert fit(wide, 100, "keep") is wide
    assert fit(wide, 4, "keep").shape == (2, 4, 3)


def test_arrays_of_images(tmp_path):
    rng = np.random.default_rng(0)
    same = rng.integers(0, 255, (3, 4, 5, 3), np.uint8)
    np.savez(tmp_path / "same.npz", images=same, ids=[5, 6, 7])
    found = ImageArrays(tmp_path / "same.npz")
    assert (len(found), found.names) == (3, ["5", "6", "7"])
    assert np.array_equal(found[1], same[1])
    np.save(tmp_path / "grey.npy", same[..., 0])
    assert np.array_equal(ImageArrays(tmp_path / "grey.npy")[2][..., 1], same[2, ..., 0])
    np.save(tmp_path / "floats.npy", same / 255.0)
    assert np.array_equal(ImageArrays(tmp_path / "floats.npy")[0], same[0])
    one, other = same[0, :2, :, 0], same[1, ..., 1]
    np.savez(tmp_path / "ragged.npz", pixels=np.concatenate([one.ravel(), other.ravel()]),
             height=np.array([2, 4]), width=np.array([5, 5]))  # fmt: skip
    found = ImageArrays(tmp_path / "ragged.npz")
    assert np.array_equal(found[0][..., 2], one)
    assert np.array_equal(found[1][..., 0], other)
    np.savez(tmp_path / "named.npz", **{"a.png": same[0], "b.png": same[1, :2]})
    assert ImageArrays(tmp_path / "named.npz").names == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [({"pixels": np.zeros(9, np.uint8)}, "height"),
     ({"pixels": np.zeros(9, np.uint8), "height": np.array([4]), "width": np.array([4])}, "cut short"),
     ({"images": np.zeros((2, 3), np.uint8)}, r"shape \(2, 3\)"),
     ({"images": np.zeros((2, 3, 3), np.uint8), "ids": np.zeros(3)}, "3 names for 2 images"),
     ({"images": np.array([{}, {}])}, "Python objects")],
)  # fmt: skip
def test_bad_arrays_are_told(tmp_path, arrays, said):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=said):
        ImageArrays(tmp_path / "bad.npz")


def test_arrays_that_are_no_images():
    with pytest.raises(ImageError, match="values from nan"):
        from_array(np.array([[0.5, np.nan]]), "x")
    with pytest.raises(ImageError, match="shape"):
        from_array(np.zeros((2, 2, 5), np.uint8), "x")
    with pytest.raises(ImageError, match="from 0 to 300"):
        from_array(np.array([[0, 300]], np.int64), "x")


def test_features_of_every_form(tmp_path):
    grid = np.arange(2 * 2 * 3 * 4, dtype=np.float32).reshape(2, 2, 3, 4)
    np.save(tmp_path / "grid.npy", grid)
    found = FeatureArrays(tmp_path / "grid.npy")
    assert (found.grid, found.width, len(found)) == ((2, 3), 4, 2)
    assert np.array_equal(found[1], grid[1].reshape(6, 4))
    np.save(tmp_path / "flat.npy", grid[:, 0, 0])
    assert FeatureArrays(tmp_path / "flat.npy")[0].shape == (1, 4)
    np.savez(tmp_path / "ragged.npz", features=grid.reshape(-1, 4)[:5], lengths=[2, 3], names=["a", "b"])
    found = FeatureArrays(tmp_path / "ragged.npz")
    assert [len(found[k]) for k in range(2)] == [2, 3]
    assert found.names == ["a", "b"]
    np.save(tmp_path / "bad.npy", np.full((2, 3), np.inf))
    with pytest.raises(UserError, match="NaN or infinity"):
        FeatureArrays(tmp_path / "bad.npy")
    np.savez(tmp_path / "off.npz", features=grid.reshape(-1, 4)[:5], lengths=[2, 2])
    with pytest.raises(UserError, match="do not add up"):
        FeatureArrays(tmp_path / "off.npz")


def test_features_in_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["features"] = np.ones((2, 3, 4), np.float32)
        file["names"] = np.array([b"a.jpg", b"b.jpg"])
    found = FeatureArrays(tmp_path / "f.h5")
    assert (found.names, found[1].shape) == (["a.jpg", "b.jpg"], (3, 4))


def test_hdf5_without_h5py_is_said(tmp_path, monkeypatch):
    (tmp_path / "f.h5").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match="pip install h5py"):
        FeatureArrays(tmp_path / "f.h5")


def test_pictures_of_different_sizes_are_padded_with_white():
    one, other = np.zeros((2, 3, 3), np.uint8), np.ones((4, 1, 3), np.uint8)
    batch = Pictures([one, other]).batch([1, 0])
    assert batch.pixels.shape == (2, 4, 3, 3)
    assert batch.sizes.tolist() == [[4, 1], [2, 3]]
    assert batch.pixels[1, 2:].min() == 255
    assert Pictures([one, one]).batch([1]).sizes is None
    assert Pictures([one, other]).digest() != Pictures([other, one]).digest()


def test_features_are_computed_once_for_each_picture_and_encoder(tmp_path):
    pictures = Pictures([np.full((2, 2, 3), k % 2, np.uint8) for k in range(5)])
    asked = []

    def compute(some):
        asked.append(len(some))
        return [np.full((1, 2), p.mean(), np.float32) for p in some]

    found, computed = cached_features(pictures, "one", compute, folder=tmp_path)
    assert (computed, asked) == (2, [2])
    assert [f[0, 0] for f in found] == [0, 1, 0, 1, 0]
    assert cached_features(pictures, "one", compute, folder=tmp_path)[1] == 0
    assert cached_features(pictures, "two", compute, folder=tmp_path)[1] == 2
    damaged = sorted((tmp_path / "features").rglob("*.npy"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-3])
    cached_features(pictures, "one", compute, folder=tmp_path)
    cached_features(pictures, "two", compute, folder=tmp_path)
    assert asked == [2, 2, 1]
    assert Features(found).batch([0, 1]).values.shape == (1, 2, 2)
