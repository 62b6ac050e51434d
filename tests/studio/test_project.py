"""A project is what lies on disk, whatever happens to the process."""

import json

import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.masks import read_label_map, write_label_map
from ranet_jax.studio.project import Project

from .conftest import FRAMES, SIZE, square


def reopened(project: Project) -> Project:
    project.close()
    return Project(project.folder)


def test_objects_and_masks_are_read_back(project):
    first, second = project.add_object(), project.add_object(name="the  dog ")
    project.change_object(second.id, colour="#00ff00", locked=True)
    project.save_labels(3, square(3, first.id))
    again = reopened(project)
    assert [(entry.id, entry.name, entry.locked) for entry in again.objects] == [
        (1, "Object 1", False),
        (2, "the dog", True),
    ]
    assert again.objects[1].colour == "#00ff00"
    assert again.given == [3]
    assert (again.labels(3) == square(3)).all()
    assert again.record(3).areas == {1: 24 * 24}
    again.close()


def test_given_files_are_palette_masks_of_the_marked_objects_alone(project):
    project.add_object()
    project.add_object()
    both = square(0, 1)
    both[50:60, 80:90] = 2
    project.record_result(5, both, {1, 2}, "forward", {1: 0.9, 2: 0.8})
    corrected = both.copy()
    corrected[20:30] = 0
    project.save_labels(5, corrected)
    given = read_label_map(project.folder / "given" / "00005.png")
    assert set(np.unique(given)) == {0, 1}, "the object that was not touched is the tracker's"
    assert (project.labels(5) == corrected).all()


def test_a_correction_makes_stale_what_depends_on_it(project):
    project.add_object()
    for index in range(10):
        project.record_result(index, square(index), {1}, "forward" if index > 4 else "backward", {1: 1.0})
    project.save_labels(6, square(7))
    stale = [index for index in range(10) if project.record(index).stale]
    assert stale == [0, 1, 2, 3, 4, 7, 8, 9]
    again = reopened(project)
    assert [index for index in range(10) if again.record(index).stale] == stale
    again.record_result(8, square(8), {1}, "forward", {1: 1.0})
    assert again.is_current(8)
    assert not again.is_current(9)
    again.close()


def test_an_erased_object_stays_erased(project):
    project.add_object()
    project.record_result(4, square(4), {1}, "forward", {1: 1.0})
    project.save_labels(4, np.zeros(SIZE, np.uint8))
    again = reopened(project)
    assert not again.labels(4).any()
    assert not (again.folder / "given" / "00004.png").exists()
    assert again.state()["given"] == [4]
    again.forget_given(4)
    assert (again.labels(4) == square(4)).all()
    again.close()


def test_other_objects_keep_their_results(project):
    project.add_object()
    project.add_object()
    both = square(0, 1)
    both[50:60, 80:90] = 2
    project.record_result(0, both, {1, 2}, "backward", {1: 1.0, 2: 1.0})
    project.record_result(0, np.zeros(SIZE, np.uint8), {1}, "forward", {1: 0.0})
    assert set(np.unique(read_label_map(project.result_path(0)))) == {0, 2}


def test_a_line_cut_short_costs_that_line_alone(project):
    project.add_object()
    for index in range(3):
        project.record_result(index, square(index), {1}, "forward", {1: 1.0})
    journal = project.folder / "frames.jsonl"
    journal.write_text(journal.read_text()[:-20])
    again = reopened(project)
    assert [bool(again.record(index).direction) for index in range(4)] == [True, True, False, False]
    again.close()


