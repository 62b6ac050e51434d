"""Masks on disk against a DAVIS folder: the protocol, what is missing, tables and CSV files."""

import csv
import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from ranet_jax.data.davis import VOID_LABEL, DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.davis import GLOBAL_MEASURES, DavisScores, evaluate_folders, evaluate_masks, object_labels
from ranet_jax.evaluation.metrics import score_label_maps, statistics
from ranet_jax.evaluation.sequence import Rules, score_sequence
from ranet_jax.evaluation.tables import format_tables, write_csv
from ranet_jax.io.masks import write_label_map

SIZE = (40, 60)


def moving_squares(index: int, labels: tuple[int, ...]) -> np.ndarray:
    """Labels of one frame: squares that move right by two pixels a frame."""
    frame = np.zeros(SIZE, np.uint8)
    for row, label in enumerate(labels):
        frame[4 + 12 * row : 13 + 12 * row, 3 + 2 * index : 14 + 2 * index] = label
    return frame


def write_frames(folder: pathlib.Path, frames: list[np.ndarray]) -> None:
    for index, frame in enumerate(frames):
        write_label_map(folder / f"{index:05d}.png", frame)


OBJECTS = {"bear": (1, 2), "surf": (1,), "cow": (1, 2, 3)}
FRAMES = 7


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A DAVIS folder of both years with three sequences of moving squares."""
    root = tmp_path / "DAVIS"
    for sequence, labels in OBJECTS.items():
        frames = [moving_squares(index, labels) for index in range(FRAMES)]
        write_frames(root / "Annotations" / "480p" / sequence, frames)
    for year in ("2016", "2017"):
        (root / "ImageSets" / year).mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("\n".join(OBJECTS), encoding="utf-8")
    pairs = (
        f"/JPEGImages/480p/{sequence}/{index:05d}.jpg /Annotations/480p/{sequence}/{index:05d}.png\n"
        for sequence in OBJECTS
        for index in range(FRAMES)
    )
    (root / "ImageSets" / "2016" / "val.txt").write_text("".join(pairs), encoding="utf-8")
    return root


@pytest.fixture
def results(root: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the ground truth, for a test to damage."""
    folder = tmp_path / "results"
    shutil.copytree(root / "Annotations" / "480p", folder)
    return folder


def damage(results: pathlib.Path, sequence: str, index: int, change: Callable[[np.ndarray], None]) -> None:
    path = results / sequence / f"{index:05d}.png"
    frame = np.array(Image.open(path))
    change(frame)
    write_label_map(path, frame)


@pytest.mark.parametrize("year", [2016, 2017])
def test_the_truth_is_perfect(root: pathlib.Path, results: pathlib.Path, year: int) -> None:
    scores = evaluate_masks(DavisTree(root, year), "val", results, workers=1)
    expected = {name: 0.0 if "Decay" in name else 1.0 for name in GLOBAL_MEASURES}
    assert scores.global_scores() == expected
    found = {name: tuple(o.label for o in scores.of_sequence(name).objects) for name in scores.sequences}
    assert found == (OBJECTS if year == 2017 else dict.fromkeys(OBJECTS, (1,)))
    assert list(found) == list(OBJECTS)
    assert all(len(entry.region_per_frame) == FRAMES - 2 for entry in scores.objects)


def test_first_and_last_frame_do_not_count(root: pathlib.Path, results: pathlib.Path) -> None:
    for index in (0, FRAMES - 1):
        (results / "bear" / f"{index:05d}.png").unlink()
        damage(results, "cow", index, lambda frame: frame.fill(77))
    (results / "bear" / "00099.png").write_bytes(b"one frame too many is nobody's business")
    scores = evaluate_masks(DavisTree(root, 2017), "val", results, workers=1)
    assert scores.global_scores()["J&F-Mean"] == 1


