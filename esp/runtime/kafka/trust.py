"""TLS of a client: whom it trusts, and by which certificate it is known."""

import ssl
from pathlib import Path

from esp.errors import QueryError


def client_context(cafile: Path | None, where: str, key: str = "cafile") -> ssl.SSLContext:
    """A context that checks certificate and host against a file of authorities (None = the system's). QueryError when it cannot be read."""
    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError) as err:
        raise QueryError(
            f"{cafile} cannot be read as certificates ({_reason(err)})",
            where=f"{where}: {key}",
            mend="give a file of PEM certificates",
        ) from err


def add_certificate(context: ssl.SSLContext, certfile: Path, keyfile: Path | None, passphrase: str | None, where: str) -> None:
    """Shows a certificate to whoever asks. QueryError when it or its key cannot be read, and never a question on the terminal."""
    try:
        context.load_cert_chain(certfile, keyfile, password=passphrase if passphrase is not None else _no_passphrase)
    except _Locked as err:
        raise QueryError(
            "the key is locked by a passphrase",
            where=f"{where}: ssl_keyfile",
            mend="say ssl_key_password_env or ssl_key_password_file",
        ) from err
    except (OSError, ssl.SSLError) as err:
        files = f"{certfile} and {keyfile}" if keyfile else str(certfile)
        raise QueryError(
            f"{files} cannot be read as a certificate and its key ({_reason(err)})",
            where=f"{where}: ssl_certfile",
            mend="give PEM files that belong together, and the key's passphrase if it has one",
        ) from err


class _Locked(Exception):
    """OpenSSL asked for a passphrase that nobody gave."""


def _no_passphrase() -> str:
    raise _Locked


def _reason(err: OSError) -> str:
    return (isinstance(err, ssl.SSLError) and err.reason) or err.strerror or str(err)
