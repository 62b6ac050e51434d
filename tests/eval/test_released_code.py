"""The authors' code beside this library: found, run and left without traces. No test asserts a speed."""

import sys

import pytest

from eval.benchmarks import __main__ as benchmark
from eval.benchmarks import released_code

# The authors' code needs it, and nothing else here does.
pytest.importorskip("torch")

NETWORK = """
import torch
from RANet_lib.parts import *
from other_parts import half


class RANet(torch.nn.Module):
    def __init__(self, pretrained, type):
        super().__init__()
        print("noise that must not appear")
        self.type = type

    def forward(self, frame, template, mask, previous_mask, mode=""):
        if mode == "first":
            return [template.mean()]
        assert not torch.is_grad_enabled() and not self.training
        assert frame.shape == (1, 3, 480, 864) and mask.shape == previous_mask.shape == (1, 1, 480, 864)
        count = int(mask.max()) - 1
        assert (count == 1) == (self.type == "single_object")
        mask.zero_()
        return half(whole(frame)), count
"""


@pytest.fixture
def codes(tmp_path):
    """A folder laid out like the authors': a package whose own start cannot be run, and modules found by path."""
    (tmp_path / "RANet_lib").mkdir()
    (tmp_path / "RANet_model.py").write_text(NETWORK)
    (tmp_path / "RANet_lib" / "__init__.py").write_text("raise RuntimeError('the loaders are not wanted')")
    (tmp_path / "RANet_lib" / "parts.py").write_text("whole = lambda x: x")
    (tmp_path / "RANet_lib" / "other_parts.py").write_text("half = lambda x: x / 2")
    return tmp_path


def test_both_are_timed_in_turn(codes, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(released_code, "_our_step", lambda objects: lambda: calls.append(objects))
    monkeypatch.setattr(released_code, "SETTLING", 0.0)
    before = set(sys.modules)
    path = list(sys.path)
    assert benchmark.main(["--released-code", str(codes), "--objects", "1,3", "--repeats", "2", "--debug"]) == 0
    assert calls == [1] * 3 + [3] * 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["1", "3"]
    assert not any("noise" in line for line in lines)
    assert sys.path == path
    assert not {"RANet_model", "RANet_lib", "RANet_lib.parts", "other_parts"} & (set(sys.modules) - before)


def test_medians_are_of_rounds(monkeypatch):
    """The clock is turned on by the calls themselves: 3 and 1 s, 2 and 2 s, 9 and 3 s."""
    now = [0.0]
    theirs, ours = iter([0.0, 3.0, 2.0, 9.0]), iter([0.0, 1.0, 2.0, 3.0])

    def last(durations):
        now[0] += next(durations)

    monkeypatch.setattr(released_code.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(released_code, "SETTLING", 0.0)
    found = released_code.time_in_turn(lambda: last(theirs), lambda: last(ours), lambda: 5.0, 3)
    assert found == (3.0, 2.0, 3.0, 5.0)


def test_what_is_missing_is_said(tmp_path, codes, capsys):
    assert benchmark.main(["--released-code", str(tmp_path / "nowhere")]) == 2
    assert "give the folder 'codes'" in capsys.readouterr().err
    (codes / "RANet_lib" / "other_parts.py").write_text("import surely_not_installed")
    assert benchmark.main(["--released-code", str(codes)]) == 2
    assert "surely_not_installed cannot be imported" in capsys.readouterr().err
