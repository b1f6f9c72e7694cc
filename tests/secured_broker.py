"""An Apache Kafka with a listener for each way of getting in: TLS, mutual TLS, bad certificates, and SASL with and without TLS."""

import base64
import json
import time
from pathlib import Path

from tests.broker import Broker, free_ports
from tests.certificates import Authority

USER, PASSWORD = "ada", "s3cret-p=ss"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
PROTOCOLS = {  # of each listener beside the plain one
    "TLS": "SSL", "MUTUAL": "SSL", "EXPIRED": "SSL", "ELSEWHERE": "SSL", "BOTH": "SASL_SSL", "SASL": "SASL_PLAINTEXT", "SHORT": "SASL_PLAINTEXT",
}  # fmt: skip
MODULES = {
    "plain": f'plain.PlainLoginModule required user_{USER}="{PASSWORD}"',
    "scram-sha-256": "scram.ScramLoginModule required",
    "scram-sha-512": "scram.ScramLoginModule required",
    "oauthbearer": 'oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker"',
}


class SecuredBroker(Broker):
    """Certificates lie in ``folder``, signed by ``authority``; a session on the listener SHORT by a token ends with the token."""

    def __init__(self, certificates: Path) -> None:
        self.authority = Authority(certificates)
        ports = dict(zip(PROTOCOLS, free_ports(len(PROTOCOLS))))
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        for name, options in {"tls": {}, "expired": {"is_expired": True}, "elsewhere": {"host": "kafka.example"}}.items():
            self.authority.issue(name, **options)  # type: ignore[arg-type]
        scram = [
            part
            for kind in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for part in ("--add-scram", f'{kind}=[name="{USER}",password="{PASSWORD}"]')
        ]
        super().__init__(more_properties=_properties(certificates, self.authority.file, self.addresses), format_options=scram)


def _properties(folder: Path, authority: Path, addresses: dict[str, str]) -> str:
    """What the node has beside its plain listener; PORT and CONTROLLER are filled in by Broker."""
    lines = [
        "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}," + _joined(addresses, "://"),
        "advertised.listeners=PLAINTEXT://127.0.0.1:{port}," + _joined(addresses, "://"),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT," + _joined(PROTOCOLS, ":"),
        f"ssl.keystore.type=PEM\nssl.keystore.location={folder}/tls.both",
        f"ssl.truststore.type=PEM\nssl.truststore.location={authority}",
        f"sasl.enabled.mechanisms={','.join(MECHANISMS)}",
        "listener.name.mutual.ssl.client.auth=required",
        "listener.name.short.oauthbearer.connections.max.reauth.ms=600000",
    ]
    for name in ("expired", "elsewhere"):
        lines += [f"listener.name.{name}.ssl.keystore.type=PEM", f"listener.name.{name}.ssl.keystore.location={folder}/{name}.both"]
    for name in ("both", "sasl", "short"):
        start = "sasl.jaas.config=org.apache.kafka.common.security"
        lines += [f"listener.name.{name}.{kind}.{start}.{module};" for kind, module in MODULES.items()]
    return "\n".join(lines) + "\n"


def _joined(pairs: dict[str, str], sign: str) -> str:
    return ",".join(f"{name}{sign}{value}" for name, value in pairs.items())


def token(lifetime_s: float = 3600.0, subject: str = USER) -> str:
    """An unsecured token (RFC 7515, appendix A.5), which the broker takes until it has expired."""
    now = time.time()
    parts = ({"alg": "none"}, {"sub": subject, "iat": now - 1, "exp": now + lifetime_s})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."
