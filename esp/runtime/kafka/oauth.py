"""Tokens for SASL/OAUTHBEARER: from the environment, a file, or a token server by client credentials (RFC 6749, section 4.4)."""

import asyncio
import base64
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError

from esp.errors import EspError, QueryError
from esp.secrets import check_pair, secret
from esp.tls import client_context

TIMEOUT_S = 10.0
MOST_BYTES = 1 << 20  # of an answer
DEFAULT_LIFETIME_S = 300.0  # where the server does not say
SPENT_SHARE = 0.8  # of its life, after which a token is fetched anew
REASONS = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope")
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1


class OAuth(pydantic.BaseModel):
    """Where the token of OAUTHBEARER comes from: token_env or token_file, or url with client_id and its secret."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    token_env: str | None = pydantic.Field(None, description="environment variable that holds the token")
    token_file: Path | None = pydantic.Field(None, description="file that holds the token; read anew at each connection")
    url: str | None = pydantic.Field(None, description="https address of the token server (client credentials)")
    client_id: str | None = pydantic.Field(None, description="name of this client at the token server")
    client_secret_env: str | None = pydantic.Field(None, description="environment variable that holds the client's secret")
    client_secret_file: Path | None = pydantic.Field(None, description="file that holds the client's secret")
    scope: str | None = pydantic.Field(None, description="scope to ask for")
    cafile: Path | None = pydantic.Field(
        None, description="certificates of the authorities to trust for the token server; the system's, if left out"
    )

    @pydantic.model_validator(mode="after")
    def _check(self) -> "OAuth":
        check_pair("token", self.token_env, self.token_file)
        check_pair("client_secret", self.client_secret_env, self.client_secret_file)
        has_token, has_secret = self.token_env or self.token_file, self.client_secret_env or self.client_secret_file
        if (has_token is None) == (self.url is None):
            raise ValueError("say one of token_env, token_file and url")
        if self.url is None and (has_secret or self.client_id or self.scope or self.cafile):
            raise ValueError("client_id, client_secret, scope and cafile go with url")
        if self.url is not None and (
            urllib.parse.urlsplit(self.url).scheme != "https" or not urllib.parse.urlsplit(self.url).hostname
        ):
            raise ValueError("url takes an https address, for the client's secret goes there")
        if self.url is not None and not (has_secret and self.client_id):
            raise ValueError("url needs client_id and client_secret_env or client_secret_file beside it")
        return self


def token_provider(settings: OAuth, where: str) -> AbstractTokenProvider:
    """What aiokafka asks for a token at each connection. QueryError when the settings cannot give one."""
    source = FetchedToken(settings, where) if settings.url else GivenToken(settings, where)
    source.check()
    return source


class GivenToken(AbstractTokenProvider):
    """A token that someone else renews."""

    def __init__(self, settings: OAuth, where: str) -> None:
        self._settings, self._where = settings, f"{where}: oauth"

    def check(self) -> str:
        """The token as it stands now; QueryError where there is none."""
        found = secret("token", self._settings.token_env, self._settings.token_file, self._where) or ""
        if not _TOKEN.fullmatch(found):
            raise QueryError("this is no token", where=self._where, mend="it has letters, digits and -._~+/= of ASCII alone")
        return found

    async def token(self) -> str:
        try:
            return await asyncio.to_thread(self.check)
        except EspError as err:  # in mid-stream: the client tries on, and the token may come
            raise AuthenticationFailedError(str(err)) from None


class FetchedToken(AbstractTokenProvider):
    """A token of a token server, kept until most of its life is over."""

    def __init__(self, settings: OAuth, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._where, self._clock = settings, f"{where}: oauth", clock
        self._token, self._spent_at, self._lock = "", 0.0, asyncio.Lock()

    def check(self) -> tuple[str, Any]:
        """The client's secret and whom to trust; QueryError where they are not to be had."""
        found = secret("client_secret", self._settings.client_secret_env, self._settings.client_secret_file, self._where)
        return found or "", client_context(self._settings.cafile, f"{self._where}: cafile", QueryError)

    async def token(self) -> str:
        async with self._lock:
            if not self._token or self._clock() >= self._spent_at:
                asked_at = self._clock()
                self._token, lifetime_s = await asyncio.to_thread(self._ask)
                self._spent_at = asked_at + SPENT_SHARE * lifetime_s
            return self._token

    def _ask(self) -> tuple[str, float]:
        """A token and how long it lives. Raises aiokafka's errors, which make it try on; they hold nothing that the server sent."""
        url = self._settings.url or ""
        try:
            own_secret, context = self.check()
            opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Stay())
            with opener.open(self._request(url, own_secret), timeout=TIMEOUT_S) as answer:
                return _token_in(answer.read(MOST_BYTES))
        except EspError as err:
            raise AuthenticationFailedError(str(err)) from None
        except urllib.error.HTTPError as err:
            kind = AuthenticationFailedError if 300 <= err.code < 500 and err.code != 429 else KafkaConnectionError
            with err:  # it is the answer too
                raise kind(f"the token server {url} refused ({err.code}{_reason(err)})") from None
        except OSError as err:
            raise KafkaConnectionError(f"the token server {url} does not answer ({getattr(err, 'reason', err)})") from None
        except (ValueError, KeyError, TypeError):
            raise AuthenticationFailedError(f"the token server {url} gave no token") from None

    def _request(self, url: str, own_secret: str) -> urllib.request.Request:
        form = {"grant_type": "client_credentials"} | ({"scope": self._settings.scope} if self._settings.scope else {})
        pair = ":".join(urllib.parse.quote(part, safe="") for part in (self._settings.client_id or "", own_secret))
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}", "Accept": "application/json"}
        return urllib.request.Request(url, urllib.parse.urlencode(form).encode(), headers, method="POST")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, for the secret would go with it."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _token_in(data: bytes) -> tuple[str, float]:
    answer = json.loads(data)
    token, lifetime_s = answer["access_token"], float(answer.get("expires_in") or DEFAULT_LIFETIME_S)
    if not _TOKEN.fullmatch(token):
        raise ValueError("no token")
    return token, lifetime_s


def _reason(err: urllib.error.HTTPError) -> str:
    """The reason that the RFC has a word for; nothing else of the answer, which might repeat what was sent."""
    try:
        reason = json.loads(err.read(MOST_BYTES))["error"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f" {reason}" if reason in REASONS else ""
