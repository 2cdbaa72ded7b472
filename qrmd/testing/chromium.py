"""A real browser for tests: headless Chromium, driven by its DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from qrmd.process import spawn
from qrmd.testing.interpreter import module_argv, module_environment
from qrmd.testing.waiting import wait_until

ANSWER_SECONDS = 60.0
PAGE_SECONDS = 45.0
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage", "--no-default-browser-check", "--password-store=basic", "--mute-audio",
    "--remote-debugging-pipe",
)  # fmt: skip


class Chromium:
    """One browser process with an empty profile. It trusts one certificate, and that by its key.

    Args:
        certificate: PEM file of the server under test.
    """

    def __init__(self, certificate: Path) -> None:
        self._profile = Path(tempfile.mkdtemp(prefix="qrmd-chromium-"))
        self._numbers = iter(range(1, 2**31))
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        argv = [
            *FLAGS,
            f"--user-data-dir={self._profile}",
            f"--ignore-certificate-errors-spki-list={_pin(certificate)}",
        ]
        program = shutil.which("chromium") or "chromium"
        self._log = self._profile / "chromium.log"
        self._process = spawn(
            module_argv("qrmd.testing.launcher", f"in={theirs_in}", f"out={theirs_out}", "--", program, *argv),
            log=self._log,
            env={**module_environment(), "HOME": str(self._profile)},
            pass_fds=(theirs_in, theirs_out),
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out = os.fdopen(ours_out, "wb", buffering=0)
        self._in = os.fdopen(ours_in, "rb", buffering=0)
        threading.Thread(target=self._listen, name="chromium", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it and remove its profile."""
        self._process.kill()
        self._out.close()
        wait_until(lambda: _removed(self._profile), what="the end of the browser's profile")

    def open(self, *, javascript: bool = True, dark: bool = False, width: int = 1400, height: int = 900) -> Tab:
        """A tab in a window of its own: no cookies of another tab."""
        context = self.call("Target.createBrowserContext", {})["browserContextId"]
        target = self.call("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        tab = Tab(self, session)
        self._listeners[session] = tab.notice
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        tab.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        tab.call("Emulation.setEmulatedMedia", features=scheme)
        if not javascript:
            tab.call("Emulation.setScriptExecutionDisabled", value=True)
        return tab

    def call(self, method: str, params: Mapping[str, Any], session: str = "") -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            AssertionError: the browser refused, or said nothing.
        """
        number = next(self._numbers)
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._answers[number] = answers
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        self._out.write(json.dumps(message).encode() + b"\0")
        try:
            answer = answers.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            raise AssertionError(f"{method}: no answer\n{self._log.read_text(errors='replace')[-2000:]}") from None
        assert "error" not in answer, f"{method}: {answer}"
        found: dict[str, Any] = answer["result"]
        return found

    def _listen(self) -> None:
        rest = b""
        while chunk := self._in.read(65_536):
            *messages, rest = (rest + chunk).split(b"\0")
            for each in messages:
                self._take(json.loads(each))
        self._in.close()

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers.pop(message["id"]).put(message)
        elif message.get("sessionId") in self._listeners:
            self._listeners[message["sessionId"]](message["method"], message["params"])


class Tab:
    """One page.

    Attributes:
        complaints: errors of the console, of scripts and of the content security policy, as texts.
    """

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self._loads = 0
        self.complaints: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the DevTools protocol for this tab."""
        return self._browser.call(method, params, self._session)

    def notice(self, method: str, params: dict[str, Any]) -> None:
        """Keep what tests want to know."""
        if method == "Page.loadEventFired":
            self._loads += 1
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{params['entry']['source']}: {params['entry']['text']}"[:500])
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.complaints.append(json.dumps(params["args"])[:500])

    def go(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self._loading(lambda: self.call("Page.navigate", url=url))

    def reload(self) -> None:
        """Open the same page again."""
        self._loading(lambda: self.call("Page.reload"))

    def press(self, selector: str) -> None:
        """Click something that leads to another page, and wait until that is loaded."""
        self._loading(lambda: self.click(selector))

    def click(self, selector: str) -> None:
        """Click the middle of the first element that a CSS selector names."""
        found = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            " e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2, r.width]; })()"
        )
        assert found, f"there is no {selector}"
        assert found[2], f"{selector} is not visible"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=found[0], y=found[1], button="left", clickCount=1)

    def fill(self, selector: str, text: str) -> None:
        """Type a text into a field in place of what is there; choose it in a list."""
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus();"
            " if (e.select) e.select(); })()"
        )
        if self.run(f"document.querySelector({json.dumps(selector)}).tagName") == "SELECT":
            self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")
            return
        self.call("Input.insertText", text=text)

    def key(self, name: str) -> None:
        """Press a key, ``Tab`` or ``Enter``."""
        code = {"Tab": 9, "Enter": 13}[name]
        text = {"Enter": "\r"}.get(name, "")
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, text=text)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    @property
    def path(self) -> str:
        """Path and query of the page."""
        return str(self.run("location.pathname + location.search"))

    @property
    def text(self) -> str:
        """What a person reads on the page."""
        return str(self.run("document.body.innerText"))

    def wait_for(self, text: str, timeout: float = PAGE_SECONDS) -> None:
        """Wait until the page says something."""
        wait_until(lambda: text in self.text, timeout=timeout, what=f"{text!r} on {self.path}")

    def photograph(self, file: Path) -> None:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def _loading(self, act: Callable[[], Any]) -> None:
        before = self._loads
        act()
        wait_until(lambda: self._loads > before, timeout=PAGE_SECONDS, what="the page")


def _pin(certificate: Path) -> str:
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    digest = Hash(SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return base64.b64encode(digest.finalize()).decode()


def _removed(directory: Path) -> bool:
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()
