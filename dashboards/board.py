"""A dashboard: its rows of panels, variables, links to the others, and the marks of new revisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery as AnnotationBuilder,
)
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models import dashboard as models

from dashboards.parts import PAGES, PROMETHEUS, Panel

TAG = "istio-rate-limiter"
REVISIONS = (
    "min by (revision) (rls_config_loaded_timestamp_seconds * on (job, instance) group_left (revision) rls_config_info)"
    " * 1000"
)
"""When each revision was first put in force, in milliseconds since 1970."""


def domains() -> QueryVariable:
    """A choice of domains."""
    return QueryVariable("domain").label("Domain").query("label_values(rls_rule_info, domain)")


def chosen_rules() -> QueryVariable:
    """A choice of rules of these domains."""
    return QueryVariable("rule").label("Rule").query('label_values(rls_rule_info{domain=~"$domain"}, rule)')


class Section(NamedTuple):
    """A row of panels below a heading."""

    title: str
    panels: Sequence[Panel]


class Mark(models.AnnotationQuery):
    """An annotation by a query: what Grafana's Prometheus plug-in reads besides the SDK's fields.

    `useValueForTime` puts a mark at the time that the query returns, so that each revision has one, where it began.
    """

    EXTRA = ("step", "titleFormat", "textFormat", "useValueForTime")

    def to_json(self) -> dict[str, object]:
        extra: dict[str, object] = {
            "step": "15s",
            "titleFormat": "New rules",
            "textFormat": "revision {{revision}}",
            "useValueForTime": True,
        }
        return {**super().to_json(), **extra}


class _MarkBuilder(AnnotationBuilder):
    def __init__(self) -> None:
        super().__init__()
        self._internal = Mark()


def board(
    uid: str,
    title: str,
    about: str,
    *sections: Section,
    variables: Sequence[QueryVariable] = (),
    period: str = "now-1h",
) -> models.Dashboard:
    """A dashboard that Grafana knows as *uid*; *period* is the time that it shows at first."""
    made = Dashboard(f"RLS / {title}").uid(uid).description(about).tags([TAG]).readonly()
    made.time(period, "now").refresh("30s").timezone("browser").tooltip(models.DashboardCursorSync.CROSSHAIR)
    source = DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    made.with_variable(source)
    for variable in variables:
        variable.datasource(PROMETHEUS).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        variable.sort(models.VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".*")
        variable.current(models.VariableOption(text="All", value="$__all"))
        made.with_variable(variable)
    made.annotation(
        _MarkBuilder().name("New rules").datasource(PROMETHEUS).enable(True).icon_color("blue").expr(REVISIONS)
    )
    made.link(
        DashboardLink("Dashboards")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(True)
    )
    made.link(
        DashboardLink("Runbooks").type(models.DashboardLinkType.LINK).url(f"{PAGES}operations.md").target_blank(True)
    )
    for section in sections:
        made.with_row(Row(section.title))
        for panel in section.panels:
            made.with_panel(panel)
    built = made.build()
    for number, placed in enumerate(built.panels or (), 1):
        placed.id_val = number
    return built
