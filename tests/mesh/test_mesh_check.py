"""`rls mesh check` on dumps of a real Envoy: it says what each cell of the matrix does, and finds nothing where all is well."""

import pytest

from rls.mesh.filters import limited
from rls.sources.load import load as load_rules
from tests.mesh.checked import RULES, wrong
from tests.mesh.matrix import cells, objects

CELLS = {cell.key: cell for cell in cells()}
"""One of those that are alike."""


@pytest.mark.parametrize(
    "cell", CELLS.values(), ids=lambda cell: f"{cell.kind}-{'-'.join(cell.components)}-{cell.version}"
)
def test_a_sound_cell_has_no_false_alarm_and_another_is_found(cell, dump):
    seen = dump(objects(cell.components), cell.proxy)

    codes = wrong(seen, rules=load_rules([RULES]).rules)

    if cell.limits and not cell.refused:
        assert codes == []
        sent = [at.sent for each in limited(seen).requests for at in each.counted()]
        assert sent
        assert all(each == {("mesh", "[company_id]"): 1, ("mesh", "[remote_address]"): 1} for each in sent)
    else:
        # Elsewhere another proxy limits, whose dump is not here.
        assert set(codes) & {"no_filter_anywhere", "no_cluster"}
