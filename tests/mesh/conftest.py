import pytest

from examples.tokens import Issuer
from rls.mesh.dump import read
from tests.mesh.dumps import config_dump
from tests.mesh.world import rendered


@pytest.fixture
def dump(tmp_path):
    """What `read` makes of the dump of a proxy that gets these objects."""

    def of(objects, proxy, *, services=None, config=None, **how):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        more = {} if services is None else {"services": services}
        given = rendered(objects, proxy, jwks=how.pop("jwks", Issuer().jwks()), config=config, **more)
        return read(config_dump(given, folder, **how), f"{proxy.kind.name.lower()}.json")

    return of
