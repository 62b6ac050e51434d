"""The ablation of MRNet's paper: what the Mask-Ranking Module brings, and the similarity map in it.

    ranet-jax train mrnet_ablations:mask-ranking-off --workdir runs/mrnet-mask-ranking-off \
        --config.data.root=data --config.backbone_checkpoint=resnet50.pth
    ranet-jax evaluate --track --davis data/DAVIS --checkpoint runs/mrnet-mask-ranking-off/inference \
        --results results/mrnet-mask-ranking-off

| argument             | what is changed                                           | paper's J&F on DAVIS16-val |
|---|---|---|
| `full`               | nothing                                                   | 85.0                       |
| `similarity-map-off` | the decoder gets the mask that the module chose, not S*   | 82.6                       |
| `mask-ranking-off`   | no module: the decoder gets neither (the baseline)        | 81.1                       |

Cost of a run: that of `mrnet_davis16`, and as little has been run by us. For a small machine, `:lite` after
the argument makes the same change to the small network, with the encoder's weights and at the cost of
`mrnet_lite_davis16`.
"""

from typing import Any

import ml_collections

from ranet_jax.errors import InputError
from ranet_jax.recipes import mrnet_davis16, mrnet_lite_davis16

CHANGES: dict[str, dict[str, Any]] = {
    "full": {},
    "similarity-map-off": {"similarity_map": False},
    "mask-ranking-off": {"mask_ranking": False},
}
"""Fields of the model by name of the ablation."""

_BASES = {"": mrnet_davis16.get_config, "lite": mrnet_lite_davis16.get_config}


def get_config(argument: str) -> ml_collections.ConfigDict:
    """The recipe of `NAME` or `NAME:lite`.

    Raises:
        InputError: there is no such ablation.
    """
    name, _, base = argument.partition(":")
    if name not in CHANGES or base not in _BASES:
        names = ", ".join(CHANGES)
        raise InputError(f"{argument}: no such ablation; choose one of {names}, with an optional :lite")
    config = _BASES[base]()
    config.model.update(CHANGES[name])
    return config
