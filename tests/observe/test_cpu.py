"""`cpu.stat` of a cgroup, as files under a directory: a test cannot set a limit on the cgroup that it runs in."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rls.observe.cpu import CpuStat, Throttling, register_throttling_metrics
from rls.observe.metrics import Metrics

V2 = "usage_usec 90\nuser_usec 60\nsystem_usec 30\nnr_periods 40\nnr_throttled 3\nthrottled_usec 250000\nnr_bursts 0\n"
V1 = "nr_periods 40\nnr_throttled 3\nthrottled_time 250000000\n"
SAID = Throttling(40, 3, 0.25)
ROOT_OF_V2 = "usage_usec 90\nuser_usec 60\nsystem_usec 30\n"


def stat(folder: Path, cgroup: str, files: dict[str, str]) -> CpuStat:
    for path, text in {
        "proc/self/cgroup": cgroup,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return CpuStat(folder)


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/\n", {"cpu.stat": V2}),
        ("0::/kubepods/pod1/abc\n", {"cpu.stat": V2}),
        ("0::/system.slice/rls.service\n", {"cpu.stat": ROOT_OF_V2, "system.slice/rls.service/cpu.stat": V2}),
        ("4:memory:/x\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n", {"cpu,cpuacct/cpu.stat": V1}),
        ("3:cpu,cpuacct:/docker/abc\n", {"cpu/docker/abc/cpu.stat": V1}),
        ("3:cpu:/\n0::/\n", {"cpu/cpu.stat": V1}),
    ],
    ids=["v2", "v2: path of the host", "v2: service", "v1: path of the host", "v1", "both"],
)
def test_the_file_of_the_own_cgroup_is_found(cgroup: str, files: dict[str, str], tmp_path: Path) -> None:
    assert stat(tmp_path, cgroup, files).read() == SAID


@pytest.mark.parametrize(
    "files",
    [{}, {"cpu.stat": ROOT_OF_V2}, {"cpu.stat": ""}, {"cpu.stat": "nr_periods many\nnr_throttled 1\nthrottled_usec 1"}],
    ids=["none", "without a limit", "empty", "no numbers"],
)
def test_a_file_that_says_nothing_shows_nothing(files: dict[str, str], tmp_path: Path) -> None:
    found = stat(tmp_path, "0::/\n", files)
    assert found.read() is None
    assert shown(found) == {}


def test_without_cgroups_nothing_is_shown(tmp_path: Path) -> None:
    assert shown(CpuStat(tmp_path)) == {}


def test_the_metrics_are_read_at_each_scrape(tmp_path: Path) -> None:
    found = stat(tmp_path, "0::/\n", {"cpu.stat": V2})
    metrics = Metrics()
    register_throttling_metrics(metrics, found)
    assert samples(metrics) == {"rls_cpu_throttled_periods_total": 3, "rls_cpu_throttled_seconds_total": 0.25}
    (tmp_path / "sys/fs/cgroup/cpu.stat").write_text(V2.replace("nr_throttled 3", "nr_throttled 5"))
    assert samples(metrics)["rls_cpu_throttled_periods_total"] == 5
    (tmp_path / "sys/fs/cgroup/cpu.stat").unlink()
    assert samples(metrics) == {}


def test_the_real_file_is_read_where_the_kernel_has_one() -> None:
    """Whether it has depends on the machine; that both ways work does not."""
    said = CpuStat().read()
    numbers = shown(CpuStat())
    assert set(numbers) == (
        set() if said is None else {"rls_cpu_throttled_periods_total", "rls_cpu_throttled_seconds_total"}
    )
    assert all(number >= 0 for number in numbers.values())


def shown(found: CpuStat) -> dict[str, float]:
    metrics = Metrics()
    register_throttling_metrics(metrics, found)
    return samples(metrics)


def samples(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(b"".join(metrics.page()[1]).decode())
    return {
        sample.name: sample.value
        for family in families
        if family.name.startswith("rls_cpu_")
        for sample in family.samples
        if sample.name.endswith("_total")
    }
