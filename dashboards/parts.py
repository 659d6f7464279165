"""What the dashboards are made of: panels with a description, a unit, a threshold and a way to the runbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PAGES = "https://github.com/you/istio-rate-limiter/blob/main/docs/"
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED = "green", "yellow", "red"
HALF, THIRD, QUARTER, SIXTH, WHOLE = 12, 8, 6, 4, 24
"""Widths of panels; a dashboard is 24 wide."""

# Units, by Grafana's names. One kind of quantity has one unit on all dashboards.
PER_SECOND, SECONDS, SHARE, COUNT, BYTES, TIME, AGO = (
    "cps",
    "s",
    "percentunit",
    "short",
    "bytes",
    "ms",
    "dateTimeFromNow",
)

Any_ = TypeVar("Any_", stat.Panel, timeseries.Panel, table.Panel, statetimeline.Panel)
Panel = stat.Panel | timeseries.Panel | table.Panel | statetimeline.Panel


@dataclass(frozen=True)
class Query:
    """A query in PromQL; *legend* names its series, as `{{label}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Text:
    """What a panel says about itself.

    Args:
        title: A few words.
        about: One or two sentences in plain English: what it shows, what is good, what to do.
        runbook: An anchor of docs/operations.md, or a page and an anchor: "metrics.md#rules".
    """

    title: str
    about: str
    runbook: str = ""

    @property
    def url(self) -> str:
        """The runbook's address; "" without one."""
        if not self.runbook:
            return ""
        return PAGES + (self.runbook if "#" in self.runbook else f"operations.md#{self.runbook}")


@dataclass(frozen=True)
class Steps:
    """Colours by value: *first* up to the first bound, then that of each bound."""

    first: str = GREEN
    bounds: Mapping[float, str] = field(default_factory=dict)

    def build(self) -> ThresholdsConfig:
        steps = [Threshold(value=None, color=self.first)]
        steps += [Threshold(value=value, color=color) for value, color in self.bounds.items()]
        return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


PLAIN = Steps()
NONE_IS_GOOD = Steps(GREEN, {1e-9: RED})


def _common(panel: Any_, text: Text, unit: str, size: tuple[int, int], steps: Steps) -> Any_:
    width, height = size
    panel.title(text.title).description(text.about).datasource(PROMETHEUS).unit(unit)
    panel.span(width).height(height).thresholds(steps.build())
    if text.url:
        link = DashboardLink("Runbook").type(DashboardLinkType.LINK).url(text.url).target_blank(True)
        panel.links([link])
    return panel


def _targets(queries: Sequence[Query]) -> list[Dataquery]:
    """Named A, B, C, … in their order."""
    return [
        Dataquery().ref_id(chr(ord("A") + number)).expr(query.expr).legend_format(query.legend).datasource(PROMETHEUS)
        for number, query in enumerate(queries)
    ]


def number(
    text: Text,
    unit: str,
    expr: str,
    *,
    width: int = SIXTH,
    steps: Steps = PLAIN,
    words: Mapping[str, tuple[str, str]] | None = None,
    decimals: int | None = None,
    no_value: str = "",
) -> stat.Panel:
    """One number, now; *words* shows text and colour in place of values."""
    panel = _common(stat.Panel(), text, unit, (width, 4), steps)
    (target,) = _targets([Query(expr)])
    panel.with_target(target.instant()).reduce_options(build.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.BACKGROUND)
    if words:
        panel.mappings(_mappings(words))
    if decimals is not None:
        panel.decimals(decimals)
    if no_value:
        panel.no_value(no_value)
    return panel


def graph(
    text: Text,
    unit: str,
    *queries: Query,
    width: int = HALF,
    height: int = 8,
    steps: Steps | None = None,
    stacked: bool = False,
    largest: float | None = None,
    exemplars: bool = False,
    colors: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Lines over time from 0 on; *steps* draws bounds as dashed lines, *colors* gives series theirs by name. With
    *exemplars*, dots lead to traces.
    """
    panel = _common(timeseries.Panel(), text, unit, (width, height), steps or PLAIN)
    for target in _targets(queries):
        panel.with_target(target.range().exemplar(exemplars))
    panel.min(0).line_width(1).fill_opacity(40 if stacked else 8).show_points(common.VisibilityMode.NEVER)
    panel.legend(
        build.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel.tooltip(build.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    if largest is not None:
        panel.max(largest)
    if steps:
        panel.thresholds_style(build.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    if stacked:
        panel.stacking(build.StackingConfig().mode(common.StackingMode.NORMAL))
    for name, color in (colors or {}).items():
        panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})])
    return panel


def timeline(
    text: Text,
    *queries: Query,
    words: Mapping[str, tuple[str, str]],
    width: int = HALF,
    height: int = 8,
) -> statetimeline.Panel:
    """States over time, a row for each series; *words* is the text and the colour of each value."""
    panel = _common(statetimeline.Panel(), text, COUNT, (width, height), PLAIN)
    for target in _targets(queries):
        panel.with_target(target.range())
    return (
        panel.mappings(_mappings(words))
        .show_value(common.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(70)
    )


def rows(
    text: Text,
    queries: Mapping[str, str],
    units: Mapping[str, str],
    *,
    names: Mapping[str, str] | None = None,
    hidden: Sequence[str] = (),
    sort: str = "",
    width: int = WHOLE,
    height: int = 9,
    bounds: Mapping[str, Steps] | None = None,
) -> table.Panel:
    """A table of now: a row for each set of labels, a column for each label and each of *queries*.

    Args:
        text: Title and description.
        queries: By the title of their column.
        units: Of these columns, by title.
        names: Titles of the columns that are labels, in their order.
        hidden: Labels without a column.
        sort: The column with the largest first.
        width: Of 24.
        height: In rows of the grid.
        bounds: Colours of a column's cells, by title.
    """
    panel = _common(table.Panel(), text, COUNT, (width, height), PLAIN)
    for target in _targets([Query(expr) for expr in queries.values()]):
        panel.with_target(target.instant().format(PromQueryFormat.TABLE))
    values = {
        "Value" if len(queries) == 1 else f"Value #{chr(ord('A') + place)}": title
        for place, title in enumerate(queries)
    }
    renamed = {**(names or {}), **values}
    organize: dict[str, object] = {
        "excludeByName": dict.fromkeys(("Time", *hidden), True),
        "renameByName": renamed,
        "indexByName": {name: place for place, name in enumerate(renamed)},
    }
    panel.with_transformation(DataTransformerConfig("merge", options={}))
    panel.with_transformation(DataTransformerConfig("organize", options=organize))
    for title, unit in units.items():
        properties = [DynamicConfigValue("unit", unit)]
        if bounds and title in bounds:
            properties.append(DynamicConfigValue("thresholds", bounds[title].build().build()))
            properties.append(DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
        panel.override_by_name(title, properties)
    if sort:
        panel.sort_by([build.TableSortByFieldState().display_name(sort).desc(True)])
    return panel.filterable(True)


def _mappings(words: Mapping[str, tuple[str, str]]) -> list[ValueMapping]:
    options = {
        value: ValueMappingResult(text=text, color=color, index=place)
        for place, (value, (text, color)) in enumerate(words.items())
    }
    return [ValueMap(options=options)]
