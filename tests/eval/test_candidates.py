"""Which past frames MRNet chose, of a micro network on a fabricated data set."""

import jax
import numpy as np
import pytest

from eval import candidates
from ranet_jax.data.davis import DavisTree
from ranet_jax.networks import MRNetConfig, RANetConfig
from ranet_jax.weights import initial_variables, load_checkpoint, save_checkpoint

CONFIG = MRNetConfig.lite(
    backbone="resnet_micro", input_size=(32, 64), decoder_features=(8, 8), candidates=1, interval=1
)


@pytest.fixture
def network(tmp_path):
    save_checkpoint(tmp_path / "net", CONFIG, initial_variables(CONFIG))
    return tmp_path / "net"


def test_every_frame_s_choice_is_one_of_its_candidates(root, network, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    ids, chosen = candidates.choices(DavisTree(root, 2016), "cow", load_checkpoint(network))
    assert ids == [1]
    assert chosen.shape == (2, 1)
    assert chosen[0, 0] == 0
    assert chosen[1, 0] in (0, 1)
    monkeypatch.setattr(candidates, "choices", lambda *_: (ids, np.array([[0], [1], [1], [0]])))
    target = tmp_path / "chosen.svg"
    command = ["--davis", str(root), "--sequence", "cow", "--checkpoint", str(network), "--out", str(target)]
    assert candidates.main(command) == 0
    assert capsys.readouterr().out == f"{target}: 4 frames, in 50% of the choices frame 0\n"
    assert target.read_text().startswith("<?xml")


def test_a_network_that_chooses_nothing_is_named(root, tmp_path, capsys):
    config = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6))
    plain = MRNetConfig.lite(backbone="resnet_micro", input_size=(32, 64), mask_ranking=False)
    for name, other, message in (("ranet", config, "ranet"), ("plain", plain, "chooses no past frames")):
        save_checkpoint(tmp_path / name, other, jax.tree.map(np.asarray, initial_variables(other)))
        command = ["--davis", str(root), "--sequence", "cow", "--checkpoint", str(tmp_path / name)]
        assert candidates.main([*command, "--out", str(tmp_path / "chosen.svg")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert candidates.main([*command, "--out", str(tmp_path / "chosen.gif")]) == 2
    assert "choose .png or .svg" in capsys.readouterr().err
