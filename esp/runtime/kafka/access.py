"""Whether a broker lets us in: one connection at the start, whose refusal is told at once instead of being tried again."""

import asyncio
import json
import ssl
from typing import Any

from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator, collect_hosts
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from esp.errors import StartError

REFUSALS = (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError, IllegalSaslStateError)
PASSING = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)  # a broker that goes down in the handshake
TLS_MEND = "mend ssl_cafile, ssl_certfile or the broker's certificate"
SASL_MEND = "mend the mechanism, the user or the secret"
ANSWER_MS = 10_000  # how long each broker may take
GOODBYE_S = 1.0  # how long a closed connection is awaited


class _Authenticator(OAuthAuthenticator):
    """aiokafka's own takes an answer of the broker for a welcome; by RFC 7628 only an empty one is."""

    async def step(self, payload: bytes | None) -> Any:
        if payload:
            raise AuthenticationFailedError(f"the token was not accepted ({_status(payload)})")
        return await super().step(payload)


class _Connection(AIOKafkaConnection):
    def authenticator_oauth(self) -> Any:
        return _Authenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


def _status(payload: bytes) -> str:
    try:
        status = json.loads(payload)["status"]
    except (ValueError, KeyError, TypeError):
        return "no reason given"
    return status if status in ("invalid_token", "insufficient_scope", "invalid_request") else "no reason given"


async def knock(options: dict[str, Any], place: str) -> None:
    """Connects to one of the brokers. StartError when one refuses us and none takes us; KafkaError or OSError when none is reached."""
    own = {key: value for key, value in options.items() if key != "bootstrap_servers"} | {"request_timeout_ms": ANSWER_MS}
    failures: list[BaseException] = []
    for host, port, _ in collect_hosts(options["bootstrap_servers"]):
        connection = _Connection(host, port, **own)
        try:
            await connection.connect()
            return
        except (KafkaError, OSError, TimeoutError) as err:
            failures.append(err)
        finally:
            await _hang_up(connection)
    for failure in failures:
        if refusal := _refusal(failure):
            raise StartError(refusal[0], where=place, mend=refusal[1]) from failure
    raise failures[0]


async def _hang_up(connection: AIOKafkaConnection) -> None:
    """Returns when the socket is closed; a broker that does not say goodbye is not awaited long."""
    closed = connection.close()
    if connection._protocol is not None:  # else there was no connection yet
        await asyncio.wait([closed], timeout=GOODBYE_S)


def _refusal(err: BaseException | None) -> tuple[str, str] | None:
    """What the broker (or we) did not accept, and the mend; None where trying again may help."""
    if isinstance(err, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted ({err.verify_message})", TLS_MEND
    if isinstance(err, ssl.SSLError) and not isinstance(err, PASSING):
        return f"there is no TLS with the broker ({err.reason or err})", TLS_MEND
    if isinstance(err, REFUSALS):
        reason = str(err.args[0]) if err.args and isinstance(err.args[0], str) else type(err).__name__
        return f"the broker refuses us ({reason})", SASL_MEND
    return _refusal(err.__cause__) if isinstance(err, KafkaConnectionError) else None
