"""TLS contexts from files: whom a client trusts, and by which certificate a client or a server is known."""

import ssl
from pathlib import Path

from esp.errors import EspError


def client_context(cafile: Path | None, where: str, error: type[EspError]) -> ssl.SSLContext:
    """Checks certificate and host against a file of authorities (None = the system's); ``error`` when it cannot be read."""
    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError) as err:
        reason = f"{cafile} cannot be read as certificates ({_reason(err)})"
        raise error(reason, where=where, mend="give a file of PEM certificates") from err


def server_context(certfile: Path, keyfile: Path | None, error: type[EspError]) -> ssl.SSLContext:
    """Shows a certificate to everyone and asks for none; ``error`` when it cannot be read."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    add_certificate(context, certfile, keyfile, None, "--cert-file", error, "give a key without one")
    return context


def add_certificate(
    context: ssl.SSLContext,
    certfile: Path,
    keyfile: Path | None,
    passphrase: str | None,
    where: str,
    error: type[EspError],
    unlock: str,
) -> None:
    """Loads a certificate and its key (None = in the same file), never asking on the terminal; ``error`` when they cannot be read."""
    files = f"{certfile} and {keyfile}" if keyfile else str(certfile)
    try:
        context.load_cert_chain(certfile, keyfile, password=passphrase if passphrase is not None else _no_passphrase)
    except _LockedError as err:
        raise error(f"the key in {keyfile or certfile} is locked by a passphrase", where=where, mend=unlock) from err
    except (OSError, ValueError) as err:
        reason = f"{files} cannot be read as a certificate and its key ({_reason(err)})"
        mend = "give PEM files that belong together" + (", and the right passphrase" if passphrase is not None else "")
        raise error(reason, where=where, mend=mend) from err


class _LockedError(Exception):
    """OpenSSL asked for a passphrase that nobody gave."""


def _no_passphrase() -> str:
    raise _LockedError


def _reason(err: Exception) -> str:
    """What OpenSSL or the system calls it. A passphrase stands in neither."""
    return getattr(err, "reason", None) or getattr(err, "strerror", None) or type(err).__name__
