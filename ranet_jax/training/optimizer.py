"""The optimizer: Adam with a schedule, clipping, decoupled weight decay, and a rate of its own for the backbone."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from ranet_jax.errors import InputError

BACKBONE = "backbone"
WHOLE_BACKBONE = ("",)
"""`OptimizerConfig.frozen` of a backbone that does not learn: every name begins so."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How the weights move. The defaults are the paper's: Adam from 1e-5, decaying.

    Attributes:
        learning_rate: the highest, reached at the end of the warm-up.
        schedule: "constant", "cosine" or "polynomial": what follows the warm-up.
        power: exponent of the polynomial decay.
        final_factor: the last rate, as a share of the highest.
        warmup_steps: over which the rate rises linearly from 0.
        backbone_factor: the backbone's rate, as a share of the others'; 0 freezes it: no gradient, no optimizer state.
        frozen_modules: the backbone's modules whose names begin so, as `("stem", "stage0")`, are frozen whatever its
            rate. If they are its first, the backward pass ends above them, before the largest feature maps.
        beta1: decay of Adam's first moment.
        beta2: decay of its second.
        weight_decay: decoupled (AdamW), on kernels only; 0 is plain Adam.
        clip_norm: largest norm of the whole gradient; 0 for no clipping.
        ema_decay: decay of the running average of the weights; 0 makes it the weights themselves.
    """

    learning_rate: float = 1e-5
    schedule: Literal["constant", "cosine", "polynomial"] = "polynomial"
    power: float = 0.9
    final_factor: float = 0.0
    warmup_steps: int = 0
    backbone_factor: float = 1.0
    frozen_modules: tuple[str, ...] = ()
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a value is outside its range.
        """
        if self.schedule not in ("constant", "cosine", "polynomial"):
            raise InputError(f"schedule is {self.schedule!r}: choose 'constant', 'cosine' or 'polynomial'")
        for name in ("learning_rate", "backbone_factor", "weight_decay", "clip_norm", "warmup_steps", "power"):
            if getattr(self, name) < 0:
                raise InputError(f"optimizer field {name} is {getattr(self, name)}: it must not be negative")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"optimizer field {name} is {getattr(self, name)}: it must be in [0, 1)")

    @property
    def frozen(self) -> tuple[str, ...]:
        """How the names of the backbone's frozen modules begin."""
        return WHOLE_BACKBONE if self.backbone_factor == 0 else self.frozen_modules


def learning_rate_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then the schedule down to `final_factor` at step `steps`."""
    peak, decay_steps = config.learning_rate, max(1, steps - config.warmup_steps)
    if config.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, decay_steps, alpha=config.final_factor)
    elif config.schedule == "polynomial":
        decay = optax.polynomial_schedule(peak, peak * config.final_factor, config.power, decay_steps)
    else:
        decay = optax.constant_schedule(peak)
    if not config.warmup_steps:
        return decay
    # The first step is not lost: its rate is a warm-up's first fraction, not 0.
    warmup = lambda step: peak * (step + 1) / config.warmup_steps
    return optax.join_schedules([warmup, decay], [config.warmup_steps])


def build_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The transformation from gradients to updates.

    Args:
        config: what it is made of.
        steps: length of the training, for the schedule.

    Returns:
        Clipping over all weights, then Adam for each group of `parameter_groups`; what is frozen stays.
    """
    schedule = learning_rate_schedule(config, steps)

    def adam(factor: float) -> optax.GradientTransformation:
        return optax.adamw(
            lambda step: factor * schedule(step),
            config.beta1,
            config.beta2,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        )

    transforms = {"other": adam(1.0), "frozen": optax.set_to_zero()}
    if config.frozen != WHOLE_BACKBONE:
        transforms[BACKBONE] = adam(config.backbone_factor)
    groups = optax.partition(transforms, lambda params: parameter_groups(params, config.frozen))
    whole = optax.chain(optax.clip_by_global_norm(config.clip_norm), groups) if config.clip_norm else groups

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        # Optax raises decays, Python floats, to the power of an integer count.
        with jax.numpy_dtype_promotion("standard"):
            return whole.update(updates, state, params)

    return optax.GradientTransformation(whole.init, update)


def parameter_groups(params: Any, frozen: tuple[str, ...] = ()) -> Any:
    """The group of every parameter: "frozen", "backbone" or "other", by the names at the top.

    Args:
        params: of a network.
        frozen: see `OptimizerConfig.frozen`.

    Raises:
        InputError: a frozen name begins no module of the backbone.
    """
    modules = params.get(BACKBONE, {})
    for start in frozen:
        if modules and not any(name.startswith(start) for name in modules):
            raise InputError(
                f"frozen_modules: no module of the backbone begins with {start!r}: it has {', '.join(modules)}"
            )
    every = lambda group, tree: jax.tree.map(lambda _: group, tree)
    groups = {name: every("other", subtree) for name, subtree in params.items()}
    for name, module in modules.items():
        groups[BACKBONE][name] = every("frozen" if name.startswith(frozen) else BACKBONE, module)
    return groups


def frozen_backbone(params: Any, frozen: tuple[str, ...]) -> Any:
    """The same parameters with no gradient to the frozen ones: what is only needed for it is then never computed."""
    groups = parameter_groups(params, frozen)
    return jax.tree.map(lambda p, group: jax.lax.stop_gradient(p) if group == "frozen" else p, params, groups)


def update_average(average: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """Running average of the weights after update number `step` (from 0).

    The decay grows as `(1 + step) / (10 + step)` up to its value, so that the initial weights are soon forgotten.
    """
    step = step.astype(jnp.float32)
    decay_now = jnp.minimum(decay, (1.0 + step) / (10.0 + step)) if decay else jnp.zeros(())
    return jax.tree.map(lambda a, p: a + (1.0 - decay_now) * (p - a), average, params)
