"""Rules on their way into force, as a whole server shows it: `/readyz`, metrics, log, answers and its end."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest

from rls.api.client import Client
from rls.api.messages import Answer
from rls.app.app import App
from rls.app.loading import Loading
from rls.engine.enforcement import Reason
from rls.settings import Settings
from rls.sources.disk import Disk
from tests.counters import until
from tests.rls_process import RULES, RlsProcess
from tests.sources.test_file_source import ConfigMap
from tests.tries import descriptor, request

REFUSING = "domain: {0}\ndescriptors:\n  - key: k\n    rate_limit: {{unit: hour, requests_per_unit: 0}}\n"
NAMES = "expected a name that ends in .yaml or .yml"
FILES = "expected files named *.yaml or *.yml"


@pytest.fixture
def start(tmp_path):
    """Starts servers on a directory of rules, and stops them in the end."""
    started: list[RlsProcess] = []

    def one(directory: Path, *options: str, **more) -> RlsProcess:
        folder = tmp_path / f"process-{len(started)}"
        folder.mkdir()
        started.append(RlsProcess(folder, "--config", str(directory), *options, **more))
        return started[-1]

    yield one
    for process in started:
        process.kill()


@pytest.fixture
def rules(tmp_path) -> Path:
    directory: Path = tmp_path / "rules"
    directory.mkdir()
    return directory


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def check(process: RlsProcess, domain: str) -> Answer:
    with Client(process.addresses["grpc"]) as client:
        return client.check(request(descriptor(("k", "a")), domain=domain), timeout=10)


def state(process: RlsProcess) -> tuple[int, str, dict[str, str]]:
    """Status of `/readyz`, enforcement state, and the texts of its reasons."""
    answer, said = process.readyz()
    return answer.status, said["state"], {reason["reason"]: reason["text"] for reason in said["reasons"]}


def successful(process: RlsProcess) -> float:
    return process.metric("rls_config_last_reload_successful")


def test_a_config_map_whose_key_has_no_suffix_is_off(start, rules) -> None:
    """Everything would pass. The reason names the file; once it has a name, it is in force."""
    write(rules / "config", REFUSING.format("d"))
    process = start(rules)
    assert state(process) == (
        503,
        "off",
        {
            "no_rules": f"no rule is in force; {rules}:1:1: no rules in this directory, {FILES}; "
            f"1 file was skipped: {rules}/config, {NAMES}"
        },
    )
    assert successful(process) == 0
    assert process.metric("rls_enforcement_state", state="off") == 1
    assert "reason=no_rules" in process.output()
    (rules / "config").rename(rules / "config.yaml")
    process.wait_until(lambda: state(process) == (200, "enforced", {}), "it has found the rules")
    assert check(process, "d").code == "OVER_LIMIT"
    assert successful(process) == 1


@pytest.mark.parametrize("text", ["domain: d\n", "domain: d\ndescriptors: [{key: k}]\n"])
def test_files_without_a_single_rule_are_off(start, rules, text: str) -> None:
    write(rules / "a.yaml", text)
    assert state(start(rules)) == (503, "off", {"no_rules": "no rule is in force"})


@pytest.mark.parametrize("text", ["", "domain: d\ndescriptors: [{key: k}]\n"], ids=["no file", "no rule"])
def test_no_rules_may_be_meant(start, rules, text: str) -> None:
    """By a flag; a bad file is a mistake all the same, and what is in force stays."""
    if text:
        write(rules / "a.yaml", text)
    process = start(rules, "--allow-no-rules")
    assert state(process) == (200, "enforced", {})
    assert check(process, "d").code == "OK"
    assert successful(process) == 1
    write(rules / "b.yaml", "dmoain: d")
    process.wait_until(lambda: state(process)[1] == "degraded", "it has seen the mistake")
    assert set(state(process)[2]) == {"rules_invalid"}
    assert check(process, "d").code == "OK"


def test_that_no_rules_are_meant_is_no_excuse_for_bad_ones(start, rules) -> None:
    write(rules / "a.yaml", "dmoain: d")
    status, said, reasons = state(start(rules, "--allow-no-rules"))
    assert (status, said, set(reasons)) == (503, "off", {"no_rules", "rules_invalid"})


def test_one_of_several_paths_without_rules_is_degraded(start, rules, tmp_path) -> None:
    write(rules / "a.yaml", REFUSING.format("d"))
    (tmp_path / "other").mkdir()
    process = start(rules, "--config", str(tmp_path / "other"))
    assert state(process) == (
        200,
        "degraded",
        {"no_rules": f"{tmp_path}/other:1:1: no rules in this directory, {FILES}"},
    )
    assert check(process, "d").code == "OVER_LIMIT"


def empty_config_map(volume: ConfigMap) -> None:
    volume.swap()


def rename_keys(volume: ConfigMap) -> None:
    """The new one has no key that ends in `.yaml`."""
    volume.swap()
    link = volume.directory / "rules"
    write(volume.directory / "..data" / "rules", REFUSING.format("d"))
    link.symlink_to("..data/rules")


def unmount(volume: ConfigMap) -> None:
    """The mount point is left."""
    volume.directory.rename(volume.directory.with_name("elsewhere"))
    volume.directory.mkdir()


def remove(volume: ConfigMap) -> None:
    shutil.rmtree(volume.directory)


@pytest.mark.parametrize("lose", [empty_config_map, rename_keys, unmount, remove])
def test_rules_that_are_lost_stay_in_force(start, tmp_path, lose) -> None:
    """The state says so, until there are rules again."""
    volume = ConfigMap(tmp_path / "volume", a=REFUSING.format("d"), b=REFUSING.format("e"))
    process = start(volume.directory)
    lose(volume)
    process.wait_until(lambda: set(state(process)[2]) == {"rules_lost"}, "it has missed the rules")
    status, said, reasons = state(process)
    assert (status, said) == (200, "degraded")
    assert "last good rules stay" in reasons["rules_lost"]
    assert ("1 file was skipped" in reasons["rules_lost"]) == (lose is rename_keys)
    assert [check(process, domain).code for domain in "de"] == ["OVER_LIMIT"] * 2
    assert successful(process) == 0
    assert process.metric("rls_config_errors") == 1
    assert "reason=rules_lost" in process.output()
    shutil.rmtree(volume.directory, ignore_errors=True)
    write(volume.directory / "a.yaml", REFUSING.format("e"))
    process.wait_until(lambda: state(process) == (200, "enforced", {}), "it has found the rules")
    assert [check(process, domain).code for domain in "de"] == ["OK", "OVER_LIMIT"]


def test_a_bad_file_that_goes_is_lost_and_limits_were_never_as_configured(start, rules) -> None:
    """No line between says that they are, and none says at the start that they are off."""
    write(rules / "a.yaml", REFUSING.format("d"))
    write(rules / "b.yaml", REFUSING.format("e"))
    process = start(rules)
    write(rules / "b.yaml", "domain: [")
    process.wait_until(lambda: set(state(process)[2]) == {"rules_invalid"}, "it has seen the mistake")
    rules.rename(rules.with_name("elsewhere"))
    process.wait_until(lambda: set(state(process)[2]) == {"rules_lost"}, "it has missed the rules")
    told = re.findall(r"(enforcement_\w+).* reason=(\w+) state=(\w+)", process.output())
    assert told == [
        ("enforcement_weakened", "rules_invalid", "degraded"),
        ("enforcement_weakened", "rules_lost", "degraded"),
        ("enforcement_restored", "rules_invalid", "degraded"),
    ]


def test_links_to_directories_are_followed(start, rules) -> None:
    """As kubelet makes them for `items.path`; a swap of what they lead to is seen."""
    write(rules / "..v1" / "team-a" / "rules.yaml", REFUSING.format("a"))
    write(rules / "..v1" / "top.yaml", REFUSING.format("top"))
    (rules / "..data").symlink_to("..v1")
    (rules / "team-a").symlink_to("..data/team-a")
    (rules / "top.yaml").symlink_to("..data/top.yaml")
    process = start(rules)
    assert state(process) == (200, "enforced", {})
    assert "rules_warning" not in process.output()
    assert [check(process, domain).code for domain in ("a", "top")] == ["OVER_LIMIT"] * 2
    write(rules / "..v2" / "team-a" / "rules.yaml", REFUSING.format("new"))
    write(rules / "..v2" / "top.yaml", REFUSING.format("top"))
    (rules / "..tmp").symlink_to("..v2")
    (rules / "..tmp").replace(rules / "..data")
    process.wait_until(lambda: check(process, "new").code == "OVER_LIMIT", "it has seen the swap")
    assert check(process, "a").code == "OK"


def test_a_checkout_of_git_is_found_behind_its_link(start, rules) -> None:
    """git-sync's root holds one link, which it swaps."""
    for version in ("x", "y"):
        write(rules / ".worktrees" / version / "rules.yaml", REFUSING.format(version))
    (rules / "current").symlink_to(".worktrees/x")
    process = start(rules)
    assert check(process, "x").code == "OVER_LIMIT"
    (rules / "tmp").symlink_to(".worktrees/y")
    (rules / "tmp").replace(rules / "current")
    process.wait_until(lambda: check(process, "y").code == "OVER_LIMIT", "it has seen the swap")
    assert check(process, "x").code == "OK"


