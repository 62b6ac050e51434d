#!/bin/sh
# TrackEval 1.3.0, dataset DAVIS with JAndF, looks at neither the names of the masks nor the ids in them.
#
# Seen with Python 3.11, numpy 2.4.6, pillow 12.3.0, opencv-python 5.0.0.93, scikit-image 0.26.0, pycocotools 2.0.11. Two
# objects, predicted exactly, but the masks are numbered from 1 where the annotations are from 0, object 1 has the id 7 and
# object 2 the id 1:
#     J-Mean 100.0, F-Mean 100.0, no warning
# Masks are paired by their position in the sorted folders, and ids are assigned to one another as they fit best (the
# unsupervised protocol, all there is). Expected from semi-supervised programs: a refusal, or 0. So masks whose numbers are
# those of other frames are scored as long as there are as many, and swapped objects go unseen.
#
# Exits 0 while this is so, 1 once it is not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check trackeval==1.3.0 numpy==2.4.6 pillow==12.3.0 \
    opencv-python==5.0.0.93 scikit-image==0.26.0 pycocotools==2.0.11
cat > "$folder/check.py" <<'PYTHON'
import pathlib
import sys

import numpy as np
import trackeval
from PIL import Image

root = pathlib.Path(sys.argv[1])


def save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette(bytes(range(256)) * 3)
    image.save(path)


for index in range(6):
    truth, prediction = np.zeros((2, 40, 60), np.uint8)
    for row, label, other in ((4, 1, 7), (22, 2, 1)):
        place = slice(row, row + 12), slice(4 + 5 * index, 16 + 5 * index)
        truth[place], prediction[place] = label, other
    save(root / "truth" / "seq" / f"{index:05d}.png", truth)
    save(root / "results" / "net" / "data" / "seq" / f"{index + 1:05d}.png", prediction)

quiet = dict.fromkeys(("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED"), False)
evaluator = trackeval.Evaluator({**quiet, "PLOT_CURVES": False, "OUTPUT_EMPTY_CLASSES": False, "BREAK_ON_ERROR": True})
dataset = trackeval.datasets.DAVIS(
    {"GT_FOLDER": str(root / "truth"), "TRACKERS_FOLDER": str(root / "results"), "PRINT_CONFIG": False}
)
scores, _ = evaluator.evaluate([dataset], [trackeval.metrics.JAndF()])
found = scores["DAVIS"]["net"]["COMBINED_SEQ"]["general"]["JAndF"]
means = [round(100 * float(found[name]), 1) for name in ("J-Mean", "F-Mean")]
print("J-Mean, F-Mean:", *means)
assert means == [100.0, 100.0], "names or ids matter now"
PYTHON
"$folder/venv/bin/python" "$folder/check.py" "$folder/data"
