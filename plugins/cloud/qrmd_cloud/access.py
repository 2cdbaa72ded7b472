"""Who may see whose."""

from __future__ import annotations

from qrmd.api import Call, Db, InvalidInput, NotFound, Ref, Role
from qrmd_cloud.model import User
from qrmd_cloud.store import users


def scope(call: Call) -> int | None:
    """The only user whose objects the caller may see; None: everybody's.

    Raises:
        NotFound: a cloud user without an account.
    """
    if call.actor.role is not Role.CLOUD:
        return None
    if call.actor.cloud_user_id is None:
        raise NotFound("the caller has no cloud account", subject=call.actor.name)
    return call.actor.cloud_user_id


def subject_user(db: Db, own: int | None, named: Ref) -> User:
    """The user that a call is about: the caller, or for administrators the named one.

    Raises:
        InvalidInput: an administrator named nobody.
        NotFound: no such user, or somebody else was named by a cloud user.
    """
    if own is None:
        if not named:
            raise InvalidInput("name the cloud user", hint='the key or argument "user", an id or a name')
        return users.find(db, named)
    user = users.find(db, own)
    if named and named not in {user.id, user.name}:
        raise NotFound("there is no such cloud user")
    return user
