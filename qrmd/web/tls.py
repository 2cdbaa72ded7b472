"""The daemon's certificate: self-signed at the first start, renewed at a start when little of it is left."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto
from twisted.internet.ssl import CertificateOptions, TLSVersion

LIFETIME = timedelta(days=397)  # browsers refuse longer ones
RENEW_BEFORE = timedelta(days=30)
OWN_NAME = "qrmd"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate in use.

    Attributes:
        certificate_file: PEM; also what clients pin as their CA file.
        key_file: PEM, mode 0600.
        fingerprint: SHA-256 as ``AB:CD:…``, to compare with what a browser or ``qrm login`` shows.
        expires_at: UTC.
        made: whether it was made by this start.
    """

    certificate_file: Path
    key_file: Path
    fingerprint: str
    expires_at: datetime
    made: bool


def ensure_certificate(directory: Path, names: Sequence[str] = (), *, now: datetime | None = None) -> Certificate:
    """Load ``tls.crt`` and ``tls.key`` from a directory, or make them.

    Ours is replaced when fewer than 30 days are left or a name is missing; one that an admin put there
    (issued by somebody else) is used as it is.

    Args:
        names: host names and addresses beside localhost and this host's name.
    """
    now = now or datetime.now(UTC)
    certificate_file, key_file = directory / "tls.crt", directory / "tls.key"
    wanted = _wanted_names(names)
    made = not (certificate_file.exists() and key_file.exists() and _serves(certificate_file, wanted, now))
    if made:
        _make(certificate_file, key_file, wanted, now)
    key_file.chmod(0o600)
    return load_certificate(certificate_file, key_file, made=made)


def load_certificate(certificate_file: Path, key_file: Path, *, made: bool = False) -> Certificate:
    """The certificate that lies in these files."""
    loaded = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    return Certificate(certificate_file, key_file, fingerprint_of(loaded), loaded.not_valid_after_utc, made)


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 over the DER form, as ``AB:CD:…``."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def make_context(certificate: Certificate) -> CertificateOptions:
    """Context factory for Twisted: TLS 1.2 or newer, with the chain the file holds."""
    first, *chain = (
        crypto.X509.from_cryptography(each)
        for each in x509.load_pem_x509_certificates(certificate.certificate_file.read_bytes())
    )
    key = serialization.load_pem_private_key(certificate.key_file.read_bytes(), None)
    return CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(key),  # type: ignore[arg-type]
        certificate=first,
        extraCertChain=chain,
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )


def _wanted_names(names: Sequence[str]) -> list[str]:
    own = ("localhost", "127.0.0.1", "::1", socket.gethostname())
    return list(dict.fromkeys(each for each in (*own, *names) if each))


def _serves(file: Path, wanted: list[str], now: datetime) -> bool:
    loaded = x509.load_pem_x509_certificate(file.read_bytes())
    if loaded.issuer != loaded.subject:
        return True
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {str(each.value) for each in names}
    return loaded.not_valid_after_utc - now >= RENEW_BEFORE and known >= set(wanted)


def _make(certificate_file: Path, key_file: Path, names: list[str], now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, OWN_NAME)])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    built = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME - timedelta(minutes=5))
        .add_extension(x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(key_file, private, 0o600)
    _write(certificate_file, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, private from its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
