"""`rls mesh check` on dumps of a real Envoy: it says what each cell of the matrix does, and finds nothing where all is well."""

from dataclasses import replace
from itertools import product

import pytest

from rls.mesh.filters import limited
from rls.sources.load import load as load_rules
from tests.mesh.checked import RULES, wrong
from tests.mesh.manifests import load
from tests.mesh.test_versions import BESIDES, LIMITING, UNTIL, release

NEWEST = "1.31.0"
VERSIONS = ["1.24.6", "1.26.8", "1.27.4", "1.28.0", NEWEST]
CELLS = [
    *((who, (), version) for who, version in product(LIMITING, VERSIONS)),
    *((who, besides, NEWEST) for who, besides in product(LIMITING, BESIDES) if besides),
]


@pytest.mark.parametrize(
    ("who", "besides", "version"),
    CELLS,
    ids=lambda value: value if isinstance(value, str) else " ".join(value) or "alone",
)
def test_a_sound_cell_has_no_false_alarm_and_another_is_refused(who, besides, version, dump):
    components, proxy = LIMITING[who]
    seen = dump(load(*components, *besides), replace(proxy, version=version))

    codes = wrong(seen, rules=load_rules([RULES]).rules)

    if release(version) < UNTIL.get(who, (0, 0)):
        assert set(codes) & {"no_filter_anywhere", "no_cluster"}
    else:
        assert codes == []
        sent = [at.sent for each in limited(seen).requests for at in each.counted()]
        assert sent
        assert all(each == {("mesh", "[company_id]"): 1, ("mesh", "[remote_address]"): 1} for each in sent)