def test_a_fifo_among_the_rules_holds_up_nothing(start, rules) -> None:
    """It is named; other files load, and the process ends when it is told to."""
    write(rules / "a.yaml", REFUSING.format("a"))
    process = start(rules)
    os.mkfifo(rules / "b.yaml")
    (rules / "c.yaml").symlink_to("b.yaml")
    process.wait_until(lambda: state(process)[1] == "degraded", "it has seen the FIFO")
    assert state(process)[2] == {
        "rules_not_read": f"{rules}/b.yaml:1:1: cannot be read (it is a FIFO, not a regular file), expected rules in YAML"
    }
    write(rules / "d.yaml", REFUSING.format("d"))
    process.wait_until(lambda: check(process, "d").code == "OVER_LIMIT", "it has loaded the new file")
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert "server_stopped" in process.output()


HANGING = """
import os, threading
from rls.sources.disk import Disk

class HangingDisk(Disk):
    def chunks(self, path):
        if path == os.environ["HANGS"] and os.path.exists(path + ".hangs"):
            threading.Event().wait()
        yield from Disk.chunks(self, path)

import rls.sources.watchdog
rls.sources.watchdog.Disk = HangingDisk
from rls.cli import main
main()
"""


@pytest.mark.parametrize("at_start", [False, True])
def test_a_file_that_hangs_holds_up_nothing(start, rules, at_start: bool) -> None:
    """As on a network volume whose server is gone: it is named, others load, and the process ends when it is told to."""
    slow = write(rules / "a.yaml", REFUSING.format("a"))
    other = write(rules / "b.yaml", REFUSING.format("b"))
    hangs = rules / "a.yaml.hangs"
    if at_start:
        hangs.touch()
    process = start(rules, env={"HANGS": str(slow)}, program=("-c", HANGING))
    if not at_start:
        assert check(process, "a").code == "OVER_LIMIT"
        hangs.touch()
        write(slow, REFUSING.format("c"))
    process.wait_until(lambda: state(process)[1] == "degraded", "it has missed the answer", 60)
    (text,) = state(process)[2].values()
    assert re.match(rf"{slow}:1:1: cannot be read \(no answer since \d{{4}}-", text)
    write(other, REFUSING.format("d"))
    process.wait_until(lambda: check(process, "d").code == "OVER_LIMIT", "it has loaded the other file", 60)
    assert check(process, "a").code == ("OK" if at_start else "OVER_LIMIT")
    process.send(signal.SIGHUP)
    process.send(signal.SIGTERM)
    assert process.wait() == 0


