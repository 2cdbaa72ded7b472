"""Who is asking: passwords, tokens, realms of accounts, and limits on guessing."""

from __future__ import annotations

from qrmd.auth.authenticator import Authenticator
from qrmd.auth.first import make_first_administrator
from qrmd.auth.passwords import Passwords, check_password
from qrmd.auth.realms import Account, Realm, Users

__all__ = ["Account", "Authenticator", "Passwords", "Realm", "Users", "check_password", "make_first_administrator"]
