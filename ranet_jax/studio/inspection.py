"""Files from the page are decoded here first, in a process of their own: what a damaged one does, it does to that.

    python -m ranet_jax.studio.inspection video|mask PATH [OUT]

prints one line of JSON: what the file holds, or what is wrong with it. The label map of a mask is left in OUT.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ranet_jax.errors import InputError

MOST_PIXELS = 8192 * 4608
MOST_FRAMES = 200_000
MOST_VIDEO_BYTES = 8 * 1024**3
MOST_MASK_BYTES = 64 * 1024**2
SECONDS = 120
MEMORY_BYTES = 4 * 1024**3


def inspect_video(path: Path) -> dict[str, Any]:
    """Size and number of frames of a video, of which the first and the last are decoded.

    Raises:
        InputError: it is damaged, too large, or no video.
    """
    answer = _run("video", path)
    return {"frames": int(answer["frames"]), "size": tuple(answer["size"])}


def inspect_mask(path: Path) -> np.ndarray:
    """The label map of a mask file, uint8 (height, width).

    Raises:
        InputError: it is damaged, too large, or no mask.
    """
    out = path.with_suffix(".npy")
    try:
        _run("mask", path, out)
        labels = np.load(out, allow_pickle=False)
    finally:
        out.unlink(missing_ok=True)
    return labels


def _run(kind: str, path: Path, *more: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "ranet_jax.studio.inspection", kind, str(path), *map(str, more)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        answer = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise InputError("this file cannot be decoded: it is damaged, or not what its name says") from error
    if "error" in answer:
        raise InputError(answer["error"])
    return answer


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _video(path: Path) -> dict[str, Any]:
    from ranet_jax.studio.frames import FrameStore

    frames = FrameStore(path)
    height, width = frames.size
    if height * width > MOST_PIXELS:
        raise InputError(f"the video is {width}x{height}: {MOST_PIXELS} pixels a frame are the most; scale it down")
    if len(frames) > MOST_FRAMES:
        raise InputError(f"the video has {len(frames)} frames and {MOST_FRAMES} is the most: cut it into parts")
    frames.image(len(frames) - 1)
    return {"frames": len(frames), "size": [height, width]}


def _mask(path: Path, out: Path) -> dict[str, Any]:
    from PIL import Image

    from ranet_jax.io.masks import read_label_map

    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError("this mask cannot be read: give an undamaged PNG") from error
    if height * width > MOST_PIXELS:
        raise InputError(f"the mask is {width}x{height}: give one of the video's size")
    labels = read_label_map(path)
    np.save(out, labels)
    return {"size": list(labels.shape)}


def main(arguments: list[str]) -> None:
    """What the process does."""
    _limit_memory()
    kind, path, *more = arguments
    try:
        answer = _video(Path(path)) if kind == "video" else _mask(Path(path), Path(more[0]))
    except InputError as error:
        # The name that the file has here is not the user's.
        answer = {"error": str(error).replace(str(path), "this file")}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