def test_stale_is_on_disk_before_the_mask_is(project, monkeypatch):
    project.add_object()
    project.record_result(3, square(3), {1}, "forward", {1: 1.0})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(project._masks, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        project.save_labels(0, square(0))
    again = reopened(project)
    assert again.record(3).stale
    assert again.given == []
    again.close()


def test_deleting_takes_an_object_out_of_every_file(project):
    project.add_object()
    project.add_object()
    both = square(0, 1)
    both[50:60, 80:90] = 2
    project.save_labels(0, both)
    project.record_result(1, both, {1, 2}, "forward", {1: 1.0, 2: 1.0})
    project.delete_object(1)
    again = reopened(project)
    for index in (0, 1):
        assert set(np.unique(again.labels(index))) == {0, 2}
    assert again.record(1).stale, "what was tracked beside it may have looked different"
    assert again.add_object().id == 1, "its id is free"
    again.close()


def test_ids_of_a_mask_file_become_objects(project):
    labels = square(0, 7)
    labels[0, 0] = 255
    project.adopt_mask(2, labels)
    assert [entry.id for entry in project.objects] == [7]
    assert set(np.unique(project.labels(2))) == {0, 7}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((5, 5), np.uint8), "5x5 and the video 96x64"),
        (square(0, 9), "no object has the id 9"),
    ],
)
def test_wrong_masks_change_nothing(project, labels, message):
    project.add_object()
    project.save_labels(0, square(0))
    with pytest.raises(InputError, match=message):
        project.save_labels(0, labels)
    assert (project.labels(0) == square(0)).all()


def test_sixteen_objects_are_the_most(project):
    for _ in range(16):
        project.add_object()
    assert len({entry.colour for entry in project.objects}) == 16
    with pytest.raises(InputError, match="16"):
        project.add_object()
    with pytest.raises(InputError, match="too many"):
        project.adopt_mask(0, square(0, 77))


@pytest.mark.parametrize("values", [{"colour": "red"}, {"name": ""}, {"name": "x" * 61}, {"id": 3}])
def test_wrong_changes_of_an_object(project, values):
    project.add_object()
    with pytest.raises(InputError):
        project.change_object(1, **values)


def test_a_second_process_reads_only(project):
    project.add_object()
    other = Project(project.folder)
    assert not other.writable
    with pytest.raises(InputError, match="another ranet-jax studio"):
        other.save_labels(0, square(0))
    project.save_labels(0, square(0))
    assert other.state()["given"] == [0], "it sees what the first one does"
    other.close()


def test_another_video_is_refused(project, tmp_path):
    description = json.loads((project.folder / "project.json").read_text())
    (project.folder / "project.json").write_text(json.dumps({**description, "frames": 7}))
    with pytest.raises(InputError, match="not the video this project was made with"):
        reopened(project)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"objects"', '"objectz"'), ('"colour"', '"bolour"'), ('"id": 2', '"id": 1'), ('"id": 2', '"id": "2"'), ("}", "")],
)
def test_a_damaged_description_is_named(project, old, new):
    project.add_object()
    project.add_object()
    file = project.folder / "project.json"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError, match=r"project\.json is damaged"):
        reopened(project)


def test_damaged_lines_and_masks_cost_themselves_alone(project):
    project.add_object()
    for index in range(4):
        project.record_result(index, square(index), {1}, "forward", {1: 1.0})
    project.close()
    journal = project.folder / "frames.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    damaged = [lines[0].replace(b"forward", b"\xe6orward"), lines[1].replace(b'"frame": 1', b'"frame": -1')]
    damaged += [lines[2].replace(b'"1": 576', b'"a": 576'), *lines[3:]]
    journal.write_bytes(b"".join(damaged))
    write_label_map(project.folder / "masks" / "00002.png", np.ones((5, 5), np.uint8))
    again = Project(project.folder)
    assert [again.record(index).direction for index in (0, 1, 2, 3, FRAMES - 1)] == ["", "", "", "forward", ""]
    assert (again.labels(3) == square(3)).all()
    with pytest.raises(InputError, match=r"00002\.png is not of the video's size"):
        again.labels(2)
    again.close()


def test_a_folder_with_other_things_is_kept(tmp_path, clip):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is no project"):
        Project.create(tmp_path, clip)