def test_a_missing_object_scores_zero_and_counts_as_much_as_any(root: pathlib.Path, results: pathlib.Path) -> None:
    for index in range(FRAMES):
        damage(results, "bear", index, lambda frame: np.place(frame, frame == 2, 0))
    scores = evaluate_masks(DavisTree(root, 2017), "val", results, workers=1)
    lost = scores.of_sequence("bear").objects[1]
    assert lost.region == lost.boundary == (0, 0, 0)
    # Six objects, not three sequences, are averaged.
    assert scores.global_scores()["J-Mean"] == pytest.approx(5 / 6)
    assert scores.global_scores()["J&F-Mean"] == pytest.approx(5 / 6)
    assert scores.global_scores()["F-Recall"] == pytest.approx(5 / 6)


def test_global_scores_are_means_of_the_objects_statistics(root: pathlib.Path, results: pathlib.Path) -> None:
    damage(results, "surf", 5, lambda frame: np.copyto(frame, np.roll(frame, 4, axis=1)))
    scores = evaluate_masks(DavisTree(root, 2017), "val", results, workers=1, sequences=["surf", "cow"])
    assert scores.sequences == ("surf", "cow")
    surf = scores.objects[0]
    truth = moving_squares(5, (1,))
    region, boundary = score_label_maps(truth, np.roll(truth, 4, axis=1), (1,))[0]
    assert surf.region_per_frame == (1, 1, 1, 1, region)
    assert surf.boundary_per_frame == (1, 1, 1, 1, boundary)
    assert surf.region == statistics(np.array(surf.region_per_frame))
    found = scores.global_scores()
    assert found["J-Mean"] == pytest.approx((3 + surf.region.mean) / 4)
    assert found["J-Decay"] == pytest.approx(surf.region.decay / 4)
    assert found["J&F-Mean"] == pytest.approx((6 + surf.region.mean + surf.boundary.mean) / 8)


def test_of_2016_everything_is_one_object(root: pathlib.Path, results: pathlib.Path) -> None:
    for index in range(FRAMES):
        gray = Image.fromarray(np.uint8(255) * (moving_squares(index, OBJECTS["cow"]) > 0))
        gray.save(results / "cow" / f"{index:05d}.png")
    assert evaluate_masks(DavisTree(root, 2016), "val", results, workers=1).global_scores()["J&F-Mean"] == 1


def test_void_is_background_unless_it_is_to_count_for_nothing(root: pathlib.Path, results: pathlib.Path) -> None:
    for index in range(1, FRAMES):
        truth = moving_squares(index, (1,))
        void = np.zeros(SIZE, np.bool_)
        void[20:30] = True  # apart from the object: half of what is predicted lies there
        truth[void] = VOID_LABEL
        write_label_map(root / "Annotations" / "480p" / "surf" / f"{index:05d}.png", truth)

        def predict(frame: np.ndarray, index: int = index) -> None:
            frame[20:29, 3 + 2 * index : 14 + 2 * index] = 1

        damage(results, "surf", index, predict)
    tree = DavisTree(root, 2017)
    scores = evaluate_masks(tree, "val", results, workers=1, sequences=["surf"])
    assert [entry.label for entry in scores.objects] == [1]
    assert scores.global_scores()["J-Mean"] == pytest.approx(0.5)
    scores = evaluate_masks(tree, "val", results, void=True, workers=1, sequences=["surf"])
    assert scores.global_scores()["J&F-Mean"] == 1


def test_void_alone_is_no_object(root: pathlib.Path, results: pathlib.Path) -> None:
    for index in range(FRAMES):
        void = np.uint8(VOID_LABEL) * (moving_squares(index, (1,)) > 0)
        write_label_map(root / "Annotations" / "480p" / "surf" / f"{index:05d}.png", void)
    with pytest.raises(InputError, match=r"surf annotates no object in any of its 7 file\(s\) .*255 void"):
        evaluate_masks(DavisTree(root, 2017), "val", results, workers=1)


def test_255_in_a_result_is_an_id_that_the_annotations_lack(root: pathlib.Path, results: pathlib.Path) -> None:
    for index in range(FRAMES):
        damage(results, "surf", index, lambda frame: np.place(frame, frame == 1, 255))
    tree = DavisTree(root, 2017)
    with pytest.raises(InputError, match=r"surf/00001.png holds object 255, .* only \(255 is an id") as error:
        evaluate_masks(tree, "val", results, workers=1)
    assert one_line(error, results / "surf" / "00001.png")
    # To the year 2016 everything is the object.
    scores = evaluate_masks(DavisTree(root, 2016), "val", results, workers=1, sequences=["surf"])
    assert scores.global_scores()["J&F-Mean"] == 1