def test_many_mistakes_are_counted_and_some_are_listed(start, rules) -> None:
    """In the log as in `/readyz`, whatever their number."""
    write(rules / "good.yaml", REFUSING.format("d"))
    process = start(rules, "--log-format", "json")
    before = len(process.output())
    lines = "".join(f"  - {{key: k{n}, vlaue: v}}\n" for n in range(100_000))
    write(rules / "bad.yaml", f"domain: e\ndescriptors:\n{lines}")
    process.wait_until(lambda: process.metric("rls_config_errors") == 100_000, "it has counted the mistakes", 90)
    answer = process.get("/readyz")
    assert len(answer.body) < 50_000
    assert (answer.json()["problems_total"], len(answer.json()["problems"])) == (100_000, 100)
    assert answer.json()["reasons"][0]["text"].startswith("100000 mistakes, first ")
    said = process.output()[before:]
    assert len(said) < 50_000
    listed = [one for one in map(json.loads, said.splitlines()) if one["event"] == "rules_error"]
    assert len(listed) == 101
    assert listed[-1]["more_errors"] == 99_900


def test_many_warnings_and_files_are_counted_and_some_are_listed(start, rules) -> None:
    for n in range(150):
        write(rules / f"{n}.yaml", RULES.replace("mesh", str(n)))
        write(rules / f"{n}.txt", "")
    process = start(rules, "--log-format", "json")
    lines = [json.loads(line) for line in process.output().splitlines()]
    warnings = [line for line in lines if line["event"] == "rules_warning"]
    assert len(warnings) == 101
    assert warnings[-1]["more_warnings"] == 50
    (loaded,) = [line for line in lines if line["event"] == "rules_loaded"]
    assert (len(loaded["files"]), loaded["more_files"]) == (100, 50)


