"""Any frame by its number is the frame that reading from the start gives."""

import av
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.levels import EightBits
from ranet_jax.io.video import open_frames
from ranet_jax.studio import frames as studio_frames
from ranet_jax.studio.frames import FrameStore, _Decoder

from .conftest import FRAMES, SIZE, write_video


@pytest.fixture(scope="module")
def sequential(clip):
    with open_frames(clip) as reader:
        return list(reader)


def test_a_video_is_what_reading_it_gives(clip, sequential):
    store = FrameStore(clip)
    assert (len(store), store.size, store.frames_per_second) == (FRAMES, SIZE, 20.0)
    assert store.names == [frame.name for frame in sequential]
    for found, wanted in zip(store.run(0, len(store)), sequential, strict=True):
        assert (found.image == wanted.image).all()
        assert found.seconds == pytest.approx(wanted.seconds)


def test_any_order_gives_the_same_frames(clip, sequential):
    store = FrameStore(clip)
    for index in (39, 0, 13, 12, 11, 25, 26, 24, 1, 38):
        assert (store.image(index) == sequential[index].image).all(), index


def test_backward_in_several_chunks(clip, sequential, monkeypatch):
    monkeypatch.setattr(studio_frames, "CHUNK_BYTES", 7 * SIZE[0] * SIZE[1] * 3)
    found = list(FrameStore(clip).run(30, 4, -1))
    assert [frame.name for frame in found] == [f"{index:05d}" for index in range(30, 4, -1)]
    assert all((frame.image == sequential[int(frame.name)].image).all() for frame in found)


def test_decoded_frames_are_bounded(clip, monkeypatch):
    monkeypatch.setattr(studio_frames, "CACHE_BYTES", 4 * SIZE[0] * SIZE[1] * 3)
    store = FrameStore(clip)
    for index in range(20):
        store.image(index)
    assert len(store._cache) == 4


def test_a_video_of_ten_bits_is_scaled_as_when_it_is_segmented(tmp_path):
    path = tmp_path / "heat.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "gray10le"
        for index in range(3):
            values = (300 + 40 * index + np.arange(SIZE[1], dtype=np.uint16)) * np.ones((SIZE[0], 1), np.uint16)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray10le")))
        container.mux(stream.encode(None))
    with open_frames(path) as reader:
        wanted = [frame.image for frame in reader]
    assert wanted[0].min() == 0, "few of the values that there could be: scaled by the first frame's"
    store = FrameStore(path)
    for index in (2, 0, 1):
        assert (store.image(index) == wanted[index]).all()


def test_a_folder(tmp_path, sequential):
    from PIL import Image

    for index in (2, 10, 1):
        Image.fromarray(sequential[index].image).save(tmp_path / f"shot{index}.png")
    store = FrameStore(tmp_path)
    assert store.names == ["shot1", "shot2", "shot10"]
    assert [frame.name for frame in store.run(2, -1, -1)] == ["shot10", "shot2", "shot1"]
    assert (store.image(2) == sequential[10].image).all()


def test_a_cut_video_ends_with_a_message(tmp_path):
    path = tmp_path / "cut.mkv"
    write_video(path)
    path.write_bytes(path.read_bytes()[:-2000])
    store = FrameStore(path)
    assert 0 < len(store) <= FRAMES
    whole = list(store.run(0, 10))
    assert len(whole) == 10
    # What is announced and cannot be decoded is named when it is asked for.
    store.names.append("beyond")
    with pytest.raises(InputError, match=r"cut\.mkv"):
        index = store._source._index._replace(times=[*store._source._index.times, 10**9])
        _Decoder(path, index, 0, EightBits()).take(len(store) - 1)


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "wrong.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"wrong\.mp4"):
        FrameStore(path)


def test_jpegs_are_made_smaller():
    import cv2

    image = np.zeros((100, 300, 3), np.uint8)
    decoded = cv2.imdecode(np.frombuffer(studio_frames.encode_jpeg(image, longest=150), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (50, 150, 3)


def test_a_thumbnail_waits_for_no_long_decoding(clip, sequential, tmp_path, monkeypatch):
    import cv2

    from ranet_jax.studio.pictures import Pictures

    store, decoded = FrameStore(clip), []
    pictures = Pictures(store, tmp_path)
    assert store.quick_neighbour(30) == 30
    monkeypatch.setattr(studio_frames, "DECODED_PIXELS_PER_SECOND", 1000.0)  # a slow machine
    decode = store._source.image
    monkeypatch.setattr(store._source, "image", lambda index: decoded.append(index) or decode(index))
    assert (store.quick_neighbour(30), store.quick_neighbour(24)) == (24, 24), "a place to decode from every twelve"
    shown = cv2.imdecode(np.frombuffer(pictures.thumbnail(30), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert decoded == [24]
    assert np.abs(shown.astype(int) - sequential[24].image).mean() < 10