def annotate(root: pathlib.Path, sequence: str, frames: dict[str, np.ndarray]) -> None:
    """Replaces the annotations of a sequence."""
    folder = root / "Annotations" / "480p" / sequence
    shutil.rmtree(folder, ignore_errors=True)
    for name, frame in frames.items():
        write_label_map(folder / f"{name}.png", frame)


def lose(results: pathlib.Path, sequence: str, name: str) -> None:
    """Leaves nothing in one result."""
    write_label_map(results / sequence / f"{name}.png", np.zeros(SIZE, np.uint8))


def test_sparse_annotations_are_paired_by_name(root: pathlib.Path, results: pathlib.Path) -> None:
    annotate(root, "surf", {f"{index:05d}": moving_squares(index, (1,)) for index in (2, 3, 5, 6)})
    lose(results, "surf", "00004")  # not annotated
    lose(results, "surf", "00005")
    for name in ("00000", "00001", "00002"):
        (results / "surf" / f"{name}.png").unlink()  # before and at the first annotation
    scores = evaluate_masks(DavisTree(root, 2017), "val", results, workers=1, sequences=["surf"])
    assert scores.objects[0].region_per_frame == (1, 0)


def test_unpadded_names_are_in_the_order_of_their_numbers(root: pathlib.Path, results: pathlib.Path) -> None:
    frames = {str(index): moving_squares(index, (1,)) for index in range(1, 12)}
    annotate(root, "surf", frames)
    shutil.rmtree(results / "surf")
    for name, frame in frames.items():
        write_label_map(results / "surf" / f"{name}.png", frame)
    lose(results, "surf", "1")
    lose(results, "surf", "11")  # the last one; by letters it would be 9
    lose(results, "surf", "10")
    scores = evaluate_masks(DavisTree(root, 2017), "val", results, workers=1, sequences=["surf"])
    assert scores.objects[0].region_per_frame == (1,) * 8 + (0,)


def test_a_later_object_counts_from_the_frame_after_its_first(root: pathlib.Path, results: pathlib.Path) -> None:
    frames = {f"{index:05d}": moving_squares(index, (1, 2) if index > 2 else (1,)) for index in range(FRAMES)}
    annotate(root, "surf", frames)
    for name, frame in frames.items():
        write_label_map(results / "surf" / f"{name}.png", frame)
    # Seen too early, then missed in its first annotation: neither counts.
    write_label_map(results / "surf" / "00002.png", moving_squares(2, (1, 2)))
    write_label_map(results / "surf" / "00003.png", moving_squares(3, (1,)))
    write_label_map(results / "surf" / "00005.png", moving_squares(5, (1,)))
    tree = DavisTree(root, 2017)
    first, second = evaluate_masks(tree, "val", results, workers=1, sequences=["surf"]).objects
    assert (first.label, second.label) == (1, 2)
    assert first.region_per_frame == (1, 1, 1, 1, 1)
    assert second.region_per_frame == (1, 0)
    assert object_labels(tree, "surf") == (1, 2)


def test_numbering_that_is_off_by_one_is_named(root: pathlib.Path, results: pathlib.Path) -> None:
    tree = DavisTree(root, 2017)
    for index in reversed(range(FRAMES)):
        (results / "surf" / f"{index:05d}.png").rename(results / "surf" / f"{index + 1:05d}.png")
    # Every scored frame has a mask, but it is another frame's.
    with pytest.raises(InputError, match=r"numbered from 0, masks from 1") as error:
        evaluate_masks(tree, "val", results, workers=1)
    assert one_line(error, results / "surf")
    # The frames say so, too, where the annotations are sparse.
    for index in range(FRAMES):
        write_label_map(root / "JPEGImages" / "480p" / "surf" / f"{index:05d}.png", moving_squares(index, (1,)))
    annotate(root, "surf", {f"{index:05d}": moving_squares(index, (1,)) for index in (0, 3, 6)})
    with pytest.raises(InputError, match=r"numbered from 0, masks from 1"):
        evaluate_masks(tree, "val", results, workers=1)


