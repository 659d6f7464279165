from __future__ import annotations

from pathlib import Path

import pytest

from rls.config import load

ODD = Path(__file__).parent / "odd"


@pytest.mark.parametrize("name", sorted(path.name for path in ODD.iterdir()))
def test_an_odd_file_has_exactly_the_warning_of_its_first_line(name, monkeypatch):
    """What is hardly meant is told once, at its place, and does not keep the file from being used."""
    monkeypatch.chdir(ODD)
    first_line = Path(name).read_bytes().split(b"\n")[0].decode()
    loaded = load([Path(name)])
    assert [str(problem) for problem in loaded.warnings] == [f"{name}:{first_line.removeprefix('# ')}"]
    assert not loaded.problems
    assert loaded.files == (name,)


ORDINARY = """
domain: mesh
descriptors:
  # a name for a group of limits, which another one replaces
  - {key: ip, rate_limit: {name: ip, unit: minute, requests_per_unit: 5}}
  - {key: ip, value: 10.0.0.1, rate_limit: {name: ip, unit: minute, requests_per_unit: 50}}
  - {key: company, rate_limit: {name: company, unit: minute, requests_per_unit: 0, replaces: [{name: ip}]}}
  # a value that passes
  - {key: company, value: ours}
  # flags of a level that hold for limits further down
  - key: path
    value: /api/*
    share_threshold: true
    value_to_metric: true
    descriptors:
      - {key: method, rate_limit: {unit: second, requests_per_unit: 1}}
  - key: path
    value: "*"
    detailed_metric: true
    shadow_mode: false
    rate_limit: {unlimited: true}
"""


def test_what_is_ordinary_is_not_warned_of(tmp_path):
    """Warnings are for clear cases only."""
    path = tmp_path / "a.yaml"
    path.write_text(ORDINARY)
    loaded = load([path])
    assert not loaded.warnings
    assert not loaded.problems