def test_a_name_that_is_not_utf8_stops_nothing(start, rules) -> None:
    name = Path(os.fsdecode(os.fsencode(rules) + b"/caf\xe9.yaml"))
    write(name, REFUSING.format("d"))
    process = start(rules)
    assert check(process, "d").code == "OVER_LIMIT"
    write(name, "dmoain: d")
    process.wait_until(lambda: process.metric("rls_config_errors") == 2, "it has seen the mistakes")
    said = process.get("/readyz").json()
    assert {problem.partition(":")[0] for problem in said["problems"]} == {f"{rules}/caf\\xe9.yaml"}
    assert f"{rules}/caf\\xe9.yaml:1:1" in process.output()
    write(name, REFUSING.format("e"))
    process.wait_until(lambda: check(process, "e").code == "OVER_LIMIT", "it has loaded the file")


def test_sighup_while_files_change_ends_with_the_newest(start, rules) -> None:
    """Whichever is first, the look or the signal."""
    path = write(rules / "a.yaml", REFUSING.format("v0"))
    process = start(rules)
    for version in range(1, 30):
        write(path, REFUSING.format(f"v{version}"))
        process.send(signal.SIGHUP)
    process.wait_until(lambda: check(process, "v29").code == "OVER_LIMIT", "it has loaded the newest")
    process.send(signal.SIGHUP)
    process.wait_until(lambda: state(process) == (200, "enforced", {}), "it has loaded once more")
    assert check(process, "v29").code == "OVER_LIMIT"


class HeldDisk(Disk):
    """The disk; while *held* is set it answers, but not soon."""

    def __init__(self) -> None:
        self.held = threading.Event()
        self.let_go = threading.Event()

    def lstat(self, path: str) -> os.stat_result:
        self._wait()
        return super().lstat(path)

    def stat(self, path: str) -> os.stat_result:
        self._wait()
        return super().stat(path)

    def names(self, path: str) -> list[str]:
        self._wait()
        return super().names(path)

    def _wait(self) -> None:
        if self.held.is_set():
            self.let_go.wait(3)  # the watchdog gives it five seconds


@pytest.mark.parametrize("files", [1, 2])
async def test_rules_that_were_replaced_are_freed(rules, files: int) -> None:
    """Whether a domain is one file, whose trie is in force as it is, or several, which are merged."""

    def change(limit: int) -> None:
        for number in range(files):
            text = f"- {{key: k{number}, rate_limit: {{unit: hour, requests_per_unit: {limit}}}}}"
            write(rules / f"{number}.yaml", f"domain: d\ndescriptors:\n{text}\n")

    change(1)
    settings = Settings(config=(rules,))
    app = App(settings)
    rulebook = app.engine.rulebook
    loading = Loading(settings, rulebook, app.telemetry.enforcement, app.telemetry.events)
    await loading.start()
    task = asyncio.create_task(loading.run())
    try:
        revisions = {rulebook.rules.revision}
        for limit in (2, 3, 4):
            change(limit)
            await until(lambda: rulebook.rules.revision not in revisions)
            revisions.add(rulebook.rules.revision)
        await until(lambda: len(rulebook.old_rules) == 0)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("is_directory", [True, False])
async def test_files_that_were_not_looked_at_for_a_while_are_reported(rules, is_directory: bool) -> None:
    """The disk answers each question in time, so no path is given up; a look takes too long all the same."""
    file, disk = write(rules / "a.yaml", REFUSING.format("d")), HeldDisk()
    settings = Settings(config=(rules if is_directory else file,))
    app = App(settings)
    enforcement = app.telemetry.enforcement
    loading = Loading(settings, app.engine.rulebook, enforcement, app.telemetry.events, disk=disk, late_seconds=2.0)
    await loading.start()
    task = asyncio.create_task(loading.run())
    try:
        disk.held.set()
        await until(lambda: enforcement.find(Reason.RULES_NOT_POLLED))
        found = enforcement.find(Reason.RULES_NOT_POLLED)
        assert found is not None
        assert "were last polled at 20" in found.text
        disk.held.clear()
        disk.let_go.set()
        await until(lambda: enforcement.find(Reason.RULES_NOT_POLLED) is None)
    finally:
        disk.let_go.set()
        task.cancel()