def test_own_video(root: pathlib.Path, results: pathlib.Path, tmp_path: pathlib.Path) -> None:
    truth = root / "Annotations" / "480p" / "surf"
    annotate(root, "surf", {f"{index:05d}": moving_squares(index, (1,)) for index in (0, 4, 6)})
    before = sorted(results.rglob("*"))
    lose(results, "surf", "00000")
    lose(results, "surf", "00006")
    (entry,) = evaluate_folders(results / "surf", truth).objects
    assert (entry.sequence, entry.label, entry.region_per_frame) == ("surf", 1, (1, 0))
    (entry,) = evaluate_folders(results / "surf", truth, score_first=True).objects
    assert entry.region_per_frame == (0, 1, 0)
    assert sorted(results.rglob("*")) == before
    for index in (4, 6):
        (truth / f"{index:05d}.png").unlink()
    with pytest.raises(InputError, match=r"surf has 1 annotation\(s\) .*, the first is given to the method: no frame"):
        evaluate_folders(results / "surf", truth)
    assert evaluate_folders(results / "surf", truth, score_first=True).objects[0].region_per_frame == (0,)


def test_own_videos(root: pathlib.Path, results: pathlib.Path, tmp_path: pathlib.Path) -> None:
    truth = root / "Annotations" / "480p"
    scores = evaluate_folders(results, truth, workers=1)
    assert scores.sequences == ("bear", "cow", "surf")
    assert scores.global_scores()["J&F-Mean"] == 1
    assert all(len(entry.region_per_frame) == FRAMES - 1 for entry in scores.objects)
    assert evaluate_folders(results, truth, sequences=["cow"], workers=1).sequences == ("cow",)
    with pytest.raises(InputError, match="480p has no sequence horse"):
        evaluate_folders(results, truth, sequences=["horse"])
    with pytest.raises(InputError, match="leave out the names"):
        evaluate_folders(results / "cow", truth / "cow", sequences=["cow"])
    shutil.rmtree(results / "bear")
    with pytest.raises(InputError, match=r"lacks 1 of 3 sequences of .*480p \(bear\)"):
        evaluate_folders(results, truth)
    with pytest.raises(InputError, match="absent is no folder of annotations"):
        evaluate_folders(results, tmp_path / "absent")
    with pytest.raises(InputError, match="absent is no folder of masks"):
        evaluate_folders(tmp_path / "absent", truth / "cow")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no frames"):
        evaluate_folders(results, tmp_path / "empty")


def test_ids_with_gaps(root: pathlib.Path, results: pathlib.Path) -> None:
    for index in range(FRAMES):
        for folder in (root / "Annotations" / "480p", results):
            write_label_map(folder / "cow" / f"{index:05d}.png", moving_squares(index, (1, 5, 200)))
    scores = evaluate_masks(DavisTree(root, 2017), "val", results, workers=1, sequences=["cow"])
    assert tuple(entry.label for entry in scores.objects) == (1, 5, 200)


def test_missing_sequences_are_listed(root: pathlib.Path, results: pathlib.Path) -> None:
    shutil.rmtree(results / "bear")
    shutil.rmtree(results / "cow")
    tree = DavisTree(root, 2017)
    with pytest.raises(InputError, match=r"lacks 2 of 3 sequences of split 'val' \(bear, cow\)"):
        evaluate_masks(tree, "val", results, workers=1)
    scores = evaluate_masks(tree, "val", results, workers=1, sequences=["surf"])
    assert scores.global_scores()["J&F-Mean"] == 1


def one_line(error: pytest.ExceptionInfo[InputError], path: pathlib.Path) -> bool:
    return str(path) in str(error.value) and "\n" not in str(error.value)


