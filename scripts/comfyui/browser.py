"""A headless Chromium with one page, driven over the DevTools protocol.

    with Browser(find_chromium()) as browser:
        browser.open("http://127.0.0.1:8188")
        title = browser.evaluate("document.title")

aiohttp comes with ComfyUI, so nothing has to be installed but Chromium itself.
"""

import asyncio
import base64
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--force-device-scale-factor=1", "--remote-debugging-port=0"),
)
# Seconds that a page may take on a busy machine.
PATIENCE = 300.0


class BrowserError(RuntimeError):
    """The browser did not start, or a script in the page failed."""


class PromiseDroppedError(BrowserError):
    """The page gave up what was awaited: nothing can settle that promise any more."""


def find_chromium() -> str | None:
    """A Chromium or Chrome of this machine (`CHROMIUM` names another), or None."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """One page of `size` pixels; use it as a context manager."""

    def __init__(self, chromium: str, size: tuple[int, int] = (1600, 1000)) -> None:
        self._loop = asyncio.new_event_loop()
        self._profile = tempfile.mkdtemp(prefix="page-test-")
        self._calls = 0
        self._session = ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._http: aiohttp.ClientSession | None = None
        width, height = size
        self._process = subprocess.Popen(
            [
                *(chromium, *_ARGUMENTS),
                *(f"--user-data-dir={self._profile}", f"--window-size={width},{height}"),
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._run(self._connect(), PATIENCE)
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            self.call("Runtime.enable")
            self.call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=1,
                mobile=False,
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, url: str) -> None:
        """Loads `url`; what it still does afterwards is up to `wait_for`."""
        self.call("Page.enable")
        self.call("Page.navigate", url=url)

    def call(self, method: str, timeout: float = PATIENCE, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        return self._run(self._call(method, params), timeout)

    def evaluate(self, expression: str, timeout: float = PATIENCE) -> Any:
        """The JSON value of a JavaScript expression, awaited when it is a promise."""
        result = self.call(
            "Runtime.evaluate",
            timeout,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in result:
            raise BrowserError(f"{expression[:200]}: {_message(result['exceptionDetails'])}")
        return result["result"].get("value")

    def wait_for(self, expression: str, timeout: float = PATIENCE) -> None:
        """Returns when the expression is true."""
        deadline = time.monotonic() + timeout
        while not self.evaluate(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                raise BrowserError(f"{timeout:.0f} s passed without {expression}")
            time.sleep(0.2)

    def screenshot(self, path: Path) -> None:
        """Writes what the page shows as PNG."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Ends the browser and removes its profile."""
        if self._http is not None:
            self._run(self._http.close(), 10)
        self._loop.close()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # It has ended by itself.
        finally:
            self._process.wait()
            shutil.rmtree(self._profile, ignore_errors=True)

    def _run(self, coroutine: Any, timeout: float) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(coroutine, timeout))

    async def _connect(self) -> None:
        address = Path(self._profile, "DevToolsActivePort")
        while not (address.exists() and len(address.read_text().splitlines()) == 2):
            if self._process.poll() is not None:
                raise BrowserError(f"Chromium ended with status {self._process.returncode}")
            await asyncio.sleep(0.05)
        port, path = address.read_text().splitlines()
        self._http = http = aiohttp.ClientSession()
        self._socket = await http.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0)

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._calls += 1
        call = {"id": self._calls, "method": method, "params": params}
        if self._session:
            call["sessionId"] = self._session
        await self._socket.send_json(call)
        while True:
            answer = await self._socket.receive_json()
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(_message(answer["params"]["exceptionDetails"]))
            # These two come after `call("Log.enable")` and `call("Network.enable")`.
            if answer.get("method") == "Log.entryAdded":
                entry = answer["params"]["entry"]
                if entry["level"] == "error":
                    self.errors.append(entry["text"])
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == call["id"]:
                if "error" in answer:
                    message = answer["error"]["message"]
                    dropped = message == "Promise was collected"
                    kind = PromiseDroppedError if dropped else BrowserError
                    raise kind(f"{method}: {message}")
                return answer["result"]


def _message(details: dict[str, Any]) -> str:
    exception = details.get("exception", {})
    return str(exception.get("description") or exception.get("value") or details["text"])
