#!/bin/sh
# vos-benchmark 0.1.0 scores 255 in annotations (void in DAVIS) as one more object, which no result ever finds.
#
# Seen with Python 3.11, numpy 2.4.6, pillow 12.3.0, opencv-python 5.0.0.93, scikit-image 0.26.0. One object, predicted
# exactly, with a border of void around it:
#     J&F of the data set: 50.0; of object 1: 100.0; of "object" 255: 0.0
# Expected from the habit of DAVIS's own program (void is background, or left out): 100.0. Use: replace 255 by 0 in a copy
# of the annotations before scoring.
#
# Exits 0 while this is so, 1 once it is not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check vos-benchmark==0.1.0 numpy==2.4.6 pillow==12.3.0 \
    opencv-python==5.0.0.93 scikit-image==0.26.0
cat > "$folder/check.py" <<'PYTHON'
import pathlib
import sys

import numpy as np
from PIL import Image
from vos_benchmark.benchmark import benchmark


def save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette(bytes(range(256)) * 3)
    image.save(path)


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    for index in range(5):
        truth, prediction = np.zeros((2, 40, 60), np.uint8)
        truth[8:24, 8:24] = 255
        truth[10:22, 10:22] = prediction[10:22, 10:22] = 1
        save(root / "truth" / "seq" / f"{index:05d}.png", truth)
        save(root / "results" / "seq" / f"{index:05d}.png", prediction)
    both, _, _, (objects,) = benchmark([str(root / "truth")], [str(root / "results")], verbose=False, num_processes=1)
    region, _ = objects["seq"]
    print(f"J&F {both[0]:.1f}, J of each object {({int(key): round(float(value), 1) for key, value in region.items()})}")
    assert round(float(both[0]), 1) == 50.0, "void is not an object any more"
    assert {int(key): round(float(value), 1) for key, value in region.items()} == {1: 100.0, 255: 0.0}
PYTHON
"$folder/venv/bin/python" "$folder/check.py" "$folder/data"
