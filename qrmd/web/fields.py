"""What a browser sent: the query and the form."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from qrmd.errors import InvalidInput, TooLarge
from qrmd.web.request import Request

MOST_FIELDS = 200
LONGEST_FORM = 262_144
FORM = b"application/x-www-form-urlencoded"


def read_query(request: Request) -> dict[str, Any]:
    """The query. The last of equal names wins; names that end in ``[]`` are lists.

    Raises:
        InvalidInput: too many fields, or not UTF-8.
    """
    return _parse(request.uri.partition(b"?")[2])


def read_form(request: Request) -> dict[str, Any]:
    """The body of a POST, in the same shape.

    Raises:
        InvalidInput: it is no form.
        TooLarge: it is longer than any form of ours.
    """
    content_type = (request.header(b"Content-Type") or b"").partition(b";")[0].strip().lower()
    if content_type != FORM:
        raise InvalidInput("that is no form", hint=f"send {FORM.decode()}")
    body = request.content.getvalue()
    if len(body) > LONGEST_FORM:
        raise TooLarge(f"the form is longer than {LONGEST_FORM} bytes", hint="send less")
    return _parse(body)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise InvalidInput("the fields can't be read", hint=f"at most {MOST_FIELDS} of them, in UTF-8") from None
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name.endswith("[]"):
            found.setdefault(name, []).append(value)
        else:
            found[name] = value.replace("\r\n", "\n")
    return found
