"""From words of the command line to values of a call. Pure but for files and passwords that words name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


def convert(kind: str, word: str, told: dict[str, Any]) -> Any:  # noqa: PLR0911 - one per type
    """A word as the described type wants it.

    Raises:
        click.BadParameter: it does not fit.
    """
    match kind:
        case "integer":
            return _integer(word)
        case "number":
            return _number(word)
        case "boolean":
            return boolean(word)
        case "ref":
            return int(word) if word.isdecimal() else word
        case "struct":
            return struct([word], told)
        case "array":
            return [convert(told.get("items", "any"), each, {}) for each in word.split(",") if each]
        case "any":
            return guess(word)
    return word


def guess(word: str) -> Any:
    """JSON if it is JSON, else text."""
    try:
        return json.loads(word)
    except ValueError:
        return word


def boolean(word: str) -> bool:
    """True or false by their usual names."""
    if word.lower() in _TRUE | _FALSE:
        return word.lower() in _TRUE
    raise click.BadParameter(f"{word!r} is neither true nor false")


def struct(words: list[str], told: dict[str, Any]) -> dict[str, Any]:
    """``key=value`` words, a JSON object, or ``@file`` (JSON or YAML), merged in their order."""
    fields = {each["name"]: each for each in told.get("fields", ())}
    found: dict[str, Any] = {}
    for word in words:
        if word.startswith(("@", "{")):
            found |= _object(word)
            continue
        key, equals, value = word.partition("=")
        if not equals:
            raise click.BadParameter(f"{word!r} is not key=value")
        field = fields.get(key) or fields.get(key.replace("-", "_"))
        if value == "-":
            found[key] = secret(key)
        elif field is not None:
            found[field["name"]] = convert(field["type"], value, field)
        else:
            found[key] = guess(value)
    return found


def secret(name: str) -> str:
    """A password: asked for at a terminal, else the next line of standard input. Never a word of the command."""
    if sys.stdin.isatty():
        text: str = click.prompt(name, hide_input=True, err=True)
        return text
    return sys.stdin.readline().rstrip("\n")


def _object(word: str) -> dict[str, Any]:
    text = Path(word[1:]).read_text() if word.startswith("@") else word
    try:
        if word.endswith((".yaml", ".yml")):
            import yaml  # noqa: PLC0415 - rarely needed, slow to import

            found = yaml.safe_load(text)
        else:
            found = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{word}: {error}") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{word} holds no struct")
    return found


def _integer(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise click.BadParameter(f"{word!r} is not an integer") from None


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise click.BadParameter(f"{word!r} is not a number") from None
