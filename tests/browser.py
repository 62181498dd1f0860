"""A page in headless Chromium, driven through its own debugging protocol: no package is needed, only the browser.

Chromium comes with ``apt-get install --no-install-recommends chromium``; `missing` says whether it is at hand.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PATIENCE = 60  # seconds for one answer


def missing() -> str:
    """Return why there is no browser; empty where there is one."""
    return "" if EXECUTABLE else "no chromium or google-chrome on PATH (Debian: apt-get install chromium)"


class Page:
    """One tab, in a context manager. `console` has what the page said, `requests` what it fetched, itself included."""

    def __init__(self) -> None:
        self.console: list[str] = []
        self.requests: list[str] = []
        self._number, self._buffer, self._session = 0, b"", ""

    def __enter__(self) -> Page:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read, self._out = os.pipe()
        self._in, write = os.pipe()

        def as_chromium_expects() -> None:  # it reads commands from 3 and answers on 4
            high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]
            for number, end in zip((3, 4), high, strict=True):
                os.dup2(end, number)

        # a profile of its own; no sandbox, as tests may run as root in a container; frames are drawn without a GPU
        options = ["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options += ["--hide-scrollbars", "--no-first-run", f"--user-data-dir={self._profile.name}"]
        # a mouse, which headless browsers lack: types of pointers and hovering as blink numbers them
        mouse = {"primaryHoverType": 2, "availableHoverTypes": 2, "primaryPointerType": 4, "availablePointerTypes": 4}
        options += ["--blink-settings=" + ",".join(f"{name}={value}" for name, value in mouse.items())]
        self._process = subprocess.Popen(
            [str(EXECUTABLE), *options],
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=as_chromium_expects,
        )
        os.close(read)
        os.close(write)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        try:
            self.call("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._in)
            os.close(self._out)
            self._profile.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its answer; see https://chromedevtools.github.io/devtools-protocol."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params, **session}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], PATIENCE)[0]:
                raise TimeoutError(f"Chromium said nothing for {PATIENCE} s")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError("Chromium ended")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event["method"] == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(part.get("value")) for part in params["args"]))
        elif event["method"] == "Runtime.exceptionThrown":
            self.console.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif event["method"] == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif event["method"] == "Network.requestWillBeSent":
            url = params["request"]["url"]
            self.requests += [] if url.startswith("data:") else [url]

    def open(
        self,
        file: Path,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        phone: bool = False,
        script: bool = True,
    ) -> None:
        """Open a file from disk in a window of this size in CSS pixels."""
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        ratio = 2 if phone else 1
        size = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=file.resolve().as_uri())
        while True:
            event = self._receive()
            self._note(event)
            if event["method"] == "Page.loadEventFired":
                return

    def evaluate(self, expression: str) -> Any:
        """Return what a JavaScript expression is; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def settled(self) -> None:
        """Wait for all pictures, and for the page to be laid out with them."""
        self.evaluate(
            "Promise.allSettled([...document.images].map(image => image.decode()))"
            ".then(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))).then(() => 0)"
        )

    def wait(self, condition: str) -> bool:
        """Wait until a JavaScript expression is true; False if it is not within seconds."""
        return self.evaluate(
            "new Promise(done => { const until = Date.now() + 10000; const look = () =>"
            f" ({condition}) ? done(true) : Date.now() > until ? done(false) : setTimeout(look, 20); look(); }})"
        )

    def middle(self, selector: str) -> dict[str, float]:
        """Scroll to the first element that matches, and return its middle in the window."""
        self.settled()
        return self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect(); return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )

    def point(self, x: float, y: float) -> None:
        """Move the mouse there."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def tap(self, x: float, y: float) -> None:
        """Tap there with a finger."""
        self.call(
            "Input.emulateTouchFromMouseEvent", type="mousePressed", x=int(x), y=int(y), button="left", clickCount=1
        )
        self.call(
            "Input.emulateTouchFromMouseEvent", type="mouseReleased", x=int(x), y=int(y), button="left", clickCount=1
        )

    def press(self, key: str, code: int) -> None:
        """Press and release a key, such as ``("Tab", 9)``."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, file: Path, whole: bool = False) -> None:
        """Save what the window shows, or the whole page, as PNG."""
        image = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(image))
