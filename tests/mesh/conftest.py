import json
from dataclasses import replace

import pytest

from examples.tokens import Issuer
from rls.mesh.dump import read
from tests.mesh.dumps import config_dump
from tests.mesh.world import rendered


@pytest.fixture(scope="session")
def key_set():
    """Of our issuer, as istiod fetches it."""
    return Issuer().jwks()


@pytest.fixture(scope="session")
def taken():
    """Dumps by what they are of: the same proxies serve many tests."""
    return {}


@pytest.fixture
def dump(tmp_path_factory, key_set, taken):
    """What `read` makes of the dump of a proxy that gets these objects.

    *edit* changes its listeners: what somebody's own EnvoyFilter can do, and no object of the renderer.
    """

    def of(objects, proxy, *, services=None, config=None, edit=None, jwks=key_set, **how):
        more = {} if services is None else {"services": services}
        given = rendered(objects, proxy, jwks=jwks, config=config, **more)
        if edit is not None:
            given = replace(given, listeners=json.loads(json.dumps(given.listeners)))
            edit(given.listeners)
        key = json.dumps([given.listeners, given.clusters, given.stats, repr(proxy), how])
        if key not in taken:
            taken[key] = config_dump(given, tmp_path_factory.mktemp("dump"), **how)
        return read(taken[key], f"{proxy.kind.name.lower()}.json")

    return of
