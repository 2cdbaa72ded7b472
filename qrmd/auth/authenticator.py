"""From a name and a secret to an actor."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import ChainMap, OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from hashlib import sha256

from twisted.internet.defer import Deferred

from qrmd.auth import tokens
from qrmd.auth.limits import Attempts
from qrmd.auth.passwords import Passwords
from qrmd.auth.realms import Account, Realm, Users
from qrmd.clock import SECOND, now_us
from qrmd.errors import Conflict, NotAuthenticated
from qrmd.model import Actor
from qrmd.store import users
from qrmd.store.database import Store
from qrmd.store.watch import Changes

log = logging.getLogger(__name__)

REMEMBERED = 60.0
MOST_REMEMBERED = 10_000
TOKEN_TOUCH = 600 * SECOND
PER_ADDRESS = (30, 60.0)
PER_NAME = (10, 60.0)


@dataclass(slots=True)
class _Proof:
    """A secret that was right: for which account, until when, as of which version of the database."""

    realm: Realm
    account: Account
    until: float
    version: int
    token_digest: str = ""
    token_actor: Actor | None = None

    @property
    def actor(self) -> Actor:
        """Who asks, and with a token: until when."""
        return self.token_actor or self.account.actor


class Authenticator:
    """Checks passwords and tokens against the realms.

    A right secret is remembered for a minute under an HMAC with a key that lives in memory only. A remembered
    one is believed while nobody has committed anything; after a commit of anybody (another process included)
    the account's row is read again, so that a changed password, role or token takes effect with the next call.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        realms: MutableMapping[str, Realm] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.passwords = passwords
        self._store = store
        self._clock = clock
        self._changes = Changes(store.path)
        self._key = secrets.token_bytes(32)
        self._proofs: OrderedDict[bytes, _Proof] = OrderedDict()
        self._in_flight: dict[bytes, list[Deferred[None]]] = {}
        self._addresses = Attempts(*PER_ADDRESS, clock)
        self._names = Attempts(*PER_NAME, clock)
        self._pairs = Attempts(*PER_NAME, clock)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._realms: MutableMapping[str, Realm] = ChainMap({}, realms if realms is not None else {})
        self.add_realm(Users(store))

    def add_realm(self, realm: Realm) -> None:
        """Make a plugin's accounts known (again with the same name: replaces it)."""
        self._realms[realm.name] = realm

    def remove_realm(self, name: str) -> None:
        """Forget a realm and everybody who logged in from it."""
        self._realms.pop(name, None)
        self._proofs.clear()

    def stop(self) -> None:
        """Close the connection that watches for changes, end the threads."""
        self._changes.close()
        self.passwords.stop()

    # ------------------------------------------------------------ calls

    def recall(self, name: str, secret: str) -> Actor | None:
        """The actor, if the secret was right within the last minute and nothing has changed since. Never waits."""
        proof = self._proofs.get(self._digest(name, secret, ""))
        if proof is None or self._clock() > proof.until or proof.version != self._changes.version():
            return None
        return proof.actor

    async def authenticate(self, name: str, secret: str, address: str, realm: str = "") -> Actor:
        """Check a password or token.

        Args:
            name: account; may be empty when ``secret`` is a token.
            address: who asks, for the limits.
            realm: look only there (empty: in all, in the order they were added).

        Raises:
            NotAuthenticated: unknown account or wrong secret; it never says which.
            TooManyRequests: too many failures from this address or for this name.
        """
        key = self._digest(name, secret, realm)
        actor = await self._recheck(key)
        if actor is not None:
            return actor
        waiting = self._in_flight.get(key)
        if waiting is not None:  # the same secret is being checked: one check serves all
            turn: Deferred[None] = Deferred()
            waiting.append(turn)
            await turn
            known = self._proofs.get(key)
            if known is None:
                raise _refusal()
            return known.actor
        self._in_flight[key] = []
        try:
            proof = await self._prove(name, secret, address, realm)
            self._remember(key, proof)
        finally:
            for each in self._in_flight.pop(key):
                each.callback(None)
        return proof.actor

    async def account(self, actor: Actor) -> Account:
        """The account behind an actor.

        Raises:
            Conflict: it has none (a plugin, the system).
        """
        prefix, _, name = actor.name.partition(":")
        realm = self._realms.get(prefix)
        account = await realm.find(name) if realm is not None else None
        if account is None:
            raise Conflict(f"{actor.name} has no account", hint="log in as a user")
        return account

    # ------------------------------------------------------------ remembering

    def _digest(self, name: str, secret: str, realm: str) -> bytes:
        return hmac.digest(self._key, f"{realm}\0{name}\0{secret}".encode(), "sha256")

    async def _recheck(self, key: bytes) -> Actor | None:
        """The remembered actor if its account is still what it was; otherwise it is forgotten."""
        proof = self._proofs.get(key)
        if proof is None:
            return None
        if self._clock() <= proof.until:
            version = self._changes.version()
            if proof.version == version or await self._still_right(proof):
                proof.version = version
                return proof.actor
        self._proofs.pop(key, None)
        return None

    async def _still_right(self, proof: _Proof) -> bool:
        if proof.token_digest:
            token = await self._store.read(users.token_by_digest, proof.token_digest)
            if token is None or _is_expired(token):
                return False
        if self._realms.get(proof.realm.name) is not proof.realm:
            return False
        return await proof.realm.find(proof.account.name) == proof.account

    def _remember(self, key: bytes, proof: _Proof) -> None:
        self._proofs[key] = proof
        self._proofs.move_to_end(key)
        while len(self._proofs) > MOST_REMEMBERED:
            self._proofs.popitem(last=False)

    # ------------------------------------------------------------ proving

    async def _prove(self, name: str, secret: str, address: str, realm: str) -> _Proof:
        name_key = sha256(name.encode()).hexdigest()
        is_token = tokens.looks_like(secret)
        self._addresses.take(address)
        if not is_token:  # 256 random bits need no protection of the name; so nobody can lock out a token
            attempts, key = self._counted(name_key, address)
            attempts.take(key)
        version = self._changes.version()
        if is_token:
            proof = await self._prove_token(name, secret, realm, version)
        else:
            proof = await self._prove_password(name, secret, realm, version)
        if proof is None:
            log.warning("log-in failed from %s", address)
            raise _refusal()
        self._addresses.give_back(address)
        if not is_token:
            attempts.give_back(key)
            self._note_known(f"{name_key} {address}")
        return proof

    def _counted(self, name_key: str, address: str) -> tuple[Attempts, str]:
        """Where somebody logged in before, guesses from elsewhere at the name don't lock them out."""
        pair = f"{name_key} {address}"
        return (self._pairs, pair) if pair in self._known else (self._names, name_key)

    def _note_known(self, pair: str) -> None:
        self._known[pair] = None
        self._known.move_to_end(pair)
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)

    async def _prove_password(self, name: str, secret: str, realm: str, version: int) -> _Proof | None:
        found = [
            (each, account)
            for each in self._candidates(realm)
            if name and (account := await each.find(name)) is not None
        ]
        if not found:
            await self.passwords.verify(None, secret)
        for each, account in found:
            if await self.passwords.verify(account.password_hash or None, secret):
                return _Proof(each, account, self._clock() + REMEMBERED, version)
        return None

    async def _prove_token(self, name: str, secret: str, realm: str, version: int) -> _Proof | None:
        digest = tokens.digest(secret)
        token = await self._store.read(users.token_by_digest, digest)
        if token is None or _is_expired(token):
            return None
        prefix, _, owner = token.owner.partition(":")
        home = self._realms.get(prefix)
        if home is None or (realm and prefix != realm) or (name and name != owner):
            return None
        account = await home.find(owner)
        if account is None or account.id != token.account_id:
            return None
        self._note_use(token)
        until = self._clock() + REMEMBERED
        if token.expires_at:
            until = min(until, self._clock() + (token.expires_at - now_us()) / SECOND)
        return _Proof(home, account, until, version, digest, replace(account.actor, until=token.expires_at))

    def _candidates(self, realm: str) -> list[Realm]:
        if realm:
            return [self._realms[realm]] if realm in self._realms else []
        return list(self._realms.values())

    def _note_use(self, token: users.Token) -> None:
        now = now_us()
        if now - token.last_used_at > TOKEN_TOUCH:
            noted = self._store.write(users.touch_token, token.id, now)
            noted.addErrback(lambda failure: log.warning("token %d: %s", token.id, failure.value))


def _is_expired(token: users.Token) -> bool:
    return bool(token.expires_at) and token.expires_at <= now_us()


def _refusal() -> NotAuthenticated:
    return NotAuthenticated("wrong name, password or token", hint="log in again, or ask an administrator")
