"""The page on the admin address, in a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from examples.mesh.processes import wait_for
from examples.screenshots.browser import Browser, Tab
from tests.page.accessible import CONTROLS, FAULTS, FOCUSED, OUTLINE
from tests.page.conftest import SCRIPT, TOKEN, Servers, check
from tests.rls_process import RlsProcess

VIEWS = {
    "now": ("Who is refused", "company_id=acme"),
    "rules": ("Requests without a rule", "company_id.path"),
    "rules?domain=mesh&rule=company_id": ("Who hits it most", "5/year"),
    "tenant?domain=mesh&entry=company_id=acme": ("Refused lately", "is refused"),
    "explain?domain=mesh&descriptor=company_id%3Dacme": ("The way through the rules", "OVER LIMIT"),
    "changes": ("Revisions of the rules", "4 added"),
    "overrides": ("In force", "At most 100 at one time"),
    "backend": ("How long checks take", "redis://"),
    "shadow": ("mesh · remote_address", "Whom it would refuse"),
}
Open = Callable[..., Tab]


def at(server: RlsProcess, view: str = "") -> str:
    return f"http://{server.addresses['admin']}/{f'#/{view}' if view else ''}"


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Open]:
    """Opens tabs, which must not complain of anything that a test does not expect."""
    tabs: list[Tab] = []

    def begin(server: RlsProcess, view: str = "", **more: object) -> Tab:
        tabs.append(browser.open(at(server, view), **more))  # type: ignore[arg-type]
        tabs[-1].until("document.querySelector('#state strong')")
        return tabs[-1]

    yield begin
    for tab in tabs:
        tab.run("1")  # hears what came meanwhile
        complaints = [one for one in tab.complaints if "status of 40" not in one]
        tab.close()
        assert complaints == []


def shows(tab: Tab, text: str) -> None:
    tab.until(f"document.body.textContent.includes({json.dumps(text)})")


def test_each_view_shows_what_it_is_for_and_asks_nobody_else(servers: Servers, open_tab: Open) -> None:
    tab = open_tab(servers.one, width=360, height=780)
    for view, texts in VIEWS.items():
        tab.run(f"location.hash = {json.dumps(f'#/{view}')}")
        for text in texts:
            shows(tab, text)
        assert tab.run("document.documentElement.scrollWidth") == 360, f"{view} does not fit a phone"
    assert {url.partition("//")[2].partition("/")[0] for url in tab.asked} == {servers.one.addresses["admin"]}
    assert tab.complaints == []


def test_values_of_requests_are_shown_as_text(servers: Servers, open_tab: Open) -> None:
    tab = open_tab(servers.one)
    for view in ("now", "rules", f"tenant?domain=mesh&entry=company_id={SCRIPT}", "rules?domain=mesh&rule=company_id"):
        tab.run(f"location.hash = {json.dumps(f'#/{view}')}")
        tab.until("document.querySelector('main table')")
        if view != "rules":
            shows(tab, SCRIPT)
    assert tab.run("document.querySelectorAll('script, img').length") == 2, "the page's own ones"
    assert tab.run("document.title") == "company_id · rls"
    tab.run(f"location.hash = '#/explain?domain=mesh&descriptor=' + encodeURIComponent({json.dumps(f'path={SCRIPT}')})")
    shows(tab, "no rule applies")
    assert "hacked" not in tab.run("document.title")


def test_numbers_change_under_load_without_reloading(servers: Servers, open_tab: Open) -> None:
    tab = open_tab(servers.one, "rules")
    link = "document.querySelector('main tbody a')"
    tab.until(link)
    tab.run(f"window.mark = {link}; mark.focus(); document.getElementById('filter').value = 'typed'")
    row = "[...document.querySelectorAll('tbody tr')].find((one) => one.textContent.includes('company_id_umbrella'))"
    assert tab.run(f"{row}.cells[3].textContent") == "0 %"
    for _ in range(3):
        check(servers.one, "company_id=umbrella", times=100)
    tab.until(f"{row}.cells[3].textContent === '6 %'")
    for _ in range(5):  # the rate is that of the last seconds
        check(servers.one, "company_id=umbrella", times=50)
        if tab.run(f"parseFloat({row}.cells[2].textContent) > 0"):
            break
    tab.until(f"parseFloat({row}.cells[2].textContent) > 0")
    assert tab.run(f"mark === {link} && document.activeElement === mark"), "what has the focus keeps it"
    assert tab.run("document.getElementById('filter').value") == "typed"


def test_events_come_by_themselves(servers: Servers, open_tab: Open) -> None:
    tab = open_tab(servers.one, "changes")
    shows(tab, "4 added")
    servers.one.rules.write_text(servers.one.rules.read_text().replace("5000}", "6000}"))
    shows(tab, "5000/year")
    shows(tab, "6000/year")


def test_explain_says_which_rule_applies_and_counts_nothing(servers: Servers, open_tab: Open) -> None:
    check(servers.one, "company_id=initech", times=2)
    tab = open_tab(servers.one, "explain")
    tab.fill({"domain": "mesh", "descriptors": "company_id=initech\ncompany_id=acme,path=/checkout"})
    tab.click("Explain", "form")
    shows(tab, "OVER LIMIT")
    walk = tab.run("[...document.querySelectorAll('.walk li')].map((one) => one.innerText.replaceAll('\\n', ' '))")
    assert walk[0].startswith("✓ company_id 5/year taken")
    assert any(one.startswith("✗ company_id=umbrella") and "other value" in one for one in walk)
    assert "rls call 127.0.0.1:8081 --domain mesh company_id=initech --descriptor" in tab.text()
    assert "counter_key" not in tab.text()
    found = tab.run("[...document.querySelectorAll('#explanation dd')].map((one) => one.textContent)")
    assert found[found.index("5/year") + 1] == "2"
    assert check(servers.one, "company_id=initech", times=3) == 200, "three of five were left"


def test_an_override_made_here_holds_on_the_other_server(servers: Servers, open_tab: Open) -> None:
    assert check(servers.other, "company_id=hooli", times=6) == 429
    tab = open_tab(servers.one, "tenant?domain=mesh&entry=company_id=hooli")
    shows(tab, "is refused")
    tab.click("Override for…")
    tab.fill({"change-limit": "40/year", "change-for": "1h", "change-reason": "TICKET-7", "change-token": TOKEN})
    tab.click("Set override", "dialog")
    shows(tab, "Override set: 5/year → 40/year, for 60 min.")
    wait_for(lambda: check(servers.other, "company_id=hooli") == 200, "the other server has it")
    shows(tab, "40/year")
    other = open_tab(servers.other, "overrides")
    shows(other, "TICKET-7")
    assert tab.run("document.getElementById('token').textContent") == "Changes allowed"
    tab.click("Reset counter…")
    tab.click("Reset", "dialog")
    shows(tab, "Reset: company_id")
    tab.run("location.hash = '#/overrides'")
    tab.click("End…", "main")
    tab.click("End it", "dialog")
    shows(tab, "Ended: company_id=hooli has 5/year again.")
    shows(other, "None. To set one, look for a tenant.")
    assert TOKEN not in tab.run(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )


def test_without_the_token_each_change_is_refused_with_the_servers_words(servers: Servers, open_tab: Open) -> None:
    tab = open_tab(servers.one, "tenant?domain=mesh&entry=company_id=acme")
    tab.click("Override for…")
    tab.fill({"change-limit": "40/year", "change-for": "1h", "change-reason": "none"})
    refused = (
        "The server refused: a token is needed. Expected: Authorization: Bearer, and a token of --admin-token-file"
    )
    tab.click("Set override", "dialog")
    shows(tab, refused)
    tab.fill({"change-token": "not-a-token-of-this-server"})
    tab.click("Set override", "dialog")
    shows(tab, "The server refused: the token is not a valid one")
    tab.click("Cancel", "dialog")
    tab.click("Reset counter…")
    tab.click("Reset", "dialog")
    shows(tab, refused)
    tab.click("Cancel", "dialog")
    assert check(servers.one, "company_id=acme") == 429, "nothing changed"
    tab.click("Override for…")
    tab.fill({"change-limit": "4000/year", "change-for": "1h", "change-reason": "none", "change-token": TOKEN})
    tab.click("Set override", "dialog")
    shows(tab, "The server refused: 4000/year is more than 10 times 5/year, the limit of the rule")
    tab.fill({"change-limit": "6/year"})
    tab.click("Set override", "dialog")
    shows(tab, "Override set")
    other = open_tab(servers.one, "overrides")
    other.click("End…", "main")
    other.click("End it", "dialog")
    shows(other, refused)
    other.fill({"change-token": TOKEN})
    other.click("End it", "dialog")
    shows(other, "Ended: company_id=acme has 5/year again.")


@pytest.mark.parametrize("dark", [False, True])
def test_each_view_can_be_used_by_everybody(servers: Servers, open_tab: Open, dark: bool) -> None:
    tab = open_tab(servers.one, dark=dark)
    for view, texts in VIEWS.items():
        tab.run(f"location.hash = {json.dumps(f'#/{view}')}")
        shows(tab, texts[1])
        assert tab.run(FAULTS) == [], view
        assert tab.run("document.querySelectorAll('nav [aria-current=page]').length") == 1
        assert tab.run("document.activeElement.tagName") == "H1", "a reader hears which view it is"
    tab.run("location.hash = '#/tenant?domain=mesh&entry=company_id=acme'")
    tab.click("Override for…")
    assert tab.run(FAULTS) == [], "dialog"
    assert tab.run("document.activeElement.id") == "change-limit"
    tab.press(["Escape"])
    tab.until("!document.getElementById('dialog').open")


def test_the_tab_key_reaches_every_control_and_shows_where_it_is(servers: Servers, open_tab: Open) -> None:
    tab = open_tab(servers.one, "tenant?domain=mesh&entry=company_id=acme")
    shows(tab, "Used")
    wanted = tab.run(CONTROLS)
    assert len(wanted) > 20
    tab.run("document.activeElement.blur()")
    reached = []
    for _ in range(len(wanted) + 1):
        tab.press(["Tab"])
        reached.append(tab.run(FOCUSED))
        assert tab.run(f"document.activeElement === document.body || {OUTLINE}"), reached[-1]
    assert set(wanted) <= set(reached)
    assert reached[0] == "skip", "the first one leads past the navigation"


def test_it_rests_while_nobody_looks(servers: Servers, open_tab: Open) -> None:
    tab = open_tab(servers.one)
    look = "Object.defineProperty(document, 'hidden', {{value: {}, configurable: true}})"
    look += "; document.dispatchEvent(new Event('visibilitychange'))"

    def asks_nothing() -> bool:
        before = len(tab.asked)
        tab.run("new Promise((done) => setTimeout(done, 3000))")
        return len(tab.asked) == before

    assert not asks_nothing()
    tab.run(look.format("true"))
    wait_for(asks_nothing, "it rests when what was under way has ended", 40)
    before = len(tab.asked)
    tab.run(look.format("false"))
    wait_for(lambda: tab.run("1") and len(tab.asked) > before + 2, "it asks again")


def test_where_reading_needs_a_token_it_asks_for_one(browser: Browser, tmp_path) -> None:
    (tmp_path / "tokens").write_text(f"alice:{TOKEN}")
    with RlsProcess(tmp_path, "--admin", "0.0.0.0:0", "--admin-token-file", str(tmp_path / "tokens")) as server:
        tab = browser.open(f"http://127.0.0.1:{server.addresses['admin'].rpartition(':')[2]}/#/rules")
        shows(tab, "a token is needed")
        assert "company_id" not in tab.text()
        tab.click("Cancel", "dialog")
        tab.click("Read-only", "header")
        tab.fill({"token-field": TOKEN})
        tab.click("Use it", "dialog")
        shows(tab, "company_id")
        tab.until("!document.body.textContent.includes('a token is needed')")
        tab.close()


def test_it_says_when_the_server_does_not_answer(browser: Browser, servers: Servers, tmp_path) -> None:
    with RlsProcess(tmp_path) as server:
        tab = browser.open(at(server))
        tab.until("document.querySelector('#state strong')")
        server.kill()
        tab.until("/has not answered since \\d\\d:\\d\\d:\\d\\d/.test(document.getElementById('silent').textContent)")
        assert tab.run("!document.getElementById('silent').hidden && document.body.matches('.stale')")
        assert tab.run(FAULTS) == []
        with RlsProcess(tmp_path, "--admin", server.addresses["admin"], name="again"):
            tab.until("document.getElementById('silent').hidden && !document.body.matches('.stale')")
        tab.close()
