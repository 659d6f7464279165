from __future__ import annotations

from pathlib import Path

import pytest

from rls.sources.load import load

ODD = Path(__file__).parent / "odd"


@pytest.mark.parametrize("name", sorted(path.name for path in ODD.iterdir()))
def test_an_odd_file_has_exactly_the_warning_of_its_first_line(name, monkeypatch):
    """What is hardly meant is told once, at its place, and does not keep the file from being used."""
    monkeypatch.chdir(ODD)
    first_line = Path(name).read_bytes().split(b"\n")[0].decode()
    loaded = load([Path(name)])
    assert [str(problem) for problem in loaded.warnings] == [f"{name}:{first_line.removeprefix('# ')}"]
    assert not loaded.diagnostics
    assert loaded.files == (name,)


ORDINARY = """
domain: mesh
descriptors:
  # a name for a group of limits, which another one replaces
  - {key: ip, rate_limit: {name: ip, unit: minute, requests_per_unit: 5}}
  - {key: ip, value: 10.0.0.1, rate_limit: {name: ip, unit: minute, requests_per_unit: 50}}
  - {key: company, rate_limit: {name: company, unit: minute, requests_per_unit: 0, replaces: [{name: ip}]}}
  # texts that only look odd
  - {key: host, value: "*.example.com", rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: host, value: api.*, rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: host, value: "[2001:db8::1]:80", rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: user, value: CORP\\dave, rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: user, value: "O’Neil (sales, 50%)", rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: user, value: US$, rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: agent, value: "Mozilla/5.0 (X11; Linux x86_64)", rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: agent, value: "curl/8.5.0+dev", rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: path, value: "/a/{id}", rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: path, value: "/a%20b%2Fc", rate_limit: {unit: minute, requests_per_unit: 5}}
  # a value with children of its own, which the rest of the values has, too
  - key: tenant
    value: acme
    descriptors:
      - {key: user, value: bob, rate_limit: {unit: minute, requests_per_unit: 9}}
      - {key: user, rate_limit: {unit: minute, requests_per_unit: 5}}
  - key: tenant
    descriptors:
      - {key: user, value: eve, rate_limit: {unit: minute, requests_per_unit: 1}}
      - {key: user, rate_limit: {unit: minute, requests_per_unit: 2}}
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
    assert not loaded.diagnostics
