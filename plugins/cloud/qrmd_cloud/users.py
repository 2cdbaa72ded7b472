"""Verbs about cloud users."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

from qrmd.api import (
    ADMINISTER,
    LOOK,
    Call,
    Check,
    Conflict,
    Db,
    Length,
    ListOptions,
    Options,
    Range,
    Ref,
    Services,
    Transaction,
    events,
    names,
    to_iso,
    verb,
)
from qrmd_cloud import money, passwords, vault
from qrmd_cloud.limits import Amounts, allowed
from qrmd_cloud.model import User
from qrmd_cloud.money import show
from qrmd_cloud.store import ledger, requests, rows, users

Count = Annotated[int, Range(0, 2**40)]
_NO_OPTIONS = Options()
_ALL = ListOptions()


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a user over all servers; 0: none."""

    servers: Count = 0
    cpus: Count = 0
    memory_mb: Count = 0
    disk_mb: Count = 0
    nics: Count = 0


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be.

    Attributes:
        password: empty: one is made and returned once.
        ccus: decimal string, the first credit.
    """

    name: Annotated[str, Check(names.check_name)]
    email: Annotated[str, Check(names.check_mail)]
    password: Annotated[str, Check(passwords.check_password)] = ""
    ccus: Annotated[str, Length(24)] = "0"
    limits: Limits | None = None


class Users:
    """``cloud.user.*``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @verb("cloud.user.add", roles=ADMINISTER, changes=True)
    async def add(self, call: Call, user: NewUser, options: Options = _NO_OPTIONS) -> dict[str, Any]:
        """Add a user. Returns ``{"id"}``, and ``"password"`` when one was made (it is shown only this once)."""
        password = user.password or vault.make_password()
        hashed = await self._services.blocking(passwords.LANE, passwords.hash_now, password)
        made: list[int] = []
        answer: Any = await call.change(options, _add, user, hashed, made, call.actor.name, options.reason)
        if options.dry_run or user.password or not made:
            return dict(answer)
        return {**answer, "password": password}

    @verb("cloud.user.list", roles=LOOK)
    async def list(self, call: Call, options: ListOptions = _ALL) -> list[dict[str, Any]]:
        """Users in order of ids, with balance, what is held, and limits."""
        return await call.read(_list, options)

    @verb("cloud.user.get", roles=LOOK)
    async def get(self, call: Call, user: Ref) -> dict[str, Any]:
        """One user, with limits and what is used of them."""
        return await call.read(_get, user)

    @verb("cloud.user.set_ccus", roles=ADMINISTER, changes=True)
    async def set_ccus(
        self, call: Call, user: Ref, ccus: Annotated[str, Length(24)], options: Options = _NO_OPTIONS
    ) -> Any:
        """Set the balance to a decimal string, or change it by one with a sign (``+100``, ``-5``).

        It becomes one line of the ledger with the difference. Returns ``{"balance", "available"}``.
        """
        sign = ccus[:1] if ccus[:1] in {"+", "-"} else ""
        amount = money.parse(ccus.removeprefix(sign), "ccus")
        return await call.change(options, _set_ccus, user, sign, amount, call.actor.name, options.reason)

    @verb("cloud.user.set_limits", roles=ADMINISTER, changes=True)
    async def set_limits(self, call: Call, user: Ref, limits: Limits, options: Options = _NO_OPTIONS) -> Any:
        """Replace a user's limits; what is there already stays. Returns the limits."""
        return await call.change(options, _set_limits, user, limits, call.actor.name, options.reason)

    @verb("cloud.user.remove", roles=ADMINISTER, changes=True)
    async def remove(self, call: Call, user: Ref, options: Options = _NO_OPTIONS) -> Any:
        """Remove a user without open requests. The ledger is kept; the name is free again."""
        return await call.change(options, _remove, user, call.actor.name, options.reason)


def _add(db: Transaction, new: NewUser, hashed: str, made: list[int], actor: str, reason: str) -> dict[str, Any]:
    limits = Amounts(**asdict(new.limits or Limits()))
    ident = users.add(db, new.name, new.email, hashed, limits, actor, reason)
    ledger.give(db, ident, money.parse(new.ccus, "ccus"), actor, "first credit")
    made.append(ident)
    return {"id": ident}


def view(db: Db, user: User) -> dict[str, Any]:
    """A user as the interface shows them."""
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "created": to_iso(user.created_at),
        "balance": show(ledger.balance(db, user.id)),
        "held": show(ledger.held(db, user.id)),
        "available": show(ledger.available(db, user.id)),
        "limits": asdict(allowed(user)),
    }


def _list(db: Db, options: ListOptions) -> list[dict[str, Any]]:
    found = rows.page(db, User, "cloud_users", options, users.FILTERS, {"removed_at": 0})
    return rows.listed(found, partial(view, db), options)


def _get(db: Db, ref: Ref) -> dict[str, Any]:
    user = users.find(db, ref)
    return view(db, user) | {
        "used": asdict(requests.reserved(db, user)),
        "open_requests": requests.open_of(db, user.id),
    }


def _set_ccus(db: Transaction, ref: Ref, sign: str, amount: int, actor: str, reason: str) -> dict[str, Any]:
    user = users.find(db, ref)
    change = {"+": amount, "-": -amount}.get(sign, amount - ledger.balance(db, user.id))
    ledger.give(db, user.id, change, actor, reason)
    requests.look_again(db, user.id)
    events.append(
        db,
        "cloud_user.ccus_set",
        f"cloud_user:{user.id}",
        actor=actor,
        reason=reason,
        data={"change": show(change), "balance": show(ledger.balance(db, user.id))},
    )
    return {"balance": show(ledger.balance(db, user.id)), "available": show(ledger.available(db, user.id))}


def _set_limits(db: Transaction, ref: Ref, limits: Limits, actor: str, reason: str) -> dict[str, Any]:
    user = users.find(db, ref)
    users.set_limits(db, user.id, Amounts(**asdict(limits)))
    events.append(db, "cloud_user.limits_set", f"cloud_user:{user.id}", actor=actor, reason=reason, data=asdict(limits))
    return asdict(limits)


def _remove(db: Transaction, ref: Ref, actor: str, reason: str) -> dict[str, Any]:
    user = users.find(db, ref)
    still = requests.open_of(db, user.id)
    if still:
        raise Conflict(
            f"{user.name} has open requests: {', '.join(map(str, still[:20]))}",
            subject=f"cloud_user:{user.id}",
            hint="deny, cancel or de-provision them first",
            requests=still,
        )
    users.remove(db, user.id)
    events.append(
        db, "cloud_user.removed", f"cloud_user:{user.id}", actor=actor, reason=reason, data={"name": user.name}
    )
    return {"id": user.id}
