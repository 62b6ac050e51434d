#!/bin/bash
# PyAV up to 16.1 converts every video to RGB by the matrix of BT.601, whatever the file says; 17.0 and later read the
# file's own. A video of HD cameras, tagged BT.709, loses about 15 of 255 levels in pure red, without a warning; what
# was measured or trained on frames of one version does not fit the other.
#
# Seen: PyAV 16.1.0 reads (200, 30, 30) back as about (185, 11, 31), PyAV 17.0.0 as (200, 30, 30), from the same file.
# Python 3.11 or later, NumPy 2.2.6. Fails if either has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 av==17.0.0
cat >"$folder/write.py" <<'PY'
import sys

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

image = np.full((64, 64, 3), (200, 30, 30), np.uint8)
with av.open(sys.argv[1], "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
    stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    context.color_range = 1  # limited
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
PY
cat >"$folder/read.py" <<'PY'
import sys

import av
import numpy as np

with av.open(sys.argv[1]) as container:
    frame = next(container.decode(video=0))
assert frame.colorspace == 1, frame.colorspace  # the file says BT.709, and PyAV knows
red = frame.to_ndarray(format="rgb24")[32, 32].astype(int)
print(av.__version__, red)
expected = [int(value) for value in sys.argv[2:]]
assert np.abs(red - expected).max() <= 4, "changed"
PY
python="$folder/venv/bin/python"
"$python" "$folder/write.py" "$folder/red.mp4"
"$python" "$folder/read.py" "$folder/red.mp4" 200 30 30
"$folder/venv/bin/pip" install --quiet av==16.1.0
"$python" "$folder/read.py" "$folder/red.mp4" 185 11 31
echo "as described"
