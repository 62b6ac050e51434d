"""The cases on which programs differ: this library's numbers, and that docs/scoring.md says the same."""

import pathlib
import re

import pytest

from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.davis import DavisScores, evaluate_folders, evaluate_masks
from ranet_jax.io.masks import write_label_map
from tests.evaluation.scoring_cases import CASES, Case, plain

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "scoring.md"


def write_case(case: Case, root: pathlib.Path) -> tuple[DavisTree, pathlib.Path]:
    """Writes a case as a DAVIS folder of one sequence, and its prediction as results."""
    for truth, prediction, name in zip(*case, strict=True):
        write_label_map(root / "DAVIS" / "Annotations" / "480p" / "seq" / f"{name}.png", truth)
        write_label_map(root / "results" / "seq" / f"{name}.png", prediction)
    (root / "DAVIS" / "ImageSets" / "2017").mkdir(parents=True)
    (root / "DAVIS" / "ImageSets" / "2017" / "val.txt").write_text("seq\n", encoding="utf-8")
    return DavisTree(root / "DAVIS", 2017), root / "results"


def percent(scores: DavisScores) -> str:
    found = scores.global_scores()
    return f"{100 * found['J-Mean']:.1f} / {100 * found['F-Mean']:.1f}"


def on_the_page() -> dict[str, tuple[str, str]]:
    """Case to the two columns of this library, from the page's first table."""
    table, _, _ = PAGE.read_text(encoding="utf-8").partition("On published DAVIS data")
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", table, re.MULTILINE)
    return {name: tuple(cell.strip() for cell in cells.split("|")[-2:]) for name, cells in rows}


EXPECTED = {
    "plain": ("55.6 / 46.4", "55.6 / 46.4"),
    "lost_in_the_last_frame": ("100.0 / 100.0", "88.9 / 88.9"),
    "void_border": ("49.0 / 0.0", "49.0 / 0.0"),
    "late_object": ("58.3 / 49.8", "58.0 / 49.4"),
    "late_object_too_early": ("100.0 / 100.0", "100.0 / 100.0"),
    "object_that_leaves": ("69.4 / 63.2", "70.4 / 64.3"),
    "gap_in_ids": ("55.6 / 46.4", "55.6 / 46.4"),
    "unknown_id": ("error", "error"),
    "white_as_id": ("error", "error"),
    "swapped_ids": ("0.0 / 0.0", "0.0 / 0.0"),
    "unpadded_names": ("100.0 / 100.0", "88.9 / 88.9"),
    "missing_mask": ("error", "error"),
}


def test_the_page_lists_these_numbers() -> None:
    assert on_the_page() == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_scores(name: str, tmp_path: pathlib.Path) -> None:
    tree, results = write_case(plain() if name == "missing_mask" else CASES[name](), tmp_path)
    if name == "missing_mask":
        (results / "seq" / "00005.png").unlink()
    truth = tree.root / "Annotations" / "480p" / "seq"
    by_davis = lambda: percent(evaluate_masks(tree, "val", results, workers=1))
    by_video = lambda: percent(evaluate_folders(results / "seq", truth, workers=1))
    for score, expected in zip((by_davis, by_video), EXPECTED[name], strict=True):
        if expected == "error":
            with pytest.raises(InputError, match=r"holds object 2(55)?, but|does not exist: 1 of "):
                score()
        else:
            assert score() == expected


def test_void_and_decay(tmp_path: pathlib.Path) -> None:
    tree, results = write_case(CASES["void_border"](), tmp_path / "void")
    assert percent(evaluate_masks(tree, "val", results, void=True, workers=1)) == "100.0 / 100.0"
    for name, decay in (("unpadded_names", 0), ("long_sequence", 75 / 76)):
        tree, results = write_case(CASES[name](), tmp_path / name)
        assert evaluate_masks(tree, "val", results, workers=1).global_scores()["J-Decay"] == pytest.approx(decay)
