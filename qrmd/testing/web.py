"""A client of the web pages for tests: cookies, forms with their hidden fields, and nothing of a browser's leniency."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

from qrmd.testing.daemon import Daemon

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; names of headers in lower case, several of one name in order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    def header(self, name: str) -> str:
        """The last header of that name (empty: none)."""
        return next((value for key, value in reversed(self.headers) if key == name), "")


class WebClient:
    """One browser without scripts.

    Attributes:
        cookies: by name; what the server set, and what a test puts there.
    """

    def __init__(self, port: int, ca_file: Path) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}
        self._context = ssl.create_default_context(cafile=ca_file)

    @property
    def origin(self) -> str:
        """What the server takes for itself."""
        return f"https://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request with our cookies, not followed."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self._context, timeout=30)
        sent = dict(headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, body, sent)
            got = connection.getresponse()
            headers_got = tuple((key.lower(), value) for key, value in got.getheaders())
            answer = Answer(got.status, headers_got, got.read())
        finally:
            connection.close()
        self._take_cookies(answer)
        return answer

    def get(self, path: str) -> Answer:
        """A page."""
        return self.ask("GET", path)

    def post(
        self, path: str, fields: Mapping[str, str | list[str]], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send fields as a form of this site does."""
        body = urlencode(fields, doseq=True).encode()
        return self.ask("POST", path, body, {"Content-Type": FORM, "Origin": self.origin, **(headers or {})})

    def login(self, name: str, password: str, following: str = "/") -> Answer:
        """Log in."""
        return self.post("/login", {"name": name, "password": password, "next": following})

    def submit(self, path: str, action: str, fields: Mapping[str, str | list[str]] | None = None) -> Answer:
        """Fill in the form of an action on a page and send it.

        Raises:
            AssertionError: the page has no such form.
        """
        hidden = find_form(self.get(path).text, action)
        assert hidden is not None, f"{path} has no form for {action}"
        return self.post(path, {**hidden, **(fields or {})})

    def _take_cookies(self, answer: Answer) -> None:
        for key, value in answer.headers:
            if key == "set-cookie":
                name, _, text = value.partition(";")[0].partition("=")
                if text:
                    self.cookies[name] = text
                else:
                    self.cookies.pop(name, None)


def web_client(daemon: Daemon, site: str = "admin") -> WebClient:
    """A client of one of a daemon's sites."""
    return WebClient(daemon.port if site == "admin" else daemon.portal_port, daemon.ca_file)


def find_form(text: str, action: str) -> dict[str, str] | None:
    """The hidden fields of the form for an action, None when there is none."""
    reader = _Forms()
    reader.feed(text)
    return next((form for form in reader.forms if form.get("action") == action), None)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append({})
        elif tag == "input" and given.get("type") == "hidden" and self.forms:
            self.forms[-1][given["name"]] = given.get("value", "")
