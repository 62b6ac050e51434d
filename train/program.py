"""What the training programs share: from a locked configuration to a run, its checkpoints, exports and reports."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from eval.davis import track_and_score
from ranet_jax.convert.torch_backbones import backbone_from_torch
from ranet_jax.convert.torch_file import read_torch_file
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file
from ranet_jax.networks import NetworkConfig
from ranet_jax.processes import start_distributed
from ranet_jax.training.checkpoint import Checkpoints
from ranet_jax.training.loop import BatchChange, Hooks, LoopConfig, run
from ranet_jax.training.optimizer import OptimizerConfig, build_optimizer, learning_rate_schedule
from ranet_jax.training.parallel import data_parallel
from ranet_jax.training.reporting import Reporter
from ranet_jax.training.step import LossFunction, StepFunction, initial_state, train_step
from ranet_jax.weights import Checkpoint, initial_variables, load_checkpoint, read_card, save_checkpoint
from train.data import open_batches
from train.licences import of_training
from train.options import Options, build

# What may differ between a run and its continuation: nothing of it changes a loss.
_FREE_FIELDS = ("loop.log_every", "loop.checkpoint_every", "loop.evaluate_every", "loop.picture_every", "keep")


@dataclasses.dataclass(frozen=True)
class Program:
    """What is a network's own in its training.

    Attributes:
        model: class of its configuration, built from the fields `model`.
        objective: class of what it minimises, built from the fields `objective`.
        loss: `(model, objective, *, frozen)` to its loss function.
        picture: `(model, variables, batch)` to a picture of some samples and predictions.
        smoke: changes the fields `model`, and others of its own, to those of a run in seconds.
        change: `(config)` to a change of every batch on the host before its step; None for none.
    """

    model: type[NetworkConfig]
    objective: type
    loss: Callable[..., LossFunction]
    picture: Callable[[Any, Any, Mapping[str, np.ndarray]], np.ndarray]
    smoke: Callable[[ml_collections.ConfigDict], None]
    change: Callable[[ml_collections.ConfigDict], BatchChange | None] = lambda config: None


def train(program: Program, options: Options) -> int:
    """Trains as the options say; returns the exit code: 0, or 128 and the number of the signal that stopped it.

    Raises:
        InputError: a field, a file or the run's folder does not fit.
    """
    start_distributed(options.distributed)
    if options.smoke:
        # Compiling is nearly all that a smoke run does.
        jax.config.update("jax_disable_most_optimizations", True)
    config = smoke(program, options.config) if options.smoke else options.config
    model = program.model.from_dict(config.model.to_dict())
    if tuple(config.data.sample.size) != model.input_size:
        raise InputError(
            f"data.sample.size is {config.data.sample.size} and model.input_size {model.input_size}: differ"
        )
    optimizer_config = build(OptimizerConfig, config.optimizer)
    loop = build(LoopConfig, config.loop)
    optimizer = build_optimizer(optimizer_config, loop.steps)
    function = StepFunction(
        program.loss(model, build(program.objective, config.objective), frozen=optimizer_config.frozen),
        optimizer,
        optimizer_config.ema_decay,
        config.accumulate,
    )
    step = data_parallel(functools.partial(train_step, function=function), config.backend)
    change = program.change(config)
    batches = open_batches(config.data, batch_size=config.batch_size, seed=config.seed)
    state = initial_state(start_variables(model, config), optimizer)
    if loop.evaluate_every:
        open_split(config)
    hooks = Hooks(
        export=functools.partial(export, options.workdir / "inference", model, card_of(config)),
        evaluate=functools.partial(evaluate, model, config, options.workdir / "evaluation"),
        picture=functools.partial(program.picture, model),
        learning_rate=learning_rate_schedule(optimizer_config, loop.steps),
    )
    write_config(options.workdir, config)
    with Checkpoints(options.workdir / "checkpoints", keep=config.keep, config=decisive(config)) as checkpoints:
        outcome = run(
            step,
            state,
            batches.dataset,
            config=loop,
            checkpoints=checkpoints,
            reporter=functools.partial(_reporter, options.workdir, loop.steps),
            hooks=hooks,
            change=change,
        )
    for message, count in batches.skipped.messages.items():
        print(f"left out {count} samples: {message}")
    if outcome.stopped_by is None:
        print(f"done: {loop.steps} steps; the weights are in {options.workdir / 'inference'}")
        return 0
    print(f"stopped after step {int(outcome.state.step)}; the same command continues")
    return 128 + outcome.stopped_by


def smoke(program: Program, config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The same recipe in seconds: tiny inputs, a micro backbone without weights, six steps, no evaluation."""
    config = ml_collections.ConfigDict(config)
    config.model.input_size = config.data.sample.size = (64, 96)
    config.model.backbone, config.backbone_checkpoint, config.initial_checkpoint = "resnet_micro", "", ""
    config.data.cache_gigabytes, config.data.prefetch = 0.1, 4
    config.batch_size = config.accumulate * jax.device_count() * 2
    config.loop = ml_collections.ConfigDict(
        {"steps": 6, "log_every": 2, "checkpoint_every": 3, "evaluate_every": 0, "picture_every": 3}
    )
    program.smoke(config)
    return config.lock()


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
    parts = {name: f"{part.kind} {part.split}" for name, part in config.data.parts.items() if part.weight}
    devices = f"{jax.device_count()} {jax.default_backend()}"
    card = {"trained": True, "batch_size": config.batch_size, "data": parts, "devices": devices}
    return card | of_training(config.data, initial_card)


def export(folder: pathlib.Path, model: NetworkConfig, card: dict[str, Any], variables: Any, step: int) -> None:
    """Writes the averaged weights as a checkpoint for inference, with how they came about."""
    save_checkpoint(folder, model, variables, card=card | {"steps": step})


def open_split(config: ml_collections.ConfigDict) -> tuple[DavisTree, str, list[str] | None]:
    """What is evaluated during training.

    Raises:
        InputError: the folder, the split or a sequence does not exist.
    """
    fields = config.evaluation
    tree = DavisTree(pathlib.Path(config.data.root) / fields.folder, fields.year)
    names = tree.sequences(fields.split)
    for name in fields.sequences:
        if name not in names:
            raise InputError(f"evaluation.sequences: {name!r} is not in the split {fields.split!r}")
    return tree, fields.split, list(fields.sequences) or None


def evaluate(
    model: NetworkConfig, config: ml_collections.ConfigDict, folder: pathlib.Path, variables: Any, step: int
) -> dict[str, float]:
    """J&F, J and F (means, in percent) of the averaged weights as a tracker, on the split of the configuration."""
    tree, split, sequences = open_split(config)
    checkpoint = Checkpoint(f"step {step}", model, variables, {})
    scores, _ = track_and_score(tree, split, checkpoint, folder, sequences=sequences)
    return {name: 100 * scores.global_scores()[name] for name in ("J&F-Mean", "J-Mean", "F-Mean")}


def write_config(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Leaves the whole configuration beside the results."""
    if jax.process_index() == 0:
        with atomic_file(workdir / "config.json") as temporary:
            temporary.write_text(config.to_json_best_effort(indent=2) + "\n")


def _reporter(workdir: pathlib.Path, steps: int, first_step: int) -> Reporter:
    return Reporter(workdir, steps=steps, first_step=first_step, active=jax.process_index() == 0)
