"""What the papers' ablation tables compare: variants that are trained apart, where they are, and how to train them."""

import pathlib
from typing import NamedTuple

from ranet_jax.errors import InputError


class Variant(NamedTuple):
    """An ablation: its name in its network's ablation recipes, what it changes, and the paper's value (percent)."""

    name: str
    change: str
    paper: float


class Table(NamedTuple):
    """A table of the papers.

    Attributes:
        title: what it is called.
        stem: of the files and the folder of masks that a report is written to.
        network: that its variants are of, a key of `ranet_jax.weights.DEFAULTS`.
        measure: that the paper reports of them, "J" or "J&F".
        prefix: of the variants' folders below the folder of runs.
        variants: its rows; the first is the network without any change.
    """

    title: str
    stem: str
    network: str
    measure: str
    prefix: str
    variants: tuple[Variant, ...]

    def folder(self, name: str, runs: pathlib.Path) -> pathlib.Path:
        """Where the run of a variant is below the folder of runs."""
        return runs / f"{self.prefix}{name}"


_FULL = Variant("full", "nothing", 85.5)
TABLES = {
    "4": Table(
        title="Table 4",
        stem="table4",
        network="ranet",
        measure="J",
        prefix="",
        variants=(
            _FULL,
            Variant("ranking-none", "all maps in template order", 81.9),
            Variant("ranking-maximum", "channel-wise maximum", 81.1),
        ),
    ),
    "5": Table(
        title="Table 5",
        stem="table5",
        network="ranet",
        measure="J",
        prefix="",
        variants=(
            _FULL,
            Variant("no-correlation", "-CL: features concatenated", 67.5),
            Variant("no-previous-mask", "-PM", 81.4),
            Variant("no-static-pretraining", "-IP", 73.2),
            Variant("no-video-finetuning", "-VF", 79.9),
        ),
    ),
    "mrnet": Table(
        title="MRNet's ablation",
        stem="table-mrnet",
        network="mrnet",
        measure="J&F",
        # Both networks have a variant "full".
        prefix="mrnet-",
        variants=(
            Variant("full", "nothing", 85.0),
            Variant("similarity-map-off", "the chosen mask alone", 82.6),
            Variant("mask-ranking-off", "no Mask-Ranking Module", 81.1),
        ),
    ),
}
"""The tables of trained variants, by the name that the command line knows them by."""


def trained_variants(table: Table, given: str, runs: pathlib.Path) -> dict[str, pathlib.Path]:
    """Where the trained variants of a table are.

    Args:
        table: the table.
        given: NAME=PATH,... of checkpoint folders that are elsewhere; may be empty.
        runs: the folder of runs.

    Returns:
        Checkpoint folder by name, of those that there are.

    Raises:
        InputError: `given` is something else, or names no variant of the table.
    """
    names = [variant.name for variant in table.variants]
    folders = {name: table.folder(name, runs) / "inference" for name in names}
    found = {name: folder for name, folder in folders.items() if folder.is_dir()}
    for entry in filter(None, given.split(",")):
        name, equals, path = entry.partition("=")
        if name not in names or not equals:
            raise InputError(f"--checkpoints {entry}: give NAME=PATH with a name of {table.title}: {', '.join(names)}")
        found[name] = pathlib.Path(path)
    return found


def training_commands(table: Table, name: str, runs: pathlib.Path) -> list[str]:
    """The commands that train a variant from ImageNet weights to where `trained_variants` finds it.

    Args:
        table: the table.
        name: of one of its variants.
        runs: the folder of runs.

    Returns:
        One command for each stage that is not done.
    """
    recipes = f"configs/{table.network}_ablations.py"
    command = f"python -m train.{table.network} --config {recipes}:{{}} --workdir {{}} --config.data.root=data {{}}"
    run = table.folder(name, runs)
    if table.network == "mrnet":
        return [command.format(name, run, "--config.backbone_checkpoint=resnet50.pth")]
    imagenet = "--config.backbone_checkpoint=resnet101.pth"
    if name == "no-static-pretraining":
        return [command.format(name, run, imagenet)]
    if name == "no-video-finetuning":
        return [command.format(f"{name}:static", run, imagenet)]
    first = table.folder(f"{name}-static", runs)
    second = command.format(name, run, f"--config.initial_checkpoint={first / 'inference'}")
    pretrained = (first / "inference").is_dir()
    return [second] if pretrained else [command.format(f"{name}:static", first, imagenet), second]
