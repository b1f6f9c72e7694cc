"""Who we are at a registry: the header that says so, read anew for each request, for secrets are rotated; and whom we trust."""

import base64
import ssl
from dataclasses import dataclass

from esp.errors import QueryError
from esp.runtime.codecs.registry.settings import RegistrySettings
from esp.secrets import secret
from esp.tls import client_context


@dataclass(frozen=True, slots=True)
class Credentials:
    """The header Authorization, and the secrets that may not be shown."""

    header: str
    secrets: tuple[str, ...]

    def masked(self, text: str) -> str:
        """A text of others without our secrets, and without what is not to be printed."""
        for each in self.secrets:
            text = text.replace(each, "***")
        return "".join(letter if letter.isprintable() else " " for letter in text)


def credentials(settings: RegistrySettings, where: str) -> Credentials:
    """As they stand now. QueryError when they are not to be had."""
    if settings.username is not None:
        password = secret("password", settings.password_env, settings.password_file, where) or ""
        code = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
        return Credentials(f"Basic {code}", (code, password))
    token = secret("token", settings.token_env, settings.token_file, where)
    if token is None:
        return Credentials("", ())
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise QueryError("this is no token", where=f"{where}: token", mend="it has letters, digits and signs of ASCII")
    return Credentials(f"Bearer {token}", (token,))


def context(settings: RegistrySettings, where: str) -> ssl.SSLContext | None:
    """How certificates are checked, where there are any. QueryError when the authorities cannot be read."""
    return client_context(settings.cafile, f"{where}.cafile", QueryError) if settings.is_tls else None
