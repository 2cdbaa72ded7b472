"""The daemon's certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from qrmd.web.tls import ensure_certificate, fingerprint_of, make_context


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path, ["qrm.example.org", "192.0.2.1"])
    again = ensure_certificate(tmp_path, ["qrm.example.org", "192.0.2.1"])
    assert (first.made, again.made) == (True, False)
    assert first.fingerprint == again.fingerprint
    assert first.key_file.stat().st_mode & 0o777 == 0o600
    loaded = x509.load_pem_x509_certificate(first.certificate_file.read_bytes())
    assert fingerprint_of(loaded) == first.fingerprint
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = {str(each.value) for each in names}
    assert {"localhost", "127.0.0.1", "::1", "qrm.example.org", "192.0.2.1"} <= found
    assert loaded.not_valid_after_utc - loaded.not_valid_before_utc == timedelta(days=397)
    assert make_context(first).getContext() is not None


def test_it_is_renewed_when_little_is_left(tmp_path: Path) -> None:
    made_at = datetime.now(UTC) - timedelta(days=360)
    first = ensure_certificate(tmp_path, now=made_at)
    assert not ensure_certificate(tmp_path, now=made_at + timedelta(days=366)).made
    renewed = ensure_certificate(tmp_path, now=made_at + timedelta(days=368))
    assert renewed.made
    assert renewed.fingerprint != first.fingerprint


def test_it_is_made_anew_for_a_name_it_lacks(tmp_path: Path) -> None:
    ensure_certificate(tmp_path)
    assert ensure_certificate(tmp_path, ["new.example.org"]).made


def test_an_open_key_is_closed(tmp_path: Path) -> None:
    key = ensure_certificate(tmp_path).key_file
    key.chmod(0o644)
    ensure_certificate(tmp_path)
    assert key.stat().st_mode & 0o777 == 0o600
