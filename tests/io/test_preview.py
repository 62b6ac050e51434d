import numpy as np
import pytest
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.preview import PreviewSheet
from ranet_jax.io.video import Frame


def sheet_of(path, count, size=(90, 160)):
    """Frames that are as bright as they are late, with a mask on the left."""
    labels = np.zeros(size, np.uint8)
    labels[size[0] // 4 : -size[0] // 4, : size[1] // 4] = 1
    with PreviewSheet(path) as preview:
        for index in range(count):
            preview(
                Frame(f"{index:05d}", np.full((*size, 3), 50 + round(150 * index / max(1, count - 1)), np.uint8)),
                labels,
            )
    return np.array(Image.open(path))


def cells(sheet, size):
    height, width = size[0] + 4, size[1] + 4
    rows, columns = sheet.shape[0] // height, sheet.shape[1] // width
    return [
        sheet[4 + r * height : (r + 1) * height, 4 + c * width : (c + 1) * width]
        for r in range(rows)
        for c in range(columns)
    ]


@pytest.mark.parametrize("count", [12, 13, 97, 500, 2000])
def test_twelve_frames_are_spread_evenly(tmp_path, count):
    size = (90, 160)
    pictures = cells(sheet_of(tmp_path / "a.png", count), size)
    assert len(pictures) == 12
    brightness = [int(picture[20, 120, 0]) for picture in pictures]
    np.testing.assert_allclose(brightness, np.linspace(50, 200, 12), atol=7)
    assert all((picture[45, 10] != picture[45, 100]).any() for picture in pictures)  # the mask is drawn


def test_short_and_upright_videos(tmp_path):
    assert len(cells(sheet_of(tmp_path / "a.png", 3), (90, 160))) == 3
    assert sheet_of(tmp_path / "b.png", 1).shape == (98, 168, 3)
    assert sheet_of(tmp_path / "c.png", 12, (160, 90)).shape == (2 * 164 + 4, 6 * 94 + 4, 3)
    assert sheet_of(tmp_path / "d.jpg", 12, (480, 854)).shape == (3 * 184 + 4, 4 * 324 + 4, 3)


def test_where_it_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"must be one of \.png, \.jpg"):
        PreviewSheet(tmp_path / "a.mp4")
    with PreviewSheet(tmp_path / "a.png"):
        pass
    assert list(tmp_path.iterdir()) == []