def test_wrong_masks_are_named(root: pathlib.Path, results: pathlib.Path) -> None:
    tree = DavisTree(root, 2017)
    path = results / "bear" / "00003.png"
    damage(results, "bear", 3, lambda frame: frame[:2].fill(9))
    with pytest.raises(InputError, match=r"holds object 9, .* the objects 1, 2 only") as error:
        evaluate_masks(tree, "val", results, workers=1)
    assert one_line(error, path)
    write_label_map(path, np.zeros((SIZE[0], SIZE[1] + 1), np.uint8))
    with pytest.raises(InputError, match="is 61x40, but its annotation is 60x40") as error:
        evaluate_masks(tree, "val", results, workers=1)
    assert one_line(error, path)
    Image.new("RGB", SIZE[::-1], (9, 9, 200)).save(path)
    with pytest.raises(InputError, match="colour") as error:
        evaluate_masks(tree, "val", results, workers=1)
    assert one_line(error, path)
    path.unlink()
    (results / "bear" / "00004.png").unlink()
    with pytest.raises(InputError, match="2 of 5 masks of bear are missing") as error:
        evaluate_masks(tree, "val", results, workers=1)
    assert one_line(error, path)


def test_wrong_requests(root: pathlib.Path, results: pathlib.Path) -> None:
    tree = DavisTree(root, 2017)
    with pytest.raises(InputError, match="is no folder of results"):
        evaluate_masks(tree, "val", results / "absent")
    with pytest.raises(InputError, match="has no sequence horse"):
        evaluate_masks(tree, "val", results, sequences=["bear", "horse"])
    with pytest.raises(InputError, match="no sequence is left"):
        evaluate_masks(tree, "val", results, sequences=[])
    with pytest.raises(InputError, match="0 workers"):
        evaluate_masks(tree, "val", results, workers=0)
    write_label_map(root / "Annotations" / "480p" / "surf" / "00000.png", np.zeros(SIZE, np.uint8))
    for index in range(3, FRAMES):
        (root / "Annotations" / "480p" / "surf" / f"{index:05d}.png").unlink()
    # The first shows nothing, so two are left.
    with pytest.raises(InputError, match=r"surf has 2 annotation\(s\) from the first object on, the first .* the last"):
        evaluate_masks(tree, "val", results, workers=1)


PROGRAM = """
import json, pathlib, sys
import heavy  # like JAX in a real program; notes every process that imports it
from ranet_jax.data.davis import DavisTree
from ranet_jax.evaluation.davis import evaluate_masks

scores = evaluate_masks(DavisTree(pathlib.Path(sys.argv[1]), 2017), "val", pathlib.Path(sys.argv[2]), workers=2)
print(json.dumps([[o.sequence, o.label, o.region_per_frame, o.boundary_per_frame] for o in scores.objects]))
print("jax" in sys.modules)
"""


def test_workers_score_the_same_without_jax_and_without_the_program(
    root: pathlib.Path, results: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    for index, sequence in enumerate(OBJECTS, start=1):
        damage(results, sequence, index, lambda frame: np.copyto(frame, np.roll(frame, 3, axis=1)))
    expected = evaluate_masks(DavisTree(root, 2017), "val", results, workers=1)
    imports = tmp_path / "imports.txt"
    (tmp_path / "heavy.py").write_text(f"print('imported', file=open({str(imports)!r}, 'a'))", encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "program.py"), str(root), str(results)]
    package = pathlib.Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(package)}, timeout=60)
    assert done.returncode == 0, done.stderr
    scores, has_jax = done.stdout.splitlines()
    plain = [[o.sequence, o.label, [*o.region_per_frame], [*o.boundary_per_frame]] for o in expected.objects]
    assert json.loads(scores) == plain
    assert has_jax == "False"
    assert imports.read_text(encoding="utf-8") == "imported\n"


def test_an_error_of_a_worker_arrives_as_it_is(root: pathlib.Path, results: pathlib.Path) -> None:
    damage(results, "cow", 2, lambda frame: frame.fill(9))
    with pytest.raises(InputError, match=r"cow/00002\.png holds object 9"):
        evaluate_masks(DavisTree(root, 2017), "val", results, workers=2)


def imperfect_scores() -> DavisScores:
    frames = [moving_squares(index, (1, 2)) for index in range(8)]
    late = [np.where(frame == 1, 1, 0).astype(np.uint8) for frame in frames]
    every = Rules(first=True, last=True)
    bear = score_sequence("bear", zip(frames, late, strict=True), every)
    surf = score_sequence("surf", [(2 * frame * 2, 4 * frame) for frame in np.minimum(frames, 1)], every)
    return DavisScores((*bear, *surf))


