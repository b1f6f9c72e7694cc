"""The client of a registry: each schema is fetched once, unknown numbers are remembered for a while, and a registry that is away is awaited.

Its methods block, and belong in a worker thread or a thread of the start; ``hang_up`` may come from any.
"""

import base64
import http.client
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from esp.errors import EventError, QueryError, StartError, TransportError
from esp.runtime.codecs.registry.call import MOST_BYTES, HungUpError, Line
from esp.runtime.codecs.registry.misses import Misses
from esp.runtime.codecs.registry.settings import RegistrySettings
from esp.runtime.peer import FINE
from esp.secrets import secret
from esp.tls import client_context

log = logging.getLogger("esp.registry")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
MOST_SCHEMAS = 4096  # kept
MOST_REFERENCES = 64  # of one schema, those of its references among them
UNKNOWN = (40401, 40402, 40403)  # subject, version, schema: the codes of Confluent's API
_ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"


@dataclass(frozen=True, slots=True)
class SchemaText:
    """A schema as a registry keeps it: its number, its kind (AVRO, PROTOBUF, JSON), its text, and what it refers to by name."""

    number: int
    kind: str
    text: str
    references: "tuple[tuple[str, SchemaText], ...]" = ()

    def all_references(self) -> "list[SchemaText]":
        """All that it refers to, each once, behind what that refers to itself."""
        return list(self.named_references().values())

    def named_references(self) -> "dict[str, SchemaText]":
        """The same by the names that they are referred to by."""
        found: dict[str, SchemaText] = {}
        for name, other in self.references:
            found |= other.named_references()
            found[name] = other
        return found


class Refusal(QueryError):
    """The registry does not do what was asked, and will not if asked again; ``is_unknown``: for it does not know what was named."""

    is_unknown = False


class _Away(Exception):
    """No answer that counts. ``is_final`` says that at the start it is not worth waiting for another; ``mend`` what to do then."""

    def __init__(self, reason: str, *, is_final: bool = False, mend: str = "") -> None:
        super().__init__(reason)
        self.is_final, self.mend = is_final, mend


