"""Asking a registry until it answers: what counts as an answer, what is waited out, and how long.

It blocks, and belongs in a worker thread or a thread of the start; ``hang_up`` may come from any.
"""

import http.client
import logging
import random
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from esp.errors import QueryError, StartError, TransportError
from esp.runtime.codecs.registry.call import MOST_BYTES, Line, Woken
from esp.runtime.codecs.registry.credentials import Credentials, context, credentials
from esp.runtime.codecs.registry.settings import RegistrySettings
from esp.runtime.peer import FINE
from esp.runtime.unread import Unwanted

log = logging.getLogger("esp.registry")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
UNKNOWN = (40401, 40402, 40403)  # subject, version, schema: the codes of Confluent's API
_TYPE = "application/vnd.schemaregistry.v1+json"


class Refusal(QueryError):
    """The registry does not do what was asked, and will not if asked again; ``is_unknown``: for it does not know what was named."""

    is_unknown = False


class _Away(Exception):
    """No answer that counts. ``is_final`` says that at the start it is not worth waiting for another; ``mend`` what to do then."""

    def __init__(self, reason: str, *, is_final: bool = False, mend: str = "") -> None:
        super().__init__(reason)
        self.is_final, self.mend = is_final, mend


class Asker:
    """One registry, at one or more addresses that are tried in turn. ``peer`` says how we stand with it."""

    def __init__(self, settings: RegistrySettings, where: str, clock: Callable[[], float], is_vain: Callable[[], bool]) -> None:
        self.settings, self.where, self.clock, self.is_vain = settings, where, clock, is_vain
        self._woken, self._is_hung_up = threading.Event(), False
        self.peer, self._away_at, self._away_s = FINE, 0.0, 0.0
        self._wait_until: float | None = None  # at the start: when to give up
        checks = context(settings, where)
        self._lines = [Line(url, checks, self._woken) for url in settings.urls]  # the one that is asked first

    def begin(self) -> None:
        """The start of the query: the registry is awaited for so long. QueryError when a secret is not to be had."""
        credentials(self.settings, self.where)
        for url in self.settings.open_urls:
            log.warning("%s: the secret goes to %s in the clear", self.where, url)
        self._is_hung_up = False
        self._wait_until = self.clock() + self.settings.wait_s

    def began(self) -> None:
        """The start is over: from now on the registry is awaited without end."""
        self._wait_until = None

    def hang_up(self) -> None:
        """Ends every wait with TransportError."""
        self._is_hung_up = True
        self.wake()

    def wake(self) -> None:
        """Lets a wait look whether it is in vain, which ends it with Unwanted."""
        self._woken.set()
        for line in self._lines:
            line.wake()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The registry's answer, once it gives one. Refusal when that is no; StartError; TransportError or Unwanted when nobody waits any more."""
        pause_s = FIRST_PAUSE_S
        while True:
            self._woken.clear()  # what wakes us from here on has changed before what is looked at next
            if self._is_hung_up:
                raise self._ended()
            if self.is_vain():
                self._wait_is_over()
                raise Unwanted
            try:
                answer = self._once(method, path, body)
            except Woken:
                continue
            except _Away as err:
                self._wait(err, pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                self._lines.append(self._lines.pop(0))
                continue
            if self.peer.trouble:
                self._wait_is_over()
                log.info("%s: the schema registry %s is back", self.where, self._lines[0].url)
            if isinstance(answer, Refusal):
                raise answer
            return answer

    # ---- one try --------------------------------------------------------------------------------------------------

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> "dict[str, Any] | Refusal":
        own = self._credentials()
        headers = {"Accept": f"{_TYPE}, application/json"} | ({"Authorization": own.header} if own.header else {})
        data = None if body is None else orjson.dumps(body)
        try:
            reply = self._lines[0].call(
                method, path, headers | ({"Content-Type": _TYPE} if data is not None else {}), data, self.settings.timeout_s
            )
        except ssl.SSLCertVerificationError as err:
            reason = f"its certificate is not accepted ({err.verify_message})"
            raise _Away(reason, is_final=True, mend="mend cafile, or the registry's certificate") from err
        except TimeoutError as err:
            raise _Away(f"no answer within {self.settings.timeout_s:g} s") from err
        except (OSError, http.client.HTTPException, ValueError) as err:
            raise _Away(f"it does not answer ({getattr(err, 'strerror', None) or type(err).__name__})") from err
        if reply.is_cut:
            return Refusal(f"the registry's answer is past {MOST_BYTES} bytes", where=self.where, mend="look at the registry")
        return self._judged(reply.status, _object(reply.body), own)

    def _credentials(self) -> Credentials:
        try:
            return credentials(self.settings, self.where)
        except QueryError as err:
            if self._wait_until is not None:
                raise
            raise _Away(err.what) from err

    def _judged(self, status: int, answer: dict[str, Any] | None, own: Credentials) -> "dict[str, Any] | Refusal":
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
        said = own.masked(str(answer.get("message", ""))) or "no reason given"
        refusal = Refusal(f"the registry refuses ({status}): {said}", where=self.where, mend=_mend(status))
        refusal.is_unknown = answer["error_code"] in UNKNOWN or status == 404
        return refusal

    # ---- waiting --------------------------------------------------------------------------------------------------

    def _wait(self, away: _Away, pause_s: float) -> None:
        """Waits before the next try; StartError when it is not worth it, or the time of the start is over."""
        now, line = self.clock(), self._lines[0]
        trouble = f"schema registry {line.url}: {away}"
        if self._wait_until is not None and (away.is_final or now >= self._wait_until):
            raise StartError(trouble, where=self.where, mend=away.mend or "start the registry, or mend the url") from away
        if not self.peer.trouble:
            self.peer, self._away_at = replace(self.peer, faults=self.peer.faults + 1), now
            what = "tried on" if self._wait_until is not None else "events wait, tried on"
            log.warning("%s: %s; %s", self.where, trouble, what)
        away_s = self._away_s + now - self._away_at
        self.peer = replace(self.peer, trouble=trouble, retries=self.peer.retries + 1, away_s=away_s)
        self._woken.wait(pause_s * random.uniform(0.5, 1.0))

    def _wait_is_over(self) -> None:
        if self.peer.trouble:
            self._away_s += self.clock() - self._away_at
            self.peer = replace(self.peer, trouble="", away_s=self._away_s)

    def _ended(self) -> TransportError:
        what = f"the query ends while schema registry {self._lines[0].url} is away"
        return TransportError(what, where=self.where, mend="start it again: it goes on")


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _mend(status: int) -> str:
    if status == 409:
        return "give the new fields defaults, or a subject of its own"
    return "say register = true, or register it before" if status == 404 else "look at the registry"
