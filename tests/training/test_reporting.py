import io
import json
import resource

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto import event_pb2

from ranet_jax.errors import InputError
from ranet_jax.training.reporting import Reporter, progress_picture
from tests.training.micro import make_batch


def _lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _board(folder):
    """Values in TensorBoard's files: each record is a length, its checksum, the event and its checksum."""
    values = {}
    for path in sorted((folder / "tensorboard").glob("events*")):
        data, position = path.read_bytes(), 0
        while position < len(data):
            length = int.from_bytes(data[position : position + 8], "little")
            event = event_pb2.Event.FromString(data[position + 12 : position + 12 + length])
            for value in event.summary.value:
                kind = "picture" if value.HasField("image") else value.simple_value
                values[value.tag, event.step] = kind
            position += 16 + length
    return values


def test_values_reach_the_file_tensorboard_and_the_console(tmp_path):
    output = io.StringIO()
    console = Console(file=output, width=200)
    with Reporter(tmp_path, steps=40, first_step=0, console=console) as reporter:
        reporter.scalars(20, {"loss": 0.5, "iou": 0.25}, seconds_left=3725.0)
        reporter.scalars(20, {"evaluation/J": 0.75})
        reporter.picture(20, np.zeros((4, 6, 3), np.uint8))
    assert _lines(tmp_path) == [{"step": 20, "loss": 0.5, "iou": 0.25}, {"step": 20, "evaluation/J": 0.75}]
    assert output.getvalue().splitlines()[0] == "step 20/40  loss 0.5  iou 0.25  1:02:05 left"
    expected = {
        ("train/loss", 20): 0.5,
        ("train/iou", 20): 0.25,
        ("evaluation/J", 20): 0.75,
        ("samples", 20): "picture",
    }
    assert _board(tmp_path) == expected


def test_a_terminal_sees_a_progress_bar(tmp_path):
    output = io.StringIO()
    console = Console(file=output, width=120, force_terminal=True)
    with Reporter(tmp_path, steps=40, first_step=0, console=console) as reporter:
        reporter.scalars(20, {"loss": 0.5}, seconds_left=5.0)
        reporter.scalars(20, {"evaluation/J": 0.75})
    assert "20/40" in output.getvalue()
    assert "evaluation/J 0.75" in output.getvalue()


def test_a_resumed_run_drops_what_it_will_report_again(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5}\n{"step": 3, "lo')
    with Reporter(tmp_path, steps=4, first_step=1, console=Console(quiet=True)) as reporter:
        reporter.scalars(2, {"loss": 0.75})
    assert _lines(tmp_path) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.75}]


@pytest.mark.parametrize("lines", [1, 40])
def test_a_full_disk_is_one_line_and_leaves_whole_lines(tmp_path, lines):
    """As no file may grow beyond some bytes, either file is the first to be full."""
    values = {"loss": 0.5} if lines == 1 else {}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (
        pytest.raises(
            InputError, match=rf"^{tmp_path}: the reports cannot be written \(File too large\): make"
        ) as caught,
        Reporter(tmp_path, steps=999, first_step=0, console=Console(quiet=True)) as reporter,
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        try:
            for step in range(1, 999):
                reporter.scalars(step, values)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "\n" not in str(caught.value)
    steps = [line["step"] for line in _lines(tmp_path)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= lines


def test_a_resumed_run_hides_in_tensorboard_what_it_will_report_again(tmp_path):
    with Reporter(tmp_path, steps=4, first_step=2, console=Console(quiet=True)):
        pass
    (path,) = (tmp_path / "tensorboard").iterdir()
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    start = event_pb2.Event.FromString(data[16 + length + 12 : -4])
    assert (start.step, start.session_log.status) == (3, event_pb2.SessionLog.START)


def test_only_the_first_process_reports(tmp_path):
    with Reporter(tmp_path / "run", steps=4, first_step=0, active=False) as reporter:
        reporter.scalars(1, {"loss": 1.0})
        reporter.picture(1, np.zeros((4, 6, 3), np.uint8))
        reporter.message("hello")
    assert not (tmp_path / "run").exists()


def test_progress_picture_shows_four_panels_a_sample():
    batch = make_batch(0, 6)
    probability = np.zeros((1, 6, 64, 96, 2), np.float32)
    probability[0, :, 10:20, 10:20, 1] = 1
    picture = progress_picture(batch, probability)
    assert picture.shape == (4 * 68, 4 * 100, 3)
    np.testing.assert_array_equal(picture[40, 310], batch["images"][0, 1, 40, 10])
    assert picture[15, 315, 0] > 153 - 1, "the prediction is tinted"
    panel = picture[:64, 200:296]
    assert np.array_equal(panel.any(axis=-1), batch["previous_labels"][0] > 0), "the previous mask stands on black"


def test_of_a_clip_the_picture_shows_its_first_and_last_frames_and_the_masks_between():
    batch = make_batch(0, 2, frames=3)
    batch["labels"][:] = 0
    del batch["previous_labels"]
    probability = np.zeros((2, 2, 64, 96, 2), np.float32)
    probability[0, :, 30:40, 50:60, 0], probability[1, :, 10:20, 10:20, 1] = 0.9, 1
    picture = progress_picture(batch, probability, rows=1)
    assert picture.shape == (68, 4 * 100, 3)
    for i, frame in ((0, 0), (1, 2)):
        np.testing.assert_array_equal(picture[:64, 100 * i : 100 * i + 96], batch["images"][0, frame])
    np.testing.assert_array_equal(picture[:64, 200:296].any(axis=-1), probability[0, 0, ..., 0] > 0.5)
    tinted = np.any(picture[:64, 300:396] != batch["images"][0, 2], axis=-1)
    np.testing.assert_array_equal(tinted[30:40, 50:60], False)
    assert tinted[10:20, 10:20].mean() > 0.95