class Client:
    """Asks one registry, for one query. ``where`` begins its errors; ``query`` of each request is what ``format`` asks for."""

    def __init__(self, settings: RegistrySettings, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings, self.where, self.clock = settings, where, clock
        self.peer, self._away_at, self._away_s = FINE, 0.0, 0.0
        self.name = where.rpartition(": windows.")[2].replace(".options.registry", ".registry")
        self.wait_until: float | None = None  # at the start: when to give up
        self._line = Line(settings.url, self._context())
        self._lock = threading.RLock()
        self._schemas: dict[tuple[str, str], SchemaText] = {}  # by path and query
        self._told: dict[tuple[str, ...], Any] = {}  # answers about a subject, which hold while the query runs
        self._misses = Misses(clock)

    # ---- what codecs ask ------------------------------------------------------------------------------------------

    def schema(self, number: int, query: str = "") -> SchemaText:
        """The schema of a number. EventError when there is none; waits while the registry is away."""
        path = f"/schemas/ids/{number}"
        if found := self._schemas.get((path, query)):
            return found
        with self._lock:
            self._misses.check(number)
            try:
                return self._schema(path, query, number, [])
            except Refusal as err:
                self._misses.add(number, f"schema {number}: {err.what}")
                raise EventError(f"schema {number}: {err.what}") from err

    def latest(self, subject: str, query: str = "") -> SchemaText | None:
        """The newest schema of a subject, as it was when first asked; None while there is none."""
        key = ("latest", subject, query)
        with self._lock:
            if self._told.get(key) is None:
                try:
                    self._told[key] = self._schema(f"/subjects/{quote(subject, safe='')}/versions/latest", query, None, [])
                except Refusal as err:
                    if not err.is_unknown:
                        raise
            found: SchemaText | None = self._told.get(key)
            return found

    def number_of(self, subject: str, schema: SchemaText, *, is_registering: bool) -> int:
        """The number of a schema under a subject, which registers it or has to be there already. Refusal when it is not."""
        key = ("number", subject, schema.kind, schema.text)
        with self._lock:
            if key not in self._told:
                path = f"/subjects/{quote(subject, safe='')}" + ("/versions" if is_registering else "")
                body = {"schema": schema.text} | ({} if schema.kind == "AVRO" else {"schemaType": schema.kind})
                number = self._ask("POST", path, body).get("id")
                if not isinstance(number, int) or not 0 <= number < 1 << 32:
                    raise Refusal(f"{self.settings.url} gave no number for a schema", where=self.where, mend="look at the registry")
                self._told[key] = number
            found: int = self._told[key]
            return found

    def begin(self) -> None:
        """The start of the query: secrets are there, and the registry is awaited for so long. QueryError when one is not to be had."""
        self.check()
        self._line.is_hung_up.clear()
        self.wait_until = self.clock() + self.settings.wait_s

    def hang_up(self) -> None:
        """Ends every wait with TransportError."""
        self._line.hang_up()

    # ---- answers --------------------------------------------------------------------------------------------------

    def _schema(self, path: str, query: str, number: int | None, above: list[str]) -> SchemaText:
        """The schema at a path with all that it refers to; ``above`` are the paths on the way to it, and all fetched so far."""
        if found := self._schemas.get((path, query)):
            return found
        if len(above) >= MOST_REFERENCES or path in above:
            raise Refusal("it refers to too many others, or to itself", where=self.where, mend="register it without")
        above.append(path)
        answer = self._ask("GET", path + (f"?{query}" if query else ""))
        text, kind, references = answer.get("schema"), answer.get("schemaType", "AVRO"), answer.get("references") or []
        number = answer.get("id") if number is None else number
        if (
            not isinstance(text, str)
            or not isinstance(kind, str)
            or not isinstance(references, list)
            or not isinstance(number, int)
        ):
            raise Refusal("the registry's answer holds no schema", where=self.where, mend="look at the registry")
        named = tuple(self._reference(entry, query, above) for entry in references)
        made = SchemaText(number, kind, text, named)
        self._schemas[path, query] = made
        if len(self._schemas) > MOST_SCHEMAS:
            del self._schemas[next(iter(self._schemas))]
        return made

    def _reference(self, entry: Any, query: str, above: list[str]) -> tuple[str, SchemaText]:
        if not isinstance(entry, dict) or not isinstance(entry.get("version"), int):
            raise Refusal("one of its references is none", where=self.where, mend="look at the registry")
        path = f"/subjects/{quote(str(entry.get('subject')), safe='')}/versions/{entry['version']}"
        return str(entry.get("name")), self._schema(path, query, None, above)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The registry's answer, once it gives one. Refusal when that is no; TransportError when nobody waits any more."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = self._once(method, path, body)
            except HungUpError as err:
                raise self._ended() from err
            except _Away as err:
                self._wait(err, pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if self.peer.trouble:
                self._is_back()
            if isinstance(answer, Refusal):
                raise answer
            return answer

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> "dict[str, Any] | Refusal":
        data = None if body is None else orjson.dumps(body)
        headers, secrets = self._headers(data is not None)
        try:
            reply = self._line.call(method, path, headers, data, self.settings.timeout_s)
        except ssl.SSLCertVerificationError as err:
            reason = f"its certificate is not accepted ({err.verify_message})"
            raise _Away(reason, is_final=True, mend="mend cafile, or the registry's certificate") from err
        except TimeoutError as err:
            raise _Away(f"no answer within {self.settings.timeout_s:g} s") from err
        except (OSError, http.client.HTTPException, ValueError) as err:
            raise _Away(f"it does not answer ({getattr(err, 'strerror', None) or type(err).__name__})") from err
        if reply.is_cut:
            return Refusal(f"the registry's answer is past {MOST_BYTES} bytes", where=self.where, mend="look at the registry")
        return self._judged(reply.status, _object(reply.body), secrets)

    def _judged(self, status: int, answer: dict[str, Any] | None, secrets: tuple[str, ...]) -> "dict[str, Any] | Refusal":
        """The answer, or the refusal that it is; _Away when it is no answer of a registry, or one that may change."""
        if status in (401, 403):
            raise _Away(f"it refuses us ({status})", is_final=True, mend="mend the user, the secret or the rights")
        if status in (408, 429) or status >= 500:
            raise _Away(f"it answers {status}")
        if answer is None or 300 <= status < 400 or (status >= 400 and not isinstance(answer.get("error_code"), int)):
            reason = f"what answers there is no schema registry (status {status})"
            raise _Away(reason, is_final=True, mend="give the address of the registry")
        if status < 300:
            return answer
        said = _masked(str(answer.get("message", "")), secrets) or "no reason given"
        refusal = Refusal(f"the registry refuses ({status}): {said}", where=self.where, mend=_mend(status))
        refusal.is_unknown = answer["error_code"] in UNKNOWN or status == 404
        return refusal

    # ---- waiting --------------------------------------------------------------------------------------------------

    def _wait(self, away: _Away, pause_s: float) -> None:
        """Waits before the next try; StartError when it is not worth it, or the time of the start is over."""
        is_starting = self.wait_until is not None
        if is_starting and (away.is_final or self.clock() >= (self.wait_until or 0)):
            mend = away.mend or "start the registry, or mend the url"
            raise StartError(f"schema registry {self.settings.url}: {away}", where=self.where, mend=mend) from away
        now = self.clock()
        if not self.peer.trouble:
            self.peer, self._away_at = replace(self.peer, faults=self.peer.faults + 1), now
            line = "%s: schema registry %s: %s; %s"
            log.warning(line, self.where, self.settings.url, away, "tried on" if is_starting else "events wait, tried on")
        trouble = f"schema registry {self.settings.url}: {away}"
        self.peer = replace(self.peer, trouble=trouble, retries=self.peer.retries + 1, away_s=self._away_s + now - self._away_at)
        if self._line.is_hung_up.wait(pause_s * random.uniform(0.5, 1.0)):
            raise self._ended()

    def _is_back(self) -> None:
        self._away_s += self.clock() - self._away_at
        self.peer = replace(self.peer, trouble="", away_s=self._away_s)
        log.info("%s: the schema registry %s is back", self.where, self.settings.url)

    def _ended(self) -> TransportError:
        return TransportError(
            f"the query ends while schema registry {self.settings.url} is away", where=self.where, mend="start it again: it goes on"
        )

    # ---- secrets --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """QueryError when a secret or a certificate is not to be had."""
        self._credentials()
        if self.settings.has_secret and self.settings.url.startswith("http:") and not _is_loopback(self.settings.url):
            log.warning("%s: the secret goes to %s in the clear", self.where, self.settings.url)

    def _context(self) -> ssl.SSLContext | None:
        if not self.settings.url.startswith("https:"):
            return None
        return client_context(self.settings.cafile, f"{self.where}.cafile", QueryError)

    def _credentials(self) -> str | None:
        """The header that says who we are; read anew, for secrets are rotated."""
        settings = self.settings
        if settings.username is not None:
            password = secret("password", settings.password_env, settings.password_file, self.where)
            return "Basic " + base64.b64encode(f"{settings.username}:{password}".encode()).decode()
        token = secret("token", settings.token_env, settings.token_file, self.where)
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise QueryError("this is no token", where=f"{self.where}: token", mend="it has letters, digits and signs of ASCII")
        return None if token is None else f"Bearer {token}"

    def _headers(self, has_body: bool) -> tuple[dict[str, str], tuple[str, ...]]:
        """The headers of a request, and the secrets in them."""
        try:
            own = self._credentials()
        except QueryError as err:
            if self.wait_until is not None:
                raise
            raise _Away(err.what) from err
        headers = {"Accept": _ACCEPT} | ({"Content-Type": "application/vnd.schemaregistry.v1+json"} if has_body else {})
        if own is None:
            return headers, ()
        code = own.partition(" ")[2]
        parts = (code, base64.b64decode(code).decode().partition(":")[2]) if own.startswith("Basic") else (code,)
        return headers | {"Authorization": own}, parts


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _masked(text: str, secrets: tuple[str, ...]) -> str:
    """What a registry says, without our secrets and without what is not to be printed."""
    for each in secrets:
        text = text.replace(each, "***") if each else text
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _mend(status: int) -> str:
    if status == 409:
        return "give the new fields defaults, or a subject of its own"
    return "say register = true, or register it before" if status == 404 else "look at the registry"


def _is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in ("localhost", "127.0.0.1", "::1")
