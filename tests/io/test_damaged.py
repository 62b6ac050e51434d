"""Damaged files of every kind give frames, a mask, or one line; never another error."""

import random
import warnings

import av
import numpy as np
import pytest
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.exports import CocoWriter
from ranet_jax.io.levels import EightBits
from ranet_jax.io.masks import DAVIS_PALETTE, read_mask, write_label_map
from ranet_jax.io.video import Frame, open_frames, read_picture
from tests.io.test_container import write_video

SEEDS = 25
VIDEOS = {
    "a.mp4": {},
    "a.ts": {},
    "a.webm": {"codec": "libvpx-vp9"},
    "a.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "a.gif": {"codec": "gif", "pixels": "rgb8"},
    "a.mkv": {"codec": "ffv1", "pixels": "bgr0"},
}
PICTURES = ("a.png", "a.jpg", "a.tif", "a.webp", "a.avif", "a.bmp", "a.jp2", "a.ppm")
MASKS = ("palette.png", "gray.tif", "a.gif", "a.npy", "a.npz", "a.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for name, form in VIDEOS.items():
        write_video(folder / name, 6, **form)
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    for name in PICTURES:
        Image.fromarray(image).save(folder / f"picture_{name}")
    labels = np.zeros((40, 60), np.uint8)
    labels[4:20, 4:30], labels[25:36, 30:50] = 1, 200
    write_label_map(folder / "mask_palette.png", labels)
    Image.fromarray(labels).save(folder / "mask_gray.tif")
    Image.fromarray(DAVIS_PALETTE[labels]).save(folder / "mask_a.gif")
    np.save(folder / "mask_a.npy", labels)
    np.savez_compressed(folder / "mask_a.npz", labels)
    with CocoWriter(folder / "mask_a.json") as write:
        write(Frame("00000", image), labels)
    return folder


def damaged(content, seed):
    generator = random.Random(seed)
    content = bytearray(content)
    kind = seed % 4
    if kind == 0:
        return bytes(content[: generator.randrange(len(content) + 1)])
    if kind == 1:
        for _ in range(generator.randrange(1, 20)):
            content[generator.randrange(len(content))] = generator.randrange(256)
    elif kind == 2:
        for _ in range(generator.randrange(1, 6)):
            content[generator.randrange(min(len(content), 200))] ^= 1 << generator.randrange(8)
    else:
        start = generator.randrange(len(content))
        end = min(len(content), start + generator.randrange(1, 400))
        content[start:end] = generator.randbytes(end - start)
    return bytes(content)


def read_video(path):
    with open_frames(path) as reader:
        for frame in reader:
            assert frame.image.dtype == np.uint8


READERS = [
    *((name, read_video) for name in VIDEOS),
    *((f"picture_{name}", lambda path: read_picture(path, EightBits())) for name in PICTURES),
    *((f"mask_{name}", lambda path: read_mask(path, (80, 120))) for name in MASKS),
]


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
def test_damage_is_one_line(folder, tmp_path, name, read, capfd):
    whole = (folder / name).read_bytes()
    read(folder / name)
    messages = []
    for seed in range(SEEDS):
        path = tmp_path / name
        path.write_bytes(damaged(whole, seed))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read(path)
            except InputError as error:
                messages.append(str(error).replace(str(path), ""))
    assert messages
    assert not any("\n" in message or len(message) > 300 for message in messages)
    assert capfd.readouterr().out == ""
    assert av.logging.get_level() is None
