"""Tracking a split, with and without online learning, by a micro network on a fabricated data set."""

import jax
import numpy as np
import pytest

from ranet_jax.commands.evaluate import main
from ranet_jax.data.davis import DavisTree
from ranet_jax.evaluation import tracking
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.weights import initial_variables, load_checkpoint, save_checkpoint

SIZE = (48, 80)
SEQUENCES = ("cow", "dog")


@pytest.fixture
def network(tmp_path):
    config = RANetConfig.lite(
        backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
    )
    save_checkpoint(tmp_path / "net", config, TrackerConfig.lite(), initial_variables(config))
    return tmp_path / "net"


@pytest.mark.slow
def test_each_sequence_is_adapted_from_the_weights_of_the_checkpoint(root, network, tmp_path):
    checkpoint, given = load_checkpoint(network), []

    def adapt(variables, frame, labels):
        given.append(jax.tree.map(np.array, variables))
        assert frame.shape == (*SIZE, 3)
        assert set(np.unique(labels)) == {0, 1}
        return jax.tree.map(lambda x: 0.5 * x, variables)

    scores, _ = tracking.track_and_score(DavisTree(root, 2016), "val", checkpoint, tmp_path / "results", adapt=adapt)
    assert scores.sequences == SEQUENCES
    assert len(given) == 2
    for variables in given:
        jax.tree.map(np.testing.assert_array_equal, variables, checkpoint.variables)


@pytest.mark.slow
def test_tracking_begins_with_the_frame_of_the_first_annotation(write_davis, network, tmp_path):
    root = write_davis({"cow": 6})
    for index in (0, 1):
        (root / "Annotations" / "480p" / "cow" / f"{index:05d}.png").unlink()
    tree, results = DavisTree(root, 2016), tmp_path / "results"
    scores, _ = tracking.track_and_score(tree, "val", load_checkpoint(network), results)
    assert sorted(path.stem for path in (results / "cow").iterdir()) == ["00002", "00003", "00004", "00005"]
    given = tree.annotations("cow")[0]
    np.testing.assert_array_equal(tree.label_map(results / "cow" / "00002.png"), tree.label_map(given))
    assert len(scores.objects[0].region_per_frame) == 2


@pytest.mark.slow
def test_the_program_takes_online_steps(root, network, tmp_path, capsys):
    arguments = ["--davis", str(root), "--checkpoint", str(network), "--sequences", "cow"]
    more = ["--online-steps", "2", "--online-learning-rate", "1e-3", "--results", str(tmp_path / "results")]
    assert main([*arguments, *more]) == 0
    assert "J&F" in capsys.readouterr().out
    assert len(list((tmp_path / "results" / "cow").iterdir())) == 3
