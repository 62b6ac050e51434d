"""From a locked configuration to a run, its checkpoints, exports and reports."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from ranet_jax.convert.torch_backbones import backbone_from_torch
from ranet_jax.convert.torch_file import read_torch_file
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.davis import choose_sequences
from ranet_jax.evaluation.tracking import track_and_score
from ranet_jax.io.atomic import atomic_file
from ranet_jax.networks import NetworkConfig
from ranet_jax.processes import start_distributed
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training import loop
from ranet_jax.training.checkpoint import Checkpoints
from ranet_jax.training.licences import of_training
from ranet_jax.training.loop import Hooks, LoopConfig
from ranet_jax.training.mixture import Mixture, open_mixture, title_of
from ranet_jax.training.optimizer import learning_rate_schedule
from ranet_jax.training.options import build
from ranet_jax.training.parallel import data_parallel
from ranet_jax.training.programs import curriculum, picture
from ranet_jax.training.recipe import configs_of, open_step
from ranet_jax.training.reporting import Reporter
from ranet_jax.training.smoke import smoke
from ranet_jax.training.step import initial_state, train_step
from ranet_jax.weights import Checkpoint, initial_variables, load_checkpoint, read_card, save_checkpoint

# What may differ between a run and its continuation: nothing of it changes a loss.
_FREE_FIELDS = ("loop.log_every", "loop.checkpoint_every", "loop.evaluate_every", "loop.picture_every", "keep")


@dataclasses.dataclass(frozen=True)
class Options:
    """What a training was told.

    Attributes:
        config: the recipe, locked, with the fields that were given.
        workdir: folder of the run.
        smoke: shrink all that was not given.
        given: names of the fields that were given, such as "loop.steps".
        distributed: several processes: "auto", or "HOST:PORT,COUNT,INDEX"; None for one process.
    """

    config: ml_collections.ConfigDict
    workdir: pathlib.Path
    smoke: bool = False
    given: frozenset[str] = frozenset()
    distributed: str | None = None


def train(options: Options) -> int:
    """Trains as the options say; returns the exit code: 0, or 128 and the number of the signal that stopped it.

    Raises:
        InputError: a field, a file or the run's folder does not fit.
    """
    start_distributed(options.distributed)
    config = options.config
    configs_of(config)
    if config.loop.evaluate_every:
        open_split(config)
    if options.smoke:
        # Compiling is nearly all that a smoke run does.
        jax.config.update("jax_disable_most_optimizations", True)
        config = smoke(config, options.given)
    opened, rhythm = open_step(config), build(LoopConfig, config.loop)
    step = data_parallel(functools.partial(train_step, function=opened.function), config.backend)
    change = curriculum(config)
    mixture = open_mixture(config.data, crop=opened.crop, batch_size=config.batch_size, seed=config.seed)
    variables = start_variables(opened.model, config)
    _announce(options, config, mixture, variables)
    hooks = Hooks(
        export=functools.partial(export, options.workdir / "inference", opened.model, opened.tracker, card_of(config)),
        evaluate=functools.partial(evaluate, opened.model, opened.tracker, config, options.workdir / "evaluation"),
        picture=functools.partial(picture, opened.model, opened.tracker, opened.objective),
        learning_rate=learning_rate_schedule(opened.optimizer, rhythm.steps),
    )
    write_config(options.workdir, config)
    with Checkpoints(options.workdir / "checkpoints", keep=config.keep, config=decisive(config)) as checkpoints:
        outcome = loop.run(
            step,
            initial_state(variables, opened.function.optimizer),
            mixture.batches.dataset,
            config=rhythm,
            checkpoints=checkpoints,
            reporter=functools.partial(_reporter, options.workdir, rhythm.steps),
            hooks=hooks,
            change=change,
        )
    for message, count in mixture.batches.skipped.messages.items():
        print(f"left out {count} samples: {message}")
    if outcome.stopped_by is None:
        print(f"done: {rhythm.steps} steps; the weights are in {options.workdir / 'inference'}")
        return 0
    print(f"stopped after step {int(outcome.state.step)}; the same command continues")
    return 128 + outcome.stopped_by


def _announce(
    options: Options, config: ml_collections.ConfigDict, mixture: Mixture, variables: Mapping[str, Any]
) -> None:
    """Says at once what was found, before the first step is compiled for minutes."""
    if jax.process_index():
        return
    height, width = config.model.input_size
    if options.smoke:
        weights = [w for w in (options.config.backbone_checkpoint, options.config.initial_checkpoint) if w]
        found = f"; {' and '.join(weights)} found, and not used by so small a network" if weights else ""
        print(
            f"smoke: {height}x{width}, {config.model.backbone}, {config.loop.steps} steps; what was given stays{found}"
        )
    for line in mixture.description:
        print(f"data: {line}")
    kind, processes = jax.devices()[0].device_kind, jax.process_count()
    shared = f" of {processes} processes" if processes > 1 else ""
    print(
        f"devices: {jax.device_count()} x {kind} ({jax.default_backend()}){shared}, {config.batch_size} samples a step"
    )
    millions = sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) / 1e6
    title = configs_of(config)[0].TITLE
    print(f"network: {title}, {config.model.backbone}, {height}x{width}, {millions:.2f} M parameters")
    print("compiling the training step", flush=True)


def start_variables(model: NetworkConfig, config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Random weights, with the backbone's or all of them replaced by those of a checkpoint.

    Raises:
        InputError: a checkpoint cannot be read or belongs to another network.
    """
    if config.initial_checkpoint:
        checkpoint = load_checkpoint(config.initial_checkpoint)
        variables, expected = checkpoint.variables, jax.eval_shape(lambda: initial_variables(model))
        shapes = lambda tree: jax.tree.map(lambda x: tuple(x.shape), tree)
        if shapes(variables) != shapes(dict(expected)):
            raise InputError(f"{config.initial_checkpoint}: its weights do not fit the model of this config")
        return variables
    variables = jax.tree.map(np.asarray, initial_variables(model, config.seed))
    if not config.backbone_checkpoint:
        return variables
    stored = read_torch_file(config.backbone_checkpoint)
    loaded = backbone_from_torch(stored, model.backbone, norm=model.backbone_norm)
    for collection, values in loaded.items():
        variables[collection]["backbone"] = values
    return variables


