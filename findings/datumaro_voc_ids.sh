#!/bin/sh
# Datumaro 1.13.12 numbers the instances of every picture anew in its VOC exports, as colours without a palette; its MOTS
# export keeps the ids of tracks.
#
# Seen with Python 3.11, numpy 2.4.6, pillow 12.3.0. Three masks with id, group and track_id 1, 2, 3; object 1 leaves after
# the first picture, object 2 after the second. Values at the place of objects 1, 2, 3:
#     voc       00000  (128, 0, 0)  (0, 128, 0)  (128, 128, 0)
#               00001  -            (128, 0, 0)  (0, 128, 0)
#               00002  -            -            (128, 0, 0)
#     mots_png  00000  1001 1002 1003;  00001  - 1002 1003;  00002  - - 1003
# Expected: SegmentationObject as an indexed PNG in which an object keeps its id. Masks of a video that went through VOC (also
# "segmentation mask" exports that are made by Datumaro) cannot be tracked or scored; MOTS, modulo 1000, can.
#
# Exits 0 while this is so, 1 once it is not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check datumaro==1.13.12 numpy==2.4.6 pillow==12.3.0
cat > "$folder/check.py" <<'PYTHON'
import pathlib
import sys

import numpy as np
from datumaro.components.annotation import Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as Picture
from PIL import Image


def mask(identity):
    labels = np.zeros((20, 40), bool)
    labels[5:15, 10 * identity - 10 : 10 * identity - 2] = True
    return Mask(labels, label=0, id=identity, group=identity, attributes={"track_id": identity})


items = [
    DatasetItem(
        id=f"{index:05d}",
        subset="train",
        media=Picture.from_numpy(np.zeros((20, 40, 3), np.uint8)),
        annotations=[mask(identity) for identity in range(index + 1, 4)],
    )
    for index in range(3)
]
root = pathlib.Path(sys.argv[1])
dataset = Dataset.from_iterable(items, categories=["thing"])
found = {}
for name, folder in (("voc", "SegmentationObject"), ("mots_png", "train/instances")):
    dataset.export(str(root / name), name, save_media=True)
    for index in range(3):
        with Image.open(root / name / folder / f"{index:05d}.png") as image:
            values = np.array(image)[10, 3::10]
            found[name, index] = (image.mode, [tuple(v.tolist()) if v.ndim else int(v) for v in values[:3]])
            print(name, index, *found[name, index])
red, green, yellow, nothing = (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 0)
assert [found["voc", index] for index in range(3)] == [
    ("RGB", [red, green, yellow]),
    ("RGB", [nothing, red, green]),
    ("RGB", [nothing, nothing, red]),
], "VOC exports have changed"
assert [found["mots_png", index][1] for index in range(3)] == [
    [1001, 1002, 1003],
    [0, 1002, 1003],
    [0, 0, 1003],
], "MOTS exports have changed"
PYTHON
"$folder/venv/bin/python" "$folder/check.py" "$folder/data"
