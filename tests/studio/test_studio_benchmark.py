"""The benchmark asks a real studio, as the page does. No speed is asserted."""

import pytest

from eval.benchmarks import studio

pytestmark = pytest.mark.slow


def test_every_part_is_measured(checkpoint, capsys):
    arguments = ["--frames", "12", "--size", "64x96", "--checkpoint", checkpoint, "--repeats", "0", "--debug"]
    assert studio.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "12 frames of 64x96, a place to decode from every 240"
    assert sum(" median " in line and " ms" in line for line in lines) == 5
    done, resident, _ = lines[-1].split()
    assert done == "12"
    assert float(resident) > 50
