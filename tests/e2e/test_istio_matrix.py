"""Each way to limit, at each kind of proxy, with each version of Istio: counted once, or refused by a check.

`pytest tests/e2e/test_istio_matrix.py --write-matrix` writes the table into docs/istio.md; without it they are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.matrix import Counted, Measured
from tests.e2e.mesh import Mesh
from tests.mesh.matrix import BASES, BESIDES, KINDS, VERSIONS, cells
from tests.mesh.mistakes import mistakes

PAGE = Path(__file__).parents[2] / "docs" / "istio.md"
BEGIN, END = "<!-- matrix: made by tests/e2e/test_istio_matrix.py -->\n\n", "\n<!-- /matrix -->"
PLACES = {"none": "sidecars", "at-gateway": "the gateway", "waypoint": "the waypoint"}
COMPANIES = {"by string": "company, else client", "also by number": "company, number or not, else client"}
WORKLOADS = [(base, kind) for base in BASES for kind in KINDS]


@pytest.fixture(scope="module")
def measured(tmp_path_factory, issuer, users) -> Iterator[Measured]:
    with closing(Mesh(tmp_path_factory.mktemp("matrix"), issuer, users)) as mesh:
        yield Measured(mesh)


def test_there_is_nothing_silently_wrong_with_any_cell_that_is_not_refused() -> None:
    for cell in cells():
        if not cell.refused:
            assert mistakes(cell.rendered(), limits=cell.limits) == [], cell


@pytest.mark.parametrize(("base", "kind"), WORKLOADS, ids=lambda name: name.replace(" ", "-"))
def test_a_proxy_counts_each_request_once_where_it_should_and_none_elsewhere(measured, base, kind) -> None:
    """In a real Envoy; a cell that is refused does not come so far."""
    for cell in (cell for cell in cells() if (cell.base, cell.kind) == (base, kind) and not cell.refused):
        counted = measured(cell)

        if not cell.limits:
            assert counted == Counted((), "", "", "")
            continue
        assert counted.companies == ("also by number" if "numeric-company" in cell.besides else "by string")
        assert counted.client == ("load balancer" if "behind-load-balancer" in cell.besides else "gateway")
        assert counted.without == ("500" if "fail-closed" in cell.besides else "passes")


def test_what_is_refused_is_a_waypoint_that_would_not_limit() -> None:
    refused = {(cell.base, cell.kind, cell.version) for cell in cells() if cell.refused}

    elsewhere = {(base, "waypoint", version) for base in ("none", "at-gateway") for version in VERSIONS}
    assert refused == elsewhere | {("waypoint", kind, "1.24") for kind in KINDS}


def test_the_page_has_the_table(measured, request) -> None:
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    made = "\n".join(table(measured))
    if request.config.getoption("--write-matrix", False):
        PAGE.write_text(before + BEGIN + made + END + after)
        old = made

    assert old == made


def table(measured: Measured) -> Iterator[str]:
    """The rows of all cells; components that make no difference to a proxy share a row."""
    yield f"| limits at | with | proxy | counts | client | without `rls` | {' | '.join(VERSIONS)} |"
    yield "|---" * (6 + len(VERSIONS)) + "|"
    for base, kind in WORKLOADS:
        rows: dict[tuple[str, ...], list[str]] = {}
        for besides in BESIDES:
            rows.setdefault(_row(measured, base, kind, besides), []).append(_named(besides))
        for row, names in rows.items():
            what = "anything" if len(names) == len(BESIDES) else ", ".join(names)
            yield f"| {' | '.join([PLACES[base], what, *row])} |"


def _row(measured: Measured, base: str, kind: str, besides: tuple[str, ...]) -> tuple[str, ...]:
    in_row = [cell for cell in cells() if (cell.base, cell.kind, cell.besides) == (base, kind, besides)]
    found = {measured(cell) for cell in in_row if not cell.refused}
    verdicts = ["REFUSED" if cell.refused else "once" if cell.limits else "–" for cell in in_row]
    if not found:
        return (kind, "", "", "", *verdicts)
    # Versions differ in how it is configured, and not in what it does.
    (counted,) = found
    if not counted.where:
        return (kind, f"nothing: that is for {PLACES[base]}", "", "", *verdicts)
    seen = f"{COMPANIES[counted.companies]}: {', '.join(counted.where)}"
    return (kind, seen, f"peer of the {counted.client}", counted.without, *verdicts)


def _named(besides: tuple[str, ...]) -> str:
    if len(besides) > 1:
        return "all four"
    return f"`{besides[0]}`" if besides else "nothing else"
