"""One small undamaged input of every kind that the commands read, and the commands that read them."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable

import cv2
import jax.numpy as jnp
import numpy as np
from PIL import Image

from ranet_jax import cli
from ranet_jax.convert.torch_file import write_torch_file
from ranet_jax.data.config import SampleConfig
from ranet_jax.data.davis import DavisTree
from ranet_jax.data.pipeline import Part, training_batches
from ranet_jax.data.samples import video_pair
from ranet_jax.data.sources import davis_videos
from ranet_jax.io.masks import write_label_map
from ranet_jax.networks import RANetConfig
from ranet_jax.studio.project import Project
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.checkpoint import Checkpoints
from ranet_jax.training.step import initial_state
from ranet_jax.weights import initial_variables, save_checkpoint
from tests.training.micro import VARIABLES, make_dataset, toy_function, toy_step

FRAMES, SIZE = 5, (48, 80)
NETWORK = RANetConfig.lite(
    backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
)


def make_inputs(folder: pathlib.Path) -> None:
    """Writes all inputs into a new folder."""
    images, labels = _moving_square()
    folder.mkdir(parents=True)
    for name, codec in (("video.mp4", "mp4v"), ("video.avi", "MJPG")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*codec), 10.0, SIZE[::-1])
        for image in images:
            writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        writer.release()
    _write_davis(folder / "davis", images, labels)
    for suffix in ("png", "jpg"):
        (folder / f"{suffix}_frames").mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{suffix}_frames" / f"{i:05d}.{suffix}")
    write_label_map(folder / "mask.png", labels[0])
    Image.fromarray(((labels[0] > 0) * 255).astype(np.uint8)).save(folder / "gray_mask.png")
    for i, values in enumerate(labels):
        write_label_map(folder / "results" / "square" / f"{i:05d}.png", values)
    save_checkpoint(folder / "ranet", NETWORK, TrackerConfig.lite(), initial_variables(NETWORK), card={"steps": 0})
    write_torch_file(
        folder / "weights.pth", {"conv.weight": np.zeros((4, 3, 3, 3), np.float32), "conv.bias": np.ones(4)}
    )
    height, width = SIZE
    program = [
        "export",
        str(folder / "program.ranet"),
        "--size",
        f"{height}x{width}",
        "--checkpoint",
        str(folder / "ranet"),
    ]
    if cli.main(program):
        raise RuntimeError("the undamaged network cannot be exported")
    _write_project(folder / "project", folder / "video.mp4", labels)
    with Checkpoints(folder / "training", keep=2, config={"seed": 1}) as checkpoints:
        for step in (1, 2):
            checkpoints.save(_state(step), iter(make_dataset()))


def _moving_square() -> tuple[list[np.ndarray], list[np.ndarray]]:
    background = np.random.default_rng(0).integers(0, 90, (*SIZE, 3), dtype=np.uint8)
    images, labels = [], []
    for i in range(FRAMES):
        image, label = background.copy(), np.zeros(SIZE, np.uint8)
        place = slice(12, 34), slice(10 + 4 * i, 34 + 4 * i)
        image[place], label[place] = (220, 180, 60), 1
        images.append(image)
        labels.append(label)
    return images, labels


def _write_davis(root: pathlib.Path, images: list[np.ndarray], labels: list[np.ndarray]) -> None:
    for kind in ("JPEGImages", "Annotations"):
        (root / kind / "480p" / "square").mkdir(parents=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(root / "JPEGImages" / "480p" / "square" / f"{i:05d}.jpg")
        write_label_map(root / "Annotations" / "480p" / "square" / f"{i:05d}.png", label)
    for year in ("2016", "2017"):
        (root / "ImageSets" / year).mkdir(parents=True)
        for split in ("train", "val"):
            (root / "ImageSets" / year / f"{split}.txt").write_text("square\n")


def _write_project(folder: pathlib.Path, video: pathlib.Path, labels: list[np.ndarray]) -> None:
    """A project of the studio with its video: two masks are given, all frames are tracked."""
    (folder / "media").mkdir(parents=True)
    shutil.copy(video, folder / "media" / "video.mp4")
    project = Project.create(folder, folder / "media" / "video.mp4")
    for _ in range(2):
        project.add_object()
    for index, values in enumerate(labels):
        project.record_result(index, values, {1}, "forward", {1: 0.9})
    for index in (0, 3):
        project.save_labels(index, np.roll(labels[index], 1, axis=0))
    project.close()


@dataclasses.dataclass(frozen=True)
class Kind:
    """What may be damaged, and the command that reads it.

    Attributes:
        name: of the kind of input.
        files: glob patterns, below the inputs' folder, of which one file is damaged.
        command: reads the inputs in a folder and writes into another; returns the exit code.
        exact: a damage that is not refused must change nothing in what the command writes: nothing else could tell a
            wrong weight. (A picture or video with a wrong pixel is one like others.)
    """

    name: str
    files: tuple[str, ...]
    command: Callable[[pathlib.Path, pathlib.Path], int]
    exact: bool = False


def _segment(
    video: str, *, mask: str = "mask.png", network: str = "ranet"
) -> Callable[[pathlib.Path, pathlib.Path], int]:
    def command(inputs: pathlib.Path, out: pathlib.Path) -> int:
        arguments = ["segment", str(inputs / video), "--mask", str(inputs / mask), "--out", str(out / "masks")]
        how = "--program" if network == "program.ranet" else "--checkpoint"
        return cli.main([*arguments, "--overlay", str(out / "overlay.mp4"), how, str(inputs / network)])

    return command


def _convert(inputs: pathlib.Path, out: pathlib.Path) -> int:
    return cli.main(["convert", str(inputs / "weights.pth"), str(out / "converted")])


def _describe(inputs: pathlib.Path, out: pathlib.Path) -> int:
    return cli.main(["info", "--checkpoint", str(inputs / "ranet")])


def _evaluate(inputs: pathlib.Path, out: pathlib.Path) -> int:
    results = out / "results"
    shutil.copytree(inputs / "results", results)
    return cli.main(["evaluate", "--davis", str(inputs / "davis"), "--year", "2017", "--results", str(results)])


def _read_training_data(inputs: pathlib.Path, out: pathlib.Path) -> int:
    """What a training program does with its data, until the first batches."""

    def read() -> None:
        tree = DavisTree(inputs / "davis", 2017)
        part = Part(davis_videos(tree, tree.sequences("train")), video_pair, SampleConfig(size=SIZE, max_objects=2))
        data = training_batches([part], batch_size=2, seed=0, process_index=0, process_count=1)
        iterator = iter(data.dataset)
        for _ in range(4):
            next(iterator)

    return cli.run(read, debug=False)


def _continue_training(inputs: pathlib.Path, out: pathlib.Path) -> int:
    """What a training program does with its checkpoints; a value that was never saved is an internal error."""

    def restore() -> None:
        folder = out / "checkpoints"
        shutil.copytree(inputs / "training", folder)
        with Checkpoints(folder, keep=2, config={"seed": 1}) as checkpoints:
            restored = checkpoints.restore(_state(0), iter(make_dataset())).state
        expected = _state(int(restored.step))
        if int(restored.step) not in (1, 2) or not _equal(restored.params, expected.params):
            raise RuntimeError("restored as another value")

    return cli.run(restore, debug=False)


def _open_project(inputs: pathlib.Path, out: pathlib.Path) -> int:
    """What the studio does with a project: all that the page shows, and one change."""

    def work() -> None:
        folder = out / "project"
        shutil.copytree(inputs / "project", folder)
        project = Project(folder)
        try:
            json.dumps(project.state())
            for index in range(FRAMES):
                project.labels(index)
            project.save_labels(1, project.labels(0))
        finally:
            project.close()

    return cli.run(work, debug=False)


def _equal(a: dict, b: dict) -> bool:
    return all(bool((a[group][name] == b[group][name]).all()) for group in b for name in b[group])


def _state(step: int) -> object:
    state = toy_step().place_state(initial_state(VARIABLES, toy_function().optimizer))
    params = {group: {name: x + step for name, x in leaves.items()} for group, leaves in state.params.items()}
    return state.replace(step=jnp.full_like(state.step, step), params=params)


KINDS = (
    Kind("mp4 video", ("video.mp4",), _segment("video.mp4")),
    Kind("avi video", ("video.avi",), _segment("video.avi")),
    Kind("PNG frame", ("png_frames/*",), _segment("png_frames")),
    Kind("JPEG frame", ("jpg_frames/*",), _segment("jpg_frames")),
    Kind("palette mask", ("mask.png",), _segment("png_frames")),
    Kind("gray mask", ("gray_mask.png",), _segment("png_frames", mask="gray_mask.png")),
    Kind("checkpoint arrays", ("ranet/arrays/**/*",), _segment("png_frames"), exact=True),
    Kind("checkpoint config.json", ("ranet/config.json",), _segment("png_frames"), exact=True),
    Kind("checkpoint, described", ("ranet/**/*",), _describe),
    Kind("exported program", ("program.ranet",), _segment("png_frames", network="program.ranet"), exact=True),
    Kind("pth file", ("weights.pth",), _convert),
    Kind("results and annotations", ("results/**/*", "davis/Annotations/**/*", "davis/ImageSets/**/*"), _evaluate),
    Kind("training data", ("davis/**/*",), _read_training_data),
    Kind("training checkpoint", ("training/2/**/*",), _continue_training),
    Kind("studio project", ("project/*.json*", "project/given/*", "project/masks/*"), _open_project),
)
