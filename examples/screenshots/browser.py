"""A Chromium without a window, driven over the pipe of its DevTools protocol: one JSON object after the other."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from examples.mesh.processes import Missing, NotSo

_END = b"\0"
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # It shows only our own page, and may run as root.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
)
_SECONDS = 30.0


class Browser:
    """A running browser, its files in *folder*.

    Raises:
        Missing: No Chromium is installed.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            raise Missing("needs chromium: apt-get install chromium")
        from_us, self._out = os.pipe()
        self._in, to_us = os.pipe()
        # The child reads from descriptor 3 and writes to 4, which may be others of ours.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (from_us, to_us)]

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        command = [program, *_FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}", "about:blank"]
        with (folder / "chromium.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(3, 4),
                preexec_fn=place,  # noqa: PLW1509 - no thread of ours runs when it forks
                process_group=0,
            )
        for end in (from_us, to_us, *ends):
            os.close(end)
        self._unread = b""
        self._messages: deque[dict[str, Any]] = deque()
        self._last = 0
        self.tabs: dict[str, Tab] = {}

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Tab:
        """A new tab of *width* × *height*, that shows *url*."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self.tabs[session] = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        # Tabs behind others would rest.
        tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
        tab.shape(width, height)
        tab.theme(dark=dark)
        tab.go(url)
        return tab

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """What *method* of the protocol answers.

        Raises:
            NotSo: An error, or no answer.
        """
        self._last += 1
        mine = self._last
        asked = {"id": mine, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(asked).encode() + _END)
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            message = self._read(deadline - time.monotonic())
            if message is not None and message.get("id") == mine:
                if "error" in message:
                    raise NotSo(f"{method}: {message['error']}")
                found: dict[str, Any] = message["result"]
                return found
        raise NotSo(f"{method}: no answer within {_SECONDS:g} s")

    def _read(self, seconds: float) -> dict[str, Any] | None:
        """The next message; events go to their tab."""
        if _END not in self._unread:
            ready, _, _ = select.select([self._in], [], [], max(0.0, seconds))
            if not ready:
                return None
            piece = os.read(self._in, 1 << 20)
            if not piece:
                raise NotSo("the browser has ended")
            self._unread += piece
            if _END not in self._unread:
                return None
        text, _, self._unread = self._unread.partition(_END)
        message: dict[str, Any] = json.loads(text)
        tab = self.tabs.get(message.get("sessionId", ""))
        if tab is not None and "method" in message:
            tab.hear(message["method"], message["params"])
        return message

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()


class Tab:
    """A tab of *browser*.

    Attributes:
        complaints: Errors of the console: exceptions, violations of the policy, what could not be loaded.
        asked: URLs that it asked for.
    """

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.complaints: list[str] = []
        self.asked: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """As `Browser.call`, of this tab."""
        return self._browser.call(method, self._session, **parameters)

    def hear(self, method: str, event: dict[str, Any]) -> None:
        """Something happened in it."""
        if method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.complaints.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{event['entry']['text']} {event['entry'].get('url', '')}".strip())
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value")) for one in event["args"]))
        elif method == "Network.requestWillBeSent":
            self.asked.append(event["request"]["url"])

    def go(self, url: str) -> None:
        """Show *url*."""
        self.call("Page.navigate", url=url)

    def shape(self, width: int, height: int, scale: float = 1) -> None:
        """Make it as large as a window, or a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def theme(self, *, dark: bool) -> None:
        """Prefer dark colours, or light ones."""
        value = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def run(self, script: str) -> Any:
        """The value of the expression *script*, or what its promise brings.

        Raises:
            NotSo: It raised.
        """
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise NotSo(f"{script[:200]}: {found['exceptionDetails'].get('exception', {}).get('description')}")
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 30) -> None:
        """Return when *script* is true.

        Raises:
            NotSo: It was not in time.
        """
        deadline = time.monotonic() + seconds
        failed = ""
        while time.monotonic() < deadline:
            try:
                if self.run(f"Boolean({script})"):
                    return
            except NotSo as error:  # the document is being loaded
                failed = str(error)
            time.sleep(0.05)
        raise NotSo(f"not in {seconds:g} s: {script}; {failed} the page says: {self.text()[-2000:]}")

    def text(self) -> str:
        """All that it shows."""
        return str(self.run("document.body.innerText"))

    def fill(self, values: dict[str, str]) -> None:
        """Type into the fields with these ids."""
        for name, value in values.items():
            self.run(f"document.getElementById({json.dumps(name)}).focus()")
            self.run(f"document.getElementById({json.dumps(name)}).value = ''")
            self.call("Input.insertText", text=value)

    def click(self, text: str, within: str = "body") -> None:
        """Click on the visible button or link that says *text*, inside the element that *within* selects.

        Raises:
            NotSo: Nothing visible says it.
        """
        found = f"[...document.querySelectorAll({json.dumps(f'{within} button, {within} a')})]"
        self.until(f"{found}.some((one) => one.textContent.trim() === {json.dumps(text)})")
        self.run(f"{found}.find((one) => one.textContent.trim() === {json.dumps(text)}).click()")

    def press(self, keys: Sequence[str]) -> None:
        """Press *keys*, one after the other."""
        for key in keys:
            code = {"Tab": 9, "Enter": 13, "Escape": 27}[key]
            more = {"text": "\r"} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **more)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path) -> None:
        """Write what it shows to *path*, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Close it."""
        self._browser.tabs.pop(self._session)
        self._browser.call("Target.closeTarget", targetId=self._target)
