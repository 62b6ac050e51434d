"""On which device JAX computes."""

import jax

from ranet_jax.errors import InputError

PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "rocm": "rocm", "tpu": "tpu"}
"""By what users call them, JAX's names."""


def use_device(name: str | None = None) -> jax.Device:
    """Has JAX compute on one device, for the whole process; to be called before anything is computed.

    Args:
        name: "cpu", "gpu" (or "cuda"), "rocm" or "tpu", perhaps with a number from 0, as in "gpu:1"; None for the one
            that JAX takes.

    Returns:
        The device.

    Raises:
        InputError: JAX cannot use such a device here.
    """
    if name is None:
        return _devices(None)[0]
    kind, _, number = name.partition(":")
    if kind not in PLATFORMS or (":" in name and not number.isdecimal()):
        raise InputError(f"--device {name}: give one of {', '.join(PLATFORMS)}, perhaps with a number, such as gpu:1")
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
    # Before the first use of JAX, this also keeps it from starting what is not wanted.
    jax.config.update("jax_platforms", PLATFORMS[kind])
    try:
        found = _devices(kind)
        index = int(number or 0)
        if index >= len(found):
            raise InputError(f"--device {name}: there are {len(found)}, from {kind}:0: give one of them")
    except InputError:
        jax.config.update("jax_platforms", platforms)
        raise
    jax.config.update("jax_default_device", found[index])
    return found[index]


def _devices(kind: str | None) -> list[jax.Device]:
    try:
        return jax.devices(None if kind is None else PLATFORMS[kind])
    except (RuntimeError, AssertionError) as error:  # the latter where no backend that is asked for is installed
        reason = (str(error).strip() or "its backend is not installed").splitlines()[0].rstrip(".")[:160]
        what = "JAX can use no device" if kind is None else f"JAX can use no {kind} device"
        raise InputError(f"{what} here ({reason}): give --device cpu, or set JAX_PLATFORMS=cpu") from error
