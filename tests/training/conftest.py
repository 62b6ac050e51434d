import pytest

from ranet_jax.training.step import TrainState, initial_state
from tests.training.micro import VARIABLES, toy_function


@pytest.fixture
def state() -> TrainState:
    """Of the toy network, before the first step."""
    return initial_state(VARIABLES, toy_function().optimizer)
