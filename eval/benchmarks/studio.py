"""What the studio takes: `python -m eval.benchmarks.studio --frames 2000 --size 1080x1920`.

A video is made of the embedded clip, enlarged and moving, with a place to decode from every ten seconds, as cameras and
encoders leave them at most. `ranet-jax studio` serves it as a process of its own and is asked as the page asks: for
frames far apart (before and after small pictures of all frames are on disk), for clicks, and for a pass over the whole
video, whose memory is read on the way. Its speed is compared with `ranet-jax segment` on the embedded clip, by turns.
The load of the machine is printed with every part.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import av
import cv2
import numpy as np
from websockets.sync.client import connect
from websockets.typing import Origin

from ranet_jax.commands.common import Parser, run
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.video import open_frames

DEMO = pathlib.Path(__file__).parents[2] / "ranet_jax" / "demo"
KEYFRAMES = 240
ANSWERS = 30
"""Frames asked for in every kind."""
PATIENCE = 3600.0
"""Seconds that any one thing may take."""


class Server:
    """`ranet-jax studio` on one video, and one page of it that may change things."""

    def __init__(self, video: pathlib.Path, folder: pathlib.Path, checkpoint: str | None):
        command = [sys.executable, "-m", "ranet_jax.cli", "studio", str(video), "--out", str(folder / "project")]
        command += ["--no-browser", *(["--checkpoint", checkpoint] if checkpoint else [])]
        environment = os.environ | {"XDG_DATA_HOME": str(folder)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        if found is None:
            raise RuntimeError("the studio did not start")
        address = urlsplit(found[0])
        self._path, self._origin = address.path, Origin(f"http://{address.netloc}")
        self._connection = http.client.HTTPConnection(address.netloc, timeout=PATIENCE)
        live = f"ws://{address.netloc}{address.path}api/live"
        self._socket = connect(live, origin=self._origin, max_size=None)
        self._page = self.message("hello")["page"]

    def message(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these kinds."""
        while True:
            content = self._socket.recv(PATIENCE)
            if isinstance(content, bytes):
                (length,) = struct.unpack(">I", content[:4])
                content = content[4 : 4 + length].decode()
            found = json.loads(content)
            if found["type"] in kinds:
                return dict(found)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[bytes, float]:
        """The answer, and the seconds it took.

        Raises:
            RuntimeError: the studio refuses.
        """
        content = json.dumps(body) if isinstance(body, dict) else body
        start = time.perf_counter()
        self._connection.request(method, self._path + path, content, {"x-page": self._page, "origin": self._origin})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise RuntimeError(answer.decode())
        return answer, time.perf_counter() - start

    def resident(self) -> float:
        """MiB of memory that the process holds; 0 where the system does not tell."""
        with contextlib.suppress(OSError):
            found = re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())
            return int(found[1]) / 1024 if found else 0.0
        return 0.0

    def close(self) -> None:
        """Ends the process."""
        self._socket.close()
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def served(video: pathlib.Path, checkpoint: str | None) -> Iterator[Server]:
    """A server with a project of its own, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(video, pathlib.Path(folder), checkpoint)
        try:
            yield server
        finally:
            server.close()


def make_video(path: pathlib.Path, frames: int, size: tuple[int, int]) -> np.ndarray:
    """Writes the embedded clip, to and fro, enlarged and moved a little with every frame; the first frame's mask."""
    with open_frames(str(DEMO / "bunny.mp4")) as reader:
        images = [frame.image for frame in reader]
    images += images[-2:0:-1]
    height, width = size
    larger = (width + 64, height + 64)
    with av.open(str(path), "w") as container:
        options = {"g": str(KEYFRAMES), "keyint_min": str(KEYFRAMES), "sc_threshold": "0", "preset": "ultrafast"}
        stream: Any = container.add_stream("libx264", rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            top, left = (number // 2) % 64, number % 64
            image = cv2.resize(images[number % len(images)], larger)[top : top + height, left : left + width]
            shown: np.ndarray = np.ascontiguousarray(image)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode(None))
    mask = cv2.resize(read_label_map(DEMO / "bunny_mask.png"), larger, interpolation=cv2.INTER_NEAREST)
    return np.asarray(mask[:height, :width], np.uint8)


def report(what: str, seconds: Sequence[float]) -> None:
    """Prints median and longest of some answers."""
    median, longest = 1e3 * statistics.median(seconds), 1e3 * max(seconds)
    print(f"{what:44s} median {median:6.0f} ms, longest {longest:6.0f} ms   load {os.getloadavg()[0]:.1f}", flush=True)


def measure_scrubbing(server: Server, frames: int) -> None:
    """Frames far from each other, each with its mask, as the page asks for them."""
    rng = np.random.default_rng(0)
    far = rng.permutation(np.arange(0, frames, max(1, frames // ANSWERS)))
    both = lambda i, query: server.ask("GET", f"api/frame/{i}{query}")[1] + server.ask("GET", f"api/labels/{i}")[1]
    report("a far frame, exact", [both(i, "?exact=1") for i in far[::3]])
    folder = pathlib.Path(json.loads(server.ask("GET", "api/state")[0])["project"]["folder"])
    start = time.perf_counter()
    while len(list((folder / "cache").glob("*.jpg"))) < frames:
        time.sleep(1.0)
        if time.perf_counter() - start > PATIENCE or not (folder / "cache").exists():
            break  # where every frame is decoded quickly there are none
    report("a far frame, once small pictures are there", [both(i, "") for i in far])


def measure_clicks(server: Server, mask: np.ndarray) -> None:
    """Clicks of one object, on it and off it by turns, each with all before it."""
    server.ask("POST", "api/objects", {})
    report("encoding a frame, compiling included", [server.ask("POST", "api/encode/0")[1]])
    report("encoding another", [server.ask("POST", f"api/encode/{i}")[1] for i in (1, 2, 3)])
    server.ask("POST", "api/encode/0")
    rng, seconds = np.random.default_rng(0), []
    points: dict[bool, list[list[float]]] = {True: [], False: []}
    for number in range(10):
        inside = number % 2 == 0
        y, x = rng.permutation(np.argwhere((mask > 0) == inside))[0]
        points[inside].append([float(x), float(y)])
        values = {"frame": 0, "object": 1, "positives": points[True], "negatives": points[False]}
        seconds.append(server.ask("POST", "api/click", values)[1])
    report("a click", seconds)


def measure_pass(server: Server, mask: np.ndarray, frames: int) -> None:
    """Tracks the whole video, and reads the memory on the way."""
    server.ask("PUT", "api/labels/0", zlib.compress(np.minimum(mask, 1).tobytes(), 1))
    server.ask("POST", "api/track", {"direction": "forward", "start": 0, "end": frames - 1})
    print("frame  resident MiB  frames/s lately")
    while (message := server.message("frame", "ended"))["type"] == "frame":
        if message["done"] in (100, frames) or message["done"] % 500 == 0:
            speed = message["framesPerSecond"] or 0.0
            print(f"{message['done']:5d}  {server.resident():12.0f}  {speed:15.2f}", flush=True)
    if not message["finished"]:
        raise RuntimeError(message.get("error", "tracking was stopped"))


def measure_speed(checkpoint: str | None, repeats: int) -> None:
    """`segment` and the studio by turns over the embedded clip, both from compiled programs on disk."""
    mask, video = read_label_map(DEMO / "bunny_mask.png"), DEMO / "bunny.mp4"
    times: dict[str, list[float]] = {"segment": [], "studio": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "ranet_jax.cli", "segment", str(video), "--out", f"{folder}/masks"]
            command += ["--mask", str(DEMO / "bunny_mask.png"), *(["--checkpoint", checkpoint] if checkpoint else [])]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = re.search(r"median (\d+) ms/frame", said)
        assert found, said
        times["segment"].append(int(found[1]) / 1e3)
        with served(video, checkpoint) as server:
            for _ in np.unique(mask[mask > 0]):
                server.ask("POST", "api/objects", {})
            server.ask("PUT", "api/labels/0", zlib.compress(mask.tobytes(), 1))
            server.ask("POST", "api/track", {"direction": "forward", "start": 0, "end": 59})
            moments = []
            while server.message("frame", "ended")["type"] == "frame":
                moments.append(time.perf_counter())
            times["studio"].append(statistics.median(np.diff(moments[1:]).tolist()))
    for name, seconds in times.items():
        report(f"a frame of the embedded clip, {name}", seconds)
    ratio = statistics.median(b / a for a, b in zip(times["segment"], times["studio"], strict=True))
    print(f"the studio takes {ratio:.2f} of segment's time")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.benchmarks.studio", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2000, help="length of the video (default 2000)")
    parser.add_argument("--size", default="1080x1920", help="height and width of its frames (default 1080x1920)")
    parser.add_argument("--checkpoint", help="embedded name or checkpoint folder (default: the shipped one)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of segment and the studio (default 3; 0: none)")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _benchmark(options), debug=options.debug)


def _benchmark(options: argparse.Namespace) -> None:
    height, width = (int(side) // 2 * 2 for side in options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        video = pathlib.Path(folder) / "video.mp4"
        mask = make_video(video, options.frames, (height, width))
        print(f"{options.frames} frames of {height}x{width}, a place to decode from every {KEYFRAMES}", flush=True)
        with served(video, options.checkpoint) as server:
            measure_scrubbing(server, options.frames)
            measure_clicks(server, mask)
            measure_pass(server, mask, options.frames)
    if options.repeats:
        measure_speed(options.checkpoint, options.repeats)


if __name__ == "__main__":
    sys.exit(main())
