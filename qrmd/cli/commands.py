"""Commands made from the server's description of its verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from qrmd.cli import description, output, values
from qrmd.cli import profile as profiles
from qrmd.cli.connection import CallFailed, Connection
from qrmd.cli.profile import Profile
from qrmd.errors import QrmdError

_OWN_OPTIONS = {"output", "wait", "timeout", "help"}
_SECRETS = {"password"}
_SCALARS = {"integer", "number", "string", "ref"}
_UNSET = object()


@dataclass(slots=True)
class Session:
    """What the commands of one run share."""

    profile: Callable[[], Profile]
    form: str = "table"
    _verbs: description.Description | None = None
    _fresh: bool = False

    def verbs(self, *, fresh: bool = False) -> description.Description:
        """The verbs; ``fresh``: not from what was kept, but asked at most once per run."""
        if self._verbs is None or (fresh and not self._fresh):
            found = None if fresh else description.kept(self.profile())
            self._fresh = found is None
            self._verbs = description.ask(self.profile()) if found is None else found
        return self._verbs

    def connection(self) -> Connection:
        """A connection to the server."""
        return Connection(self.profile())


class Noun(click.Group):
    """A group whose commands are the server's verbs that begin with ``prefix``, beside those given."""

    def __init__(self, prefix: str, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Own commands and the server's (none, when it can't be asked: help still works)."""
        try:
            told = _children(session_of(ctx).verbs(), self.prefix)
        except (CallFailed, QrmdError, OSError, ValueError):
            told = set()
        return sorted({*self.commands, *told})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; one that is not known yet may come from a plugin that was started since."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        session = session_of(ctx)
        return self._find(session.verbs(), cmd_name) or self._find(session.verbs(fresh=True), cmd_name)

    def _find(self, verbs: description.Description, word: str) -> click.Command | None:
        name = word.replace("-", "_")
        for full in (f"{self.prefix}{name}", *(() if self.prefix else (f"qrm.{name}",))):
            if full in verbs:
                return make_command(verbs[full], word)
        if _children(verbs, f"{self.prefix}{name}."):
            return Noun(f"{self.prefix}{name}.", name=word, help=f"Verbs of {self.prefix}{name}.")
        return None


def make_command(told: dict[str, Any], word: str) -> click.Command:
    """The command of one verb."""
    places = [_place(each, told) for each in told["parameters"]]
    params = [each for place in places for each in place.params]
    params.append(
        click.Option(["-o", "--output", "output"], type=click.Choice(output.FORMATS), help="Form of the answer.")
    )
    if told["changes"]:
        params.append(click.Option(["--wait", "wait"], is_flag=True, help="Wait for the workflow, show its steps."))
        params.append(
            click.Option(
                ["--timeout", "timeout"], type=float, default=3600.0, help="Seconds to wait.", show_default=True
            )
        )

    def run(**words: Any) -> None:
        session = session_of(click.get_current_context())
        connection = session.connection()
        answer = connection.call(told["name"], *_arguments(places, words))
        form = words["output"] or session.form
        if words.get("wait"):
            _finish(connection, told, answer, words["timeout"], form)
        else:
            output.show(answer, form)

    return click.Command(word, params=params, callback=run, help=_help(told), short_help=told["help"].split("\n")[0])


def _finish(connection: Connection, told: dict[str, Any], answer: Any, timeout: float, form: str) -> None:
    from qrmd.cli import waiting  # noqa: PLC0415 - only when asked for

    workflow = answer.get("workflow") if isinstance(answer, dict) else answer
    if isinstance(answer, dict) and answer.get("dry_run"):
        workflow = None
    if workflow is None or (told["returns"] != "workflow" and not isinstance(answer, dict)):
        output.show(answer, form)
        return
    ended, status = waiting.wait(connection, int(workflow), timeout)
    shown = {name: ended[name] for name in ("id", "operation", "subject", "state", "fault") if ended.get(name)}
    output.show(ended if form != "table" else shown, form)
    if status:
        raise click.exceptions.Exit(status)


# ------------------------------------------------------------ parameters


@dataclass(slots=True)
class _Place:
    """One parameter of a verb and the words that make it up."""

    told: dict[str, Any]
    params: list[click.Parameter]
    value: Callable[[dict[str, Any]], Any]


def _place(told: dict[str, Any], verb: dict[str, Any]) -> _Place:
    if told["type"] == "struct" and told.get("fields"):
        return _struct_place(told, verb)
    if told["type"] == "struct" and told["required"]:
        return _pairs_place(told)
    if told["name"] in _SECRETS and told["type"] == "string":
        return _secret_place(told)
    return _plain_place(told)


def _plain_place(told: dict[str, Any]) -> _Place:
    name = told["name"]
    as_argument = told["type"] in _SCALARS | {"any"} or told["required"]
    metavar = _shown(name, required=told["required"])
    parameter: click.Parameter
    if as_argument:
        parameter = click.Argument([f"arg_{name}"], required=told["required"], metavar=metavar)
    else:
        parameter = click.Option([f"--{_dashed(name)}", f"arg_{name}"], help=told["help"])

    def value(words: dict[str, Any]) -> Any:
        word = words[f"arg_{name}"]
        return _UNSET if word is None else values.convert(told["type"], word, told)

    return _Place(told, [parameter], value)


def _secret_place(told: dict[str, Any]) -> _Place:
    """A password is no word: it is asked for; an optional one when its option says so."""
    name = told["name"]
    if told["required"]:
        return _Place(told, [], lambda _words: values.secret(name))
    flag = click.Option(
        [f"--{_dashed(name)}", f"arg_{name}"], is_flag=True, help="Ask for it, or read it from standard input."
    )
    return _Place(told, [flag], lambda words: values.secret(name) if words[f"arg_{name}"] else _UNSET)


def _pairs_place(told: dict[str, Any]) -> _Place:
    argument = click.Argument(["pairs"], nargs=-1, required=True, metavar="KEY=VALUE...")
    return _Place(told, [argument], lambda words: values.struct(list(words["pairs"]), told))


def _struct_place(told: dict[str, Any], verb: dict[str, Any]) -> _Place:
    """A struct whose fields are known: required scalars by position or option, the others as options."""
    name = told["name"]
    params: list[click.Parameter] = []
    makers: dict[str, Callable[[dict[str, Any]], Any]] = {}
    for field in told["fields"]:
        if field["name"] in _SECRETS and field["required"]:
            makers[field["name"]] = lambda _words, _name=field["name"]: values.secret(_name)  # type: ignore[misc]
            continue
        found, makers[field["name"]] = _field(field, name, verb)
        params += found
    whole = f"whole_{name}"
    if name != "options":
        params.append(
            click.Option(
                [f"--{_dashed(name)}", whole], multiple=True, help="KEY=VALUE, a JSON object, or @FILE (JSON, YAML)."
            )
        )

    def value(words: dict[str, Any]) -> Any:
        made = values.struct(list(words.get(whole, ())), told)
        for each, make in makers.items():
            given = _UNSET if each in made and each in _SECRETS else make(words)
            if given is not _UNSET:
                made[each] = given
        return made if made or told["required"] else _UNSET

    return _Place(told, params, value)


def _field(
    field: dict[str, Any], struct: str, verb: dict[str, Any]
) -> tuple[list[click.Parameter], Callable[[dict[str, Any]], Any]]:
    key = f"{struct}_{field['name']}"
    option = _option_name(field["name"], struct, verb)
    if field["name"] in _SECRETS:
        ask = click.Option([option, key], is_flag=True, help="Ask for it, or read it from standard input.")
        return [ask], lambda words: values.secret(field["name"]) if words[key] else _UNSET
    if field["type"] == "boolean":
        flag = click.Option([f"{option}/--no-{option[2:]}", key], default=None, help=field["help"])
        return [flag], lambda words: _UNSET if words[key] is None else words[key]
    if field["type"] == "struct":
        pairs = click.Option([option, key], multiple=True, metavar="KEY=VALUE", help=field["help"])
        return [pairs], lambda words: values.struct(list(words[key]), field) if words[key] else _UNSET
    if field["type"] == "array":
        several = click.Option([option, key], multiple=True, metavar="A,B,…", help=field["help"])
        return [several], lambda words: _joined(words[key], field)
    shown = f"{field['help']} {_bounds(field)}".strip()
    single = click.Option([option, key], help=shown, metavar=field["type"].upper())
    if not field["required"] or field["type"] not in _SCALARS:
        return [single], lambda words: _scalar(words[key], field)
    place = f"pos_{key}"
    argument = click.Argument([place], required=False, metavar=_shown(field["name"], required=True))
    return [argument, single], lambda words: _scalar(words[key] if words[key] is not None else words[place], field)


def _scalar(word: str | None, field: dict[str, Any]) -> Any:
    return _UNSET if word is None else values.convert(field["type"], word, field)


def _joined(words: Sequence[str], field: dict[str, Any]) -> Any:
    if not words:
        return _UNSET
    if field.get("items") == "string" and field["name"].startswith("ssh_key"):
        return list(words)  # a key's comment may hold a comma
    return [each for word in words for each in values.convert("array", word, field)]


def _arguments(places: list[_Place], words: dict[str, Any]) -> list[Any]:
    """Values in the order of the parameters, up to the last one given."""
    given = [place.value(words) for place in places]
    while given and given[-1] is _UNSET and not places[len(given) - 1].told["required"]:
        given.pop()
    return [_default(place.told) if each is _UNSET else each for place, each in zip(places, given, strict=False)]


def _default(told: dict[str, Any]) -> Any:
    return told.get("default", {} if told["type"] == "struct" else None)


# ------------------------------------------------------------ names and texts


def session_of(ctx: click.Context) -> Session:
    """Of this run: made when first asked for, because help and completion come before the root's call-back."""
    root = ctx.find_root()
    if root.obj is None:
        name = root.params.get("profile") or ""
        root.obj = Session(lambda: profiles.load(name), root.params.get("form") or "table")
    session: Session = root.obj
    return session