def decisive(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The fields that decide a run's losses, as JSON values."""
    values = json.loads(config.to_json_best_effort())
    for name in _FREE_FIELDS:
        *groups, last = name.split(".")
        group = values
        for part in groups:
            group = group[part]
        del group[last]
    # What is done with the weights decides no loss.
    del values["evaluation"]
    # Where the files lie, and how fast they are read, decides nothing.
    for name in ("root", "threads", "prefetch", "cache_gigabytes"):
        del values["data"][name]
    return values


def card_of(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What the exported weights' card says of their training: data, licence, hardware.

    Raises:
        InputError: the checkpoint that training starts from cannot be read.
    """
    initial_card = read_card(config.initial_checkpoint) if config.initial_checkpoint else {}
    parts = {name: title_of(part) for name, part in config.data.parts.items() if part.weight}
    devices = f"{jax.device_count()} {jax.default_backend()}"
    card = {"trained": True, "batch_size": config.batch_size, "data": parts, "devices": devices}
    return card | of_training(config.data, initial_card)


def export(
    folder: pathlib.Path,
    model: NetworkConfig,
    tracker: TrackerConfig,
    card: dict[str, Any],
    variables: Any,
    step: int,
) -> None:
    """Writes the averaged weights as a checkpoint for inference, with how they came about."""
    save_checkpoint(folder, model, tracker, variables, card=card | {"steps": step})


def open_split(config: ml_collections.ConfigDict) -> tuple[DavisTree, str, list[str] | None]:
    """What is evaluated during training.

    Raises:
        InputError: the folder, the split or a sequence does not exist.
    """
    fields = config.evaluation
    tree = DavisTree(pathlib.Path(config.data.root) / fields.folder, fields.year)
    sequences = list(fields.sequences) or None
    choose_sequences(tree, fields.split, sequences)
    return tree, fields.split, sequences


def evaluate(
    model: NetworkConfig,
    tracker: TrackerConfig,
    config: ml_collections.ConfigDict,
    folder: pathlib.Path,
    variables: Any,
    step: int,
) -> dict[str, float]:
    """J&F, J and F (means, in percent) of the averaged weights as a tracker, on the split of the configuration."""
    tree, split, sequences = open_split(config)
    checkpoint = Checkpoint(f"step {step}", model, tracker, variables, {})
    scores, _ = track_and_score(tree, split, checkpoint, folder, sequences=sequences)
    return {name: 100 * scores.global_scores()[name] for name in ("J&F-Mean", "J-Mean", "F-Mean")}


def write_config(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Leaves the whole configuration beside the results."""
    if jax.process_index() == 0:
        with atomic_file(workdir / "config.json") as temporary:
            temporary.write_text(config.to_json_best_effort(indent=2) + "\n")


def _reporter(workdir: pathlib.Path, steps: int, first_step: int) -> Reporter:
    return Reporter(workdir, steps=steps, first_step=first_step, active=jax.process_index() == 0)
