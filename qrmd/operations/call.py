"""One call of a verb: who asks, and what a verb may do with the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from qrmd.errors import Forbidden, InvalidInput, NotFound
from qrmd.model import Actor
from qrmd.operations.registry import Verb
from qrmd.operations.schema import Options, convert
from qrmd.store import keys, workflows
from qrmd.store.connection import Transaction
from qrmd.store.rehearsal import rehearse

if TYPE_CHECKING:
    from qrmd.core import Core

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A verb being called by somebody.

    Attributes:
        core: the parts of the daemon.
        actor: who asks.
        verb: name of the verb.
        parent: the workflow whose step asks, None for everybody else.
    """

    core: Core
    actor: Actor
    verb: str
    parent: int | None = None

    @property
    def asker(self) -> str:
        """Whose keys they are: nobody has those of a namesake before it, nor those of a workflow's step."""
        return f"{self.actor.name}#{self.actor.account}" if self.parent is None else "workflow"

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """``function(db, *args)`` on a snapshot."""
        return await self.core.store.read(function, *args)

    async def change(self, options: Options, function: Callable[..., T], *args: Any) -> T | dict[str, Any]:
        """``function(db, *args)`` in one transaction, once per key; a dry run is rolled back.

        ``function`` returns something JSON-able and appends its own events.
        """
        if options.dry_run:
            return {"dry_run": True, "result": await rehearse(self.core.store, function, *args)}
        if not options.key:
            return await self.core.store.write(function, *args)
        return await self.core.store.write(
            keys.once, self.asker, self.verb, options.key, lambda db: function(db, *args)
        )

    async def known(self, options: Options) -> Any:
        """The answer that these options' key got before, None when there is none. Raises Conflict: of another verb.

        A dry run has none: it shows what would be done now.
        """
        if not options.key or options.dry_run:
            return None
        return await self.core.store.read(keys.find, self.asker, self.verb, options.key)

    async def once(self, options: Options, deed: Callable[[], Awaitable[T]]) -> T:
        """``deed()``, once per key: for what is done outside the database. Its answer is JSON-able."""
        if not options.key:
            return await deed()
        known = await self.known(options)
        if known is not None:
            return known  # type: ignore[no-any-return]
        answer = await deed()
        kept: T = await self.core.store.write(keys.once, self.asker, self.verb, options.key, lambda _db: answer)
        return kept

    async def start(
        self,
        operation: str,
        subject_id: int,
        arguments: Mapping[str, Any],
        options: Options,
        secrets: Mapping[str, str] | None = None,
        create: Callable[[Transaction], int] | None = None,
    ) -> int | dict[str, Any]:
        """Run an operation as a workflow: its id, or the plan when it is a dry run.

        Args:
            secrets: values by name; the workflow keeps them sealed and the plan sees references only.
            create: makes the subject in the transaction that begins the workflow (``subject_id`` is 0 then).
        """
        if options.dry_run:
            plan = await self.core.engine.rehearse(operation, subject_id, arguments, self.actor, create)
            return plan.as_dict()
        key = f"{self.asker}:{options.key}" if options.key else None
        return await self.core.engine.start(
            operation,
            subject_id,
            arguments,
            actor=self.actor,
            reason=options.reason,
            key=key,
            parent=self.parent,
            secrets=secrets,
            create=create,
        )

    async def begun_before(self, values: Sequence[Any]) -> int | None:
        """The workflow that these arguments' key began when its subject was still there; None: it began none."""
        options = values[-1] if values else None
        if not isinstance(options, Options) or not options.key or options.dry_run:
            return None
        return await self.core.store.read(workflows.begun_by_key, self.verb, f"{self.asker}:{options.key}")

    async def ask(self, verb: str, *arguments: Any) -> Any:
        """Call another verb as the same actor, with all its checks."""
        return await dispatch(self.core, self.actor, verb, arguments)


async def dispatch(core: Core, actor: Actor, name: str, arguments: Sequence[Any], parent: int | None = None) -> Any:
    """Call a verb by name: the one way in for XML-RPC, web, CLI, plugins and workflow steps.

    Raises:
        NotFound: no such verb.
        Forbidden: the actor's role does not grant it.
        InvalidInput: an argument does not fit; nothing has changed.
    """
    verb = core.verbs.get(name)
    if actor.role not in verb.roles:
        raise Forbidden(f"the role {actor.role} may not call {name}", subject=actor.name)
    call, values = Call(core, actor, name, parent), _converted(verb, arguments)
    try:
        return await verb.function(call, *values)
    except NotFound:
        known = await call.begun_before(values)
        if known is None:
            raise
        return known


def _converted(verb: Verb, arguments: Sequence[Any]) -> list[Any]:
    if len(arguments) > len(verb.parameters):
        raise InvalidInput(
            f"{verb.name} takes at most {len(verb.parameters)} arguments, got {len(arguments)}",
            hint=", ".join(each.name for each in verb.parameters) or "it takes none",
        )
    values = [
        convert(parameter.hint, value, parameter.name)
        for parameter, value in zip(verb.parameters, arguments, strict=False)
    ]
    for parameter in verb.parameters[len(arguments) :]:
        if parameter.required:
            raise InvalidInput(f"{verb.name} lacks its argument {parameter.name}")
        values.append(parameter.default)
    return values