def _children(verbs: description.Description, prefix: str) -> set[str]:
    rests = [name[len(prefix) :] for name in verbs if name.startswith(prefix)]
    found = {rest.partition(".")[0] for rest in rests if rest}
    if not prefix:  # qrm.version is `qrm version`
        found = (found - {"qrm"}) | _children(verbs, "qrm.")
    return {each.replace("_", "-") for each in found}


def _option_name(name: str, struct: str, verb: dict[str, Any]) -> str:
    """``--name``; with the struct's name before it where two structs share it, or we use it ourselves."""
    shared = [
        each["name"]
        for each in verb["parameters"]
        for field in each.get("fields", ())
        if field["name"] == name and each["name"] != struct
    ]
    others = {each["name"] for each in verb["parameters"]}
    clash = name in _OWN_OPTIONS | others or (shared and struct != "options")
    return f"--{_dashed(struct)}-{_dashed(name)}" if clash else f"--{_dashed(name)}"


def _shown(name: str, *, required: bool) -> str:
    text = _dashed(name).upper()
    return text if required else f"[{text}]"


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _bounds(field: dict[str, Any]) -> str:
    if "choices" in field:
        return "[" + "|".join(field["choices"]) + "]"
    if "least" in field:
        return f"[{field['least']} to {field['most']}]"
    return ""


def _help(told: dict[str, Any]) -> str:
    text: str = told["help"].replace("``", "")
    return text + f"\n\nFor: {', '.join(told['roles'])}."
