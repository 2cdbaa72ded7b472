"""A real engine over a real store whose deeds are lines in a file: for tests of the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from qrmd.errors import Conflict, InvalidInput, StepFailed
from qrmd.hooks.calls import Hooks
from qrmd.model import Actor, Role
from qrmd.store import migrations, secrets
from qrmd.store.connection import Db, Transaction, open_reader
from qrmd.store.database import Store
from qrmd.store.transitions import add_machine
from qrmd.threads import Lanes
from qrmd.timers import Timers
from qrmd.vault import Vault
from qrmd.workflow.action import Again, Context, Done, Observation, Outcome
from qrmd.workflow.engine import Engine
from qrmd.workflow.kinds import Journey, WorkflowKind
from qrmd.workflow.parts import Pacing, Parts
from qrmd.workflow.plan import OnFailure, Owned, Phase, Step

ANNA = Actor("user:anna", Role.OPERATOR)
EDGES = frozenset(
    {
        ("off", "going_on"), ("going_on", "on"), ("going_on", "off"), ("going_on", "broken"),
        ("on", "going_off"), ("going_off", "off"), ("going_off", "broken"),
        ("broken", "going_on"), ("broken", "going_off"), ("broken", "off"), ("broken", "on"),
        ("going_off", "owing"), ("owing", "off"),
    }
)  # fmt: skip
QUICK = Pacing(
    first_pause=0.01, longest_pause=0.05, grace=0.1, plugin_pause=0.02, recovery=5.0, undo_attempts=3, failures=3
)


class World:
    """What is outside: a log of deeds, and gates at which blocking calls stand."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "log"
        self.gates: dict[str, threading.Event] = {}
        self.cut = threading.Event()
        self.counts: dict[str, int] = {}
        for line in self.log():
            self.counts[line] = self.counts.get(line, 0) + 1

    def note(self, line: str) -> int:
        """Append; returns how often it was noted by now."""
        with self.path.open("a") as file:
            file.write(line + "\n")
        self.counts[line] = self.counts.get(line, 0) + 1
        return self.counts[line]

    def log(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def gate(self, name: str) -> threading.Event:
        return self.gates.setdefault(name, threading.Event())

    def block(self, name: str) -> None:
        """Stands until its gate opens."""
        self.gate(name).wait(20)
        self.note(f"ended {name}")
        if self.cut.is_set():
            raise StepFailed("the connection was cut")


class Deed:
    """Appends ``do NAME`` or ``undo NAME`` to the log and then follows its script.

    Arguments: ``name``; ``do`` and ``undo``: what comes of each call in turn, ``done`` after the last:
    ``done again fail refuse raise nonsense hang block``; ``secret``: a reference; ``result``.
    """

    def __init__(self, world: World, name: str = "test.deed", timeout: float = 20.0, retries: int = 1) -> None:
        self.name, self.timeout, self.retries = name, timeout, retries
        self._world = world

    async def do(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        return await self._follow(ctx, args, "do")

    async def undo(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        return await self._follow(ctx, args, "undo")

    async def _follow(self, ctx: Context, args: Mapping[str, Any], way: str) -> Outcome:  # noqa: C901 - a table
        number = self._world.note(f"{way} {args['name']}") - 1
        script = args.get(way, ())
        turn = script[number] if number < len(script) else "done"
        secret = ctx.secret(args["secret"]) if "secret" in args else ""
        match turn:
            case "again":
                return Again(0.01, f"not yet {secret}")
            case "later":
                return Again(3600.0, "much later")
            case "fail":
                raise StepFailed(f"no luck with {secret}", subject=ctx.subject, nested={"said": [secret]})
            case "refuse":
                raise InvalidInput("never")
            case "raise":
                raise RuntimeError(f"a bug near {secret}")
            case "nonsense":
                return "nonsense"  # type: ignore[return-value]
            case "unkept":
                return Done({"value": object()})
            case "hang":
                await Deferred()
            case "block" | "deaf":
                await ctx.call(f"host:{turn}", self._world.block, args["name"])
            case "queue":
                await ctx.call("host:deaf", self._world.note, f"zombie {args['name']}")
        return Done({**args.get("result", {}), **({"said": secret} if secret else {})})


class Look(Observation, Deed):
    """Appends ``see NAME`` and follows its script ``see``; it changes nothing."""

    async def do(self, ctx: Context, args: Mapping[str, Any]) -> Outcome:
        return await self._follow(ctx, args, "see")


class Works:
    """Store, engine, world. ``clock`` and ``deliver`` as the daemon gives them."""

    def __init__(
        self,
        directory: Path,
        clock: Timers,
        deliver: Callable[[Callable[[], None]], Any],
        pacing: Pacing = QUICK,
        world: World | None = None,
    ) -> None:
        add_machine("thing", "things", EDGES)
        self.directory = directory
        self.world = world or World(directory)
        self.vault = Vault(directory / "key")
        self.store = Store(directory / "qrmd.db", self.vault, deliver)
        self.store.write_now(_migrate)
        self.lanes = Lanes(deliver)
        self.aborted: list[str] = []
        self.deaf: set[str] = set()
        self.actions: dict[str, Any] = {}
        self.objections: list[str] = []
        for each in (
            Deed(self.world),
            Deed(self.world, "test.short", timeout=0.1, retries=0),
            Deed(self.world, "test.once", retries=0),
            Look(self.world, "test.look"),
        ):
            self.actions[each.name] = each
        self.kinds = {each.operation: each for each in kinds()}
        self.asked: list[tuple[Any, ...]] = []
        hooks = Hooks(lambda _name, _fault: None)
        self.engine = Engine(
            Parts(
                self.store, hooks, self.actions, self.kinds, self.lanes, self.vault, clock, self.ask, self.abort, pacing
            ),
            8,
        )  # fmt: skip

    def abort(self, lane: str) -> None:
        """What kills a connection: a blocked call ends, a deaf one does not."""
        self.aborted.append(lane)
        if not lane.endswith("deaf"):
            self.world.cut.set()
            for gate in self.world.gates.values():
                gate.set()

    async def ask(self, actor: Actor, verb: str, arguments: Any, options: Any, parent: int) -> int:
        """The verb of a child operation is its kind."""
        return await self.engine.start(
            verb,
            arguments["thing"],
            arguments.get("arguments", {}),
            actor=actor,
            reason=options["reason"],
            key=options["key"],
            parent=parent,
        )

    async def start(self, operation: str, *steps: Mapping[str, Any], thing: int = 1, **given: Any) -> int:
        return await self.engine.start(operation, thing, {"steps": list(steps)}, actor=ANNA, **given)

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """As another process sees them."""
        db = Db(open_reader(self.directory / "qrmd.db"))
        try:
            return [dict(row) for row in db.rows(sql, values)]
        finally:
            db.connection.close()

    def state(self, workflow: int) -> str:
        return str(self.rows("SELECT state FROM workflows WHERE id = ?", workflow)[0]["state"])

    def thing(self, ident: int = 1) -> str:
        return str(self.rows("SELECT state FROM things WHERE id = ?", ident)[0]["state"])

    def steps(self, workflow: int) -> list[str]:
        rows = self.rows("SELECT state FROM steps WHERE workflow_id = ? ORDER BY position", workflow)
        return [row["state"] for row in rows]

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table."""
        names = [row["name"] for row in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: self.rows(f"SELECT * FROM {name}") for name in sorted(names)}  # noqa: S608


def _migrate(db: Transaction) -> None:
    if db.value("SELECT 1 FROM sqlite_master WHERE name = 'things'"):
        return
    migrations.core.apply(db.toolkit)
    db.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL,"
        " held INTEGER NOT NULL DEFAULT 0) STRICT"
    )
    for _ in range(4):
        db.execute("INSERT INTO things (state) VALUES ('off')")


def _view(db: Db, ident: int, arguments: Mapping[str, Any], workflow: int) -> dict[str, Any]:
    return {"id": ident, "steps": arguments.get("steps", []), "secrets": secrets.named(db, workflow)}


def _plan(_hooks: Hooks, view: dict[str, Any]) -> Sequence[Step]:
    return [_step(view, each) for each in view["steps"]]


def _step(view: dict[str, Any], given: Mapping[str, Any]) -> Step:
    if given.get("bug"):
        raise RuntimeError("the planner has a bug")
    args = {key: value for key, value in given.items() if key not in _OF_STEP}
    if given.get("secret"):
        args["secret"] = view["secrets"]["password"]
    return Step(
        given.get("action", "test.deed"),
        args,
        Phase(given.get("phase", 1)),
        f"deed {given['name']}",
        provides=tuple(given.get("provides", ())),
        needs=tuple(given.get("needs", ())),
        on_failure=OnFailure(given.get("on_failure", "undo")),
        owns=tuple(Owned("thing", f"{view['id']}-{each}", "place:1") for each in given.get("owns", ())),
        disowns=tuple(Owned("thing", f"{view['id']}-{each}", "place:1") for each in given.get("disowns", ())),
        place=given.get("place", ""),
    )


_OF_STEP = {"action", "phase", "provides", "needs", "on_failure", "owns", "disowns", "place"}


def _hold(db: Transaction, ident: int, arguments: Mapping[str, Any], workflow: int) -> None:
    if arguments.get("full"):
        raise Conflict("there is no room")
    db.execute("UPDATE things SET held = ? WHERE id = ?", (workflow, ident))


def _release(db: Transaction, ident: int, _arguments: Mapping[str, Any], _workflow: int) -> None:
    db.execute("UPDATE things SET held = 0 WHERE id = ?", (ident,))


def _complete(db: Transaction, ident: int, arguments: Mapping[str, Any], _workflow: int) -> None:
    if arguments.get("wedge"):
        raise Conflict("its end can't be written")
    db.execute("UPDATE things SET held = -1 WHERE id = ?", (ident,))


def kinds() -> list[WorkflowKind]:
    """What the things do.

    ``thing.on`` compensates, ``thing.off`` goes one way and takes over, ``thing.clear`` arrives when all is paid,
    ``thing.look`` leaves the state as it is.
    """
    return [
        WorkflowKind(
            "thing.on", "thing", Journey(("off", "broken"), "going_on", "on", "off", "broken"), _view, _plan,
            reserve=_hold, complete=_complete, release=_release, done_event="thing.switched_on",
        ),
        WorkflowKind(
            "thing.off", "thing", Journey(("on", "broken"), "going_off", "off", None, "broken"), _view, _plan,
            complete=_release, compensates=False, mirrored=True, takes_over=("thing.on", "thing.look"),
        ),
        WorkflowKind("thing.look", "thing", Journey(("on",), None, None, None, None), _view, _plan),
        WorkflowKind(
            "thing.clear", "thing", Journey(("on",), "going_off", "off", None, "broken", owing="owing"), _view, _plan,
            compensates=False, mirrored=True,
        ),
    ]  # fmt: skip
