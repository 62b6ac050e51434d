"""Descriptions of checkpoints of format 1, in which a network's config held its tracker, brought to format 2."""

from typing import Any

from ranet_jax.tracker import AspectBox, Presence, ReleasedBox, Target, TrackerConfig, WholeFrame

_MOVED = ("crop", "crop_scale", "parts", "merging", "target_model", "target_update")


def upgraded(description: dict[str, Any]) -> dict[str, Any]:
    """A description of format 1 in the fields of format 2.

    The digest of the config that fits the arrays is dropped: it was of other fields.

    Args:
        description: what config.json holds; folders that name no model are older than the second network.
    """
    model = description.get("model", "ranet")
    values = dict(description["config"])
    old = {name: values.pop(name) for name in _MOVED if name in values}
    presence = Presence() if old.get("parts") == "connected" else None
    target = Target(update=bool(old.get("target_update"))) if old.get("target_model") else None
    if model == "mrnet":
        window, aggregation = WholeFrame(), "soft" if old.get("merging", "softmax") == "softmax" else "hard"
    else:
        window = _box(old)
        aggregation = "soft" if old.get("merging") == "softmax" else "hard"
        values["hints"] = 0 if target is None else 1
    feedback = "probabilities" if model == "mrnet" else "labels"
    tracker = TrackerConfig(window, target, presence, aggregation, feedback)
    fields = {"format": 2, "model": model, "config": values, "tracker": tracker.to_dict(), "fits": None}
    return description | fields


def _box(old: dict[str, Any]) -> WholeFrame:
    scale = old.get("crop_scale", 1.5)
    return AspectBox(scale=scale) if old.get("crop") == "pad" else ReleasedBox(scale=scale)
