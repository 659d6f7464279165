"""Whatever a dump lacks, or has in another form, `rls mesh check` reads the rest: Envoys of all ages write them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.tokens import Issuer
from rls.mesh.dump import NotADump, read
from rls.mesh.filters import limited
from rls.mesh.report import as_tree, lines
from rls.sources.load import load as load_rules
from tests.mesh.checked import RULES, found
from tests.mesh.dumps import config_dump
from tests.mesh.manifests import load
from tests.mesh.world import GATEWAY, USERS_SIDECAR, rendered

ODD: list[Any] = [
    None,
    0,
    -1,
    1.5,
    "",
    "x",
    True,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "9s",
    10**30,
    {"@type": "x.RateLimit"},
]


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    """Without what the check does not read: mutations should hit the rest."""
    found_ = []
    for components, proxy in (((), USERS_SIDECAR), (("at-gateway",), GATEWAY)):
        made = rendered(load(*components), proxy, jwks=Issuer().jwks())
        dump = json.loads(config_dump(made, tmp_path_factory.mktemp("dump")))
        dump["configs"] = [each for each in dump["configs"] if "Secrets" not in each["@type"]]
        (bootstrap,) = (each["bootstrap"] for each in dump["configs"] if "bootstrap" in each)
        del bootstrap["static_resources"], bootstrap["node"]["extensions"]
        found_.append(json.dumps(dump))
    return found_


def places(tree):
    """Each container in *tree*, with each of its keys."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    for key in keys:
        yield tree, key
        yield from places(tree[key])


@settings(max_examples=60)
@given(random=st.randoms(use_true_random=False))
def test_no_form_of_a_dump_is_a_crash(random, dumps):
    dump = json.loads(random.choice(dumps))
    for _ in range(random.choice([1, 2, 5, 20, 60])):
        there = list(places(dump))
        if not there:
            break
        container, key = random.choice(there)
        if random.random() < 0.4:
            del container[key]
        else:
            container[key] = json.loads(json.dumps(random.choice(ODD)))
    try:
        proxy = read(json.dumps(dump), "dump.json")
    except NotADump:
        return
    findings = found(proxy, rules=load_rules([RULES]).rules)
    list(lines([limited(proxy)], findings))
    json.dumps(as_tree([limited(proxy)], findings))


@pytest.mark.parametrize("data", [b"\xff", b"[" * 100_000, b'{"configs": 5}', b"null"])
def test_what_is_no_dump_is_an_error_in_words(data):
    with pytest.raises(NotADump, match=r"^dump\.json: "):
        read(data, "dump.json")
