"""The dashboards as files: they are what the code makes, Grafana's models take them, and a reader finds his way."""

import copy
import json
import re

import pytest

from tests.redis_server import missing

try:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard
except ImportError:
    missing("needs grafana-foundation-sdk")

from dashboards import __main__ as program
from dashboards.board import Mark
from dashboards.parts import PAGES
from scripts.check_links import anchors
from tests.dashboards.trees import NAMES, committed, panels, queries, variables
from tests.k8s.nodes import ROOT

register_default_plugins()
every_dashboard = pytest.mark.parametrize("name", NAMES)


def as_the_models_have_it(tree):
    """What is left of a dashboard when the SDK has read and written it."""
    return json.loads(json.dumps(Dashboard.from_json(copy.deepcopy(tree)), cls=JSONEncoder))


def without_extras(tree):
    """Without the fields of annotations that Grafana's Prometheus plug-in reads and the SDK does not know."""
    tree = copy.deepcopy(tree)
    for annotation in tree["annotations"]["list"]:
        for field in Mark.EXTRA:
            del annotation[field]
    return tree


def test_the_files_are_what_the_code_makes():
    assert {path.name: path.read_text() for path in program.FOLDER.glob("*.json")} == program.all_texts()


def test_the_check_finds_a_changed_a_missing_and_a_foreign_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["dashboards"])
    assert program.main() == 0
    monkeypatch.setattr("sys.argv", ["dashboards", "--check"])
    assert program.main() == 0

    (tmp_path / "overview.json").write_text("{}")
    (tmp_path / "redis.json").unlink()
    (tmp_path / "other.json").write_text("{}")

    assert program.main() == 1
    said = capsys.readouterr().err
    assert [line.split()[0].rpartition("/")[2] for line in said.splitlines()] == [
        "other.json",
        "overview.json",
        "redis.json",
    ]


@every_dashboard
def test_the_models_of_the_sdk_know_every_field(name):
    tree = without_extras(committed(name))

    assert as_the_models_have_it(tree) == tree


def test_a_field_that_the_models_do_not_know_is_found():
    tree = without_extras(committed("overview"))
    panel = panels(tree)[0]
    panel["fieldConfig"]["defaults"]["unitt"] = "s"
    panel["targets"][0]["exprs"] = "up"

    assert as_the_models_have_it(tree) != tree


@every_dashboard
def test_every_panel_says_what_it_shows_in_which_unit(name):
    for panel in panels(committed(name)):
        assert panel["title"]
        assert re.fullmatch(r"[^\n]{20,}[.]", panel["description"]), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"]), panel["title"]


@every_dashboard
def test_titles_are_unique_and_panels_do_not_overlap(name):
    tree = committed(name)
    titles = [panel["title"] for panel in panels(tree)]
    taken = set[tuple[int, int]]()

    assert len(set(titles)) == len(titles)
    for panel in tree["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@every_dashboard
def test_rates_are_over_as_much_time_as_there_are_scrapes_for(name):
    """A fixed range shows nothing where scrapes are rarer, and hides peaks where one looks closer."""
    for query in queries():
        if query.dashboard == name:
            assert set(re.findall(r"\[([^\]:]+)", re.sub(r'"[^"]*"', "", query.expr))) <= {
                "$__rate_interval",
                "$__range",
            }


def test_quantities_have_one_unit_each():
    units = {
        panel["title"]: panel["fieldConfig"]["defaults"]["unit"]
        for name in NAMES
        for panel in panels(committed(name))
        if panel["type"] != "table"
    }
    assert set(units.values()) <= {"cps", "reqps", "s", "percentunit", "short", "bytes", "dateTimeFromNow"}
    for name in NAMES:
        for panel in panels(committed(name)):
            unit, exprs = panel["fieldConfig"]["defaults"]["unit"], [target["expr"] for target in panel["targets"]]
            if any("histogram_quantile" in expr for expr in exprs):
                assert unit == "s", panel["title"]
            if unit == "percentunit":
                assert all("/" in expr or "ratio" in expr or "seconds" in expr for expr in exprs), panel["title"]


def test_links_lead_to_sections_that_are_there():
    links = {
        link["url"]
        for name in NAMES
        for panel in panels(committed(name))
        for link in panel.get("links", [])
        if link["url"]
    }
    assert len(links) > 20
    for link in links:
        page, _, anchor = link.removeprefix(PAGES).partition("#")
        assert anchor in anchors(ROOT / "docs" / page), link


def test_the_first_page_leads_to_all_others():
    for name in NAMES:
        tree = committed(name)
        assert tree["uid"] == f"rls-{name}"
        (others,) = (link for link in tree["links"] if link["type"] == "dashboards")
        assert set(others["tags"]) <= set(tree["tags"])


def test_variables_that_queries_use_are_there():
    for name in NAMES:
        tree = committed(name)
        used = {
            variable
            for query in queries()
            if query.dashboard == name
            for variable in re.findall(r"\$(?!__)(\w+)", query.expr)
        }
        assert used == set(variables(tree))


def test_a_dashboard_fits_into_a_config_map_that_kubectl_applies():
    """It keeps what was applied in an annotation, which may hold 256 KiB."""
    assert max((program.FOLDER / f"{name}.json").stat().st_size for name in NAMES) < 200_000