def test_csv_files_have_the_official_form(tmp_path: pathlib.Path) -> None:
    scores = imperfect_scores()
    paths = write_csv(scores, tmp_path / "new folder", "val")
    assert [path.name for path in paths] == ["global_results-val.csv", "per-sequence_results-val.csv"]
    header, values = paths[0].read_text(encoding="utf-8").splitlines()
    assert header == "J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay"
    assert [float(value) for value in values.split(",")] == pytest.approx([*scores.global_scores().values()], abs=1e-6)
    with paths[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["Sequence", "J-Mean", "F-Mean"],
        ["bear_1", "1.000000", "1.000000"],
        ["bear_2", "0.000000", "0.000000"],
        ["surf_1", "1.000000", "1.000000"],
    ]


def test_stale_csv_files_are_replaced(root: pathlib.Path, results: pathlib.Path) -> None:
    tree = DavisTree(root, 2017)
    first = write_csv(evaluate_masks(tree, "val", results, workers=1), results, "val")
    fresh = [path.read_text(encoding="utf-8") for path in first]
    for path in first:
        path.write_text(path.read_text(encoding="utf-8").replace("1.000000", "0.123456"), encoding="utf-8")
    second = write_csv(evaluate_masks(tree, "val", results, workers=1), results, "val")
    assert second == first
    assert [path.read_text(encoding="utf-8") for path in second] == fresh
    assert not [path for path in results.iterdir() if path.name.startswith(".")]


def test_unwritable_csv_leaves_neither_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "per-sequence_results-val.csv").mkdir()
    with pytest.raises(InputError, match=r"per-sequence_results-val\.csv"):
        write_csv(imperfect_scores(), tmp_path, "val")
    assert [path.name for path in tmp_path.iterdir()] == ["per-sequence_results-val.csv"]


def test_tables() -> None:
    scores = imperfect_scores()
    assert format_tables(scores, {"surf": 12.34}) == "\n".join(
        [
            "percent, mean over 3 object(s) of 2 sequence(s)",
            "J&F-Mean  J-Mean  J-Recall  J-Decay  F-Mean  F-Recall  F-Decay  ms/frame",
            "    66.7    66.7      66.7      0.0    66.7      66.7      0.0      12.3",
            "",
            "sequence    J&F      J      F  ms/frame",
            "bear       50.0   50.0   50.0         -",
            "surf      100.0  100.0  100.0      12.3",
        ]
    )
    assert "ms/frame" not in format_tables(scores)


def test_real_truth_is_perfect(shared, tmp_path: pathlib.Path) -> None:
    tree = DavisTree(shared("data/DAVIS"), 2016)
    results = tree.root / "Annotations" / "480p"
    scores = evaluate_masks(tree, "val", results, workers=1, sequences=["car-shadow"])
    assert scores.global_scores()["J&F-Mean"] == 1
    assert len(scores.objects[0].region_per_frame) == len(tree.annotations("car-shadow")) - 2
    paths = write_csv(scores, tmp_path, "val")
    assert paths[1].read_text(encoding="utf-8").endswith("car-shadow_1,1.000000,1.000000\n")


def test_real_results_have_the_official_numbers(shared, tmp_path: pathlib.Path) -> None:
    """The golden predictions of car-shadow, written as masks, against the annotations on disk."""
    tree = DavisTree(shared("data/DAVIS"), 2016)
    scored = tree.annotations("car-shadow")[1:-1]
    with np.load(shared("golden/metrics.npz")) as archive:
        predictions, truths, stats = (archive[f"car_shadow_{key}"] for key in ("pred", "gt", "stats"))
    assert len(scored) == len(predictions)
    for annotation, truth, prediction in zip(scored, truths, predictions, strict=True):
        np.testing.assert_array_equal(tree.label_map(annotation), truth)
        write_label_map(tmp_path / "car-shadow" / annotation.name, prediction)
    scores = evaluate_masks(tree, "val", tmp_path, workers=1, sequences=["car-shadow"])
    found = [*scores.objects[0].region, *scores.objects[0].boundary]
    np.testing.assert_allclose(found, stats[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose([*scores.global_scores().values()][1:], stats[0], rtol=0, atol=1e-6)
