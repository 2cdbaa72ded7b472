"""Verbs about users of the administration and about API tokens."""

from __future__ import annotations

from typing import Annotated, Any

from qrmd.auth import check_password, tokens
from qrmd.clock import from_iso, now_us, to_iso
from qrmd.errors import Forbidden, InvalidInput
from qrmd.model import Role
from qrmd.names import check_name
from qrmd.operations.call import Call
from qrmd.operations.listing import page_of
from qrmd.operations.registry import ADMINISTER, ANYBODY, verb
from qrmd.operations.schema import Check, Length, ListOptions, Options, Ref
from qrmd.store import users

Name = Annotated[str, Check(check_name)]
Password = Annotated[str, Check(check_password)]


def check_role(value: str) -> Role:
    """A role that a user of the administration can have.

    Raises:
        InvalidInput: otherwise.
    """
    if value not in users.ADMIN_ROLES:
        raise InvalidInput("no such role", hint="one of " + ", ".join(users.ADMIN_ROLES))
    return Role(value)


AdminRole = Annotated[str, Check(check_role)]

_NO_OPTIONS = Options()
_ALL = ListOptions()


@verb("user.add", roles=ADMINISTER, changes=True)
async def add(call: Call, name: Name, role: AdminRole, password: Password, options: Options = _NO_OPTIONS) -> Any:
    """Add a user of the administration; returns its id. Roles: administrator, operator, readonly."""
    hashed = await call.core.auth.passwords.hash(password)
    return await call.change(
        options,
        lambda db: users.add(db, name, Role(role), hashed, actor=call.actor.name, reason=options.reason),
    )


@verb("user.list", roles=ADMINISTER)
async def list_users(call: Call, options: ListOptions = _ALL) -> list[dict[str, Any]]:
    """List users: id, name, role, created_at, changed_at."""
    return await page_of(call, options, lambda db, after, limit: map(_shown, users.all_users(db, after, limit)))


@verb("user.set_role", roles=ADMINISTER, changes=True)
async def set_role(call: Call, user: Ref, role: AdminRole, options: Options = _NO_OPTIONS) -> Any:
    """Change a user's role; takes effect with its next call. The last administrator can't be demoted."""
    return await call.change(
        options,
        lambda db: users.set_role(db, user, Role(role), actor=call.actor.name, reason=options.reason),
    )


@verb("user.set_password", roles=ADMINISTER, changes=True)
async def set_password(call: Call, user: Ref, password: Password, options: Options = _NO_OPTIONS) -> Any:
    """Give a user another password; the old one is refused at once, tokens stay."""
    hashed = await call.core.auth.passwords.hash(password)
    return await call.change(
        options,
        lambda db: users.set_password(db, user, hashed, actor=call.actor.name, reason=options.reason),
    )


@verb("user.remove", roles=ADMINISTER, changes=True)
async def remove(call: Call, user: Ref, options: Options = _NO_OPTIONS) -> Any:
    """Remove a user with its tokens. The last administrator can't be removed."""
    return await call.change(options, lambda db: users.remove(db, user, actor=call.actor.name, reason=options.reason))


def _shown(user: users.User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role.value,
        "created_at": to_iso(user.created_at),
        "changed_at": to_iso(user.changed_at),
    }


# ------------------------------------------------------------ tokens


@verb("token.create", roles=ANYBODY, changes=True)
async def create_token(
    call: Call, name: Annotated[str, Length(63)], expires: str = "", options: Options = _NO_OPTIONS
) -> Any:
    """Make an API token for yourself; returns id, name and the token, which is shown this once.

    ``expires``: ISO 8601 time (empty: never). Use it as ``Authorization: Bearer TOKEN`` or as the password
    of Basic. A token has its owner's rights of the moment. With ``key``, a repeated call names the id only.
    Asked with a token that expires, the new one expires no later.
    """
    account = await call.core.auth.account(call.actor)
    until = _no_later(_expiry(expires), call.actor.until)
    secret = tokens.generate()
    made = await call.change(
        options,
        lambda db: users.add_token(
            db, call.actor.name, account.id, check_name(name, "token name"), tokens.digest(secret), until,
            actor=call.actor.name, reason=options.reason,
        ),
    )  # fmt: skip
    if options.dry_run:
        return made
    kept = await call.read(users.token_by_digest, tokens.digest(secret))
    return {"id": made, "name": name, **({"token": secret} if kept and kept.id == made else {})}


@verb("token.list", roles=ANYBODY)
async def list_tokens(call: Call, options: ListOptions = _ALL) -> list[dict[str, Any]]:
    """List your API tokens (administrators: everybody's), without their secrets."""
    owner = None if call.actor.role is Role.ADMINISTRATOR else call.actor.name
    return await page_of(
        call, options, lambda db, after, limit: map(_shown_token, users.tokens(db, owner, after, limit))
    )


@verb("token.revoke", roles=ANYBODY, changes=True)
async def revoke_token(call: Call, token: int, options: Options = _NO_OPTIONS) -> Any:
    """Revoke one of your API tokens (administrators: anybody's) by id; it is refused at once."""
    owner = None if call.actor.role is Role.ADMINISTRATOR else call.actor.name
    return await call.change(
        options, lambda db: users.revoke_token(db, token, owner, actor=call.actor.name, reason=options.reason)
    )


def _expiry(text: str) -> int:
    if not text:
        return 0
    try:
        at = from_iso(text)
    except (ValueError, OverflowError):
        raise InvalidInput("expires is not an ISO 8601 time", hint="2027-01-31T12:00:00Z") from None
    if at <= now_us():
        raise InvalidInput("expires is in the past")
    return at


def _no_later(wanted: int, latest: int) -> int:
    """A stolen token that expires can't be made into one that does not."""
    if not latest:
        return wanted
    if wanted > latest:
        raise Forbidden(
            f"you ask with a token that expires at {to_iso(latest)}; it can make none that lives longer",
            hint="ask with your password, or for an earlier time",
        )
    return wanted or latest


def _shown_token(token: users.Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "owner": token.owner,
        "name": token.name,
        "created_at": to_iso(token.created_at),
        "expires_at": to_iso(token.expires_at) if token.expires_at else None,
        "last_used_at": to_iso(token.last_used_at) if token.last_used_at else None,
    }
