"""The licence that trained weights bear, as far as their data and the weights they come from say it."""

from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections

DAVIS_LICENCE = "CC BY-NC 4.0: trained on DAVIS, for non-commercial use only"


def inherited(cards: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The field `licence` for the card of weights made from others: every licence that theirs name, or no field."""
    licences = sorted({card["licence"] for card in cards if card.get("licence")})
    return {"licence": "; ".join(licences)} if licences else {}


def of_training(data: ml_collections.ConfigDict, initial_card: Mapping[str, Any]) -> dict[str, str]:
    """The same for weights that are trained.

    Args:
        data: see `ranet_jax.training.mixture.data_fields`. Only DAVIS's licence is known here; those of the image sets
            are for the user to look up. Packed data, photographs and videos are told by their folders' names.
        initial_card: of the weights that training starts from; empty without.
    """
    parts = [part for part in data.parts.values() if part.weight]
    davis = any("davis" in name.lower() for part in parts for name in _names(part))
    return inherited([initial_card, {"licence": DAVIS_LICENCE} if davis else {}])


def _names(part: ml_collections.ConfigDict) -> tuple[str, ...]:
    """What a data set's name may be in."""
    return (part.folder, part.masks) if part.kind in ("packed", "photographs", "videos") else (part.kind,)
