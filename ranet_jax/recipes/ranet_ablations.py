"""The ablations of the paper's Tables 4 and 5, each from ImageNet weights to its end in one or two runs.

    ranet-jax train ranet_ablations:ranking-none:static --workdir runs/ranking-none-static \
        --config.data.root=data --config.backbone_checkpoint=resnet101.pth
    ranet-jax train ranet_ablations:ranking-none --workdir runs/ranking-none \
        --config.data.root=data --config.initial_checkpoint=runs/ranking-none-static/inference

| argument                   | what is changed                                     | paper's J mean on DAVIS16-val |
|---|---|---|
| `full`                     | nothing                                             | 85.5                          |
| `ranking-none`             | Table 4: all maps in template order                 | 81.9                          |
| `ranking-maximum`          | Table 4: one map a branch, the channel-wise maximum | 81.1                          |
| `no-correlation`           | Table 5, -CL: both frames' features, concatenated   | 67.5                          |
| `no-previous-mask`         | Table 5, -PM                                        | 81.4                          |
| `no-static-pretraining`    | Table 5, -IP: the second command, from ImageNet     | 73.2                          |
| `no-video-finetuning`      | Table 5, -VF: the first command alone               | 79.9                          |

Cost of a run: that of `ranet_static` and `ranet_davis16`. For a small machine, `:lite` after the
argument makes the same change to the small network, as in `ranet_lite_davis16`.
"""

from typing import Any

import ml_collections

from ranet_jax.errors import InputError
from ranet_jax.recipes import ranet_davis16, ranet_lite_davis16, ranet_static

CHANGES: dict[str, dict[str, Any]] = {
    "full": {},
    "ranking-none": {"ranking": "none"},
    "ranking-maximum": {"ranking": "maximum"},
    "no-correlation": {"correlation": False},
    "no-previous-mask": {"previous_mask": False},
    "no-static-pretraining": {},
    "no-video-finetuning": {},
}
"""Fields of the model by name of the ablation."""

_BASES = {
    "": ranet_davis16.get_config,
    "static": ranet_static.get_config,
    "lite": ranet_lite_davis16.get_config,
}


def get_config(argument: str) -> ml_collections.ConfigDict:
    """The recipe of `NAME`, `NAME:static` or `NAME:lite`.

    Raises:
        InputError: there is no such ablation.
    """
    name, _, base = argument.partition(":")
    if name not in CHANGES or base not in _BASES:
        names, bases = ", ".join(CHANGES), " or ".join(b for b in _BASES if b)
        raise InputError(f"{argument}: no such ablation; choose one of {names}, with an optional :{bases}")
    if (name, base) == ("no-video-finetuning", "") or (name, base) == ("no-static-pretraining", "static"):
        raise InputError(f"{argument}: this is the run that the ablation leaves out")
    config = _BASES[base]()
    config.model.update(CHANGES[name])
    return config
