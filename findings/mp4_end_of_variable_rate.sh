#!/bin/bash
# An MP4 of H.264 with B-frames and a varying frame rate says that it is shorter than its frames: its length is counted
# in decoding times, which lag behind the times of display. What goes by the length ends before the last frames are
# shown. Every frame's time stamp is right, and nothing warns.
#
# Seen with PyAV 18.1.0 (FFmpeg 8.1, libx264): seven frames, the last one at 2.04 s and shown for 0.04 s, make a file of
# 0.66 s; without B-frames (bf=0) of 2.08 s. Of a constant rate both are right. Python 3.11, NumPy 2.2.6.
# Fails if either has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 av==18.1.0
cat >"$folder/run.py" <<'PY'
import fractions
import sys

import av
import numpy as np

CLOCK = fractions.Fraction(1, 90000)
VARYING = [0.0, 0.04, 0.08, 0.5, 0.54, 2.0, 2.04]
CONSTANT = [index / 25 for index in range(7)]


def write(seconds, options):
    path = f"{sys.argv[1]}/a.mp4"
    ends = [*seconds[1:], seconds[-1] + 0.04]
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.time_base = CLOCK
        for index, (start, end) in enumerate(zip(seconds, ends)):
            frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(start / CLOCK), CLOCK
            frame.duration = round((end - start) / CLOCK)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(path) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
        assert np.allclose(times, seconds, atol=1e-3), times
        return container.duration / 1e6


for name, seconds, options, expected in (
    ("varying, B-frames", VARYING, {}, 0.66),
    ("varying, none", VARYING, {"bf": "0"}, 2.08),
    ("constant, B-frames", CONSTANT, {}, 0.28),
    ("constant, none", CONSTANT, {"bf": "0"}, 0.28),
):
    length = write(seconds, options)
    print(f"{name}: frames until {seconds[-1] + 0.04:.2f} s in a file of {length:.2f} s")
    assert abs(length - expected) < 0.005, "changed"
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder"
echo "as described"
