"""Settings of a schema registry: where it is, who we are there, and what a sink does about its schema."""

import urllib.parse
from pathlib import Path

import pydantic

from esp.secrets import check_pair

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class RegistrySettings(pydantic.BaseModel):
    """A schema registry that speaks Confluent's REST API, for records in its wire format."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    url: str = pydantic.Field(description="http or https address of the registry; several, joined by commas, are tried in turn")
    subject: str = pydantic.Field("", description="the subject; TOPIC-value, if left out")
    is_registering: bool = pydantic.Field(
        False, alias="register", description="sink: register the schema; left out, it has to be there already"
    )
    username: str | None = pydantic.Field(None, description="user (or API key)")
    password_env: str | None = pydantic.Field(None, description="environment variable that holds the password")
    password_file: Path | None = pydantic.Field(None, description="file that holds the password; read anew at each request")
    token_env: str | None = pydantic.Field(None, description="environment variable that holds a bearer token")
    token_file: Path | None = pydantic.Field(None, description="file that holds a bearer token; read anew at each request")
    cafile: Path | None = pydantic.Field(None, description="certificates of the authorities to trust; the system's, if left out")
    timeout_s: float = pydantic.Field(10.0, gt=0, le=300, description="how long one request may take")
    wait_s: float = pydantic.Field(30.0, ge=0, description="how long a registry that is down is awaited at the start")

    @pydantic.model_validator(mode="after")
    def _check(self) -> "RegistrySettings":
        check_pair("password", self.password_env, self.password_file)
        check_pair("token", self.token_env, self.token_file)
        for url in self.urls:
            _check_url(url)
        if len({url.partition(":")[0] for url in self.urls}) > 1:
            raise ValueError("url takes http addresses or https addresses, not both")
        if (self.username is None) != (self.password_env is None and self.password_file is None):
            raise ValueError("username and password_env or password_file go together")
        if self.username is not None and (self.token_env or self.token_file):
            raise ValueError("say username and password, or a token, not both")
        if self.cafile is not None and not self.is_tls:
            raise ValueError("cafile goes with an https address")
        return self

    @property
    def urls(self) -> list[str]:
        return [url.strip() for url in self.url.split(",")]

    @property
    def is_tls(self) -> bool:
        return self.url.strip().startswith("https:")

    @property
    def open_urls(self) -> list[str]:
        """The addresses that a secret goes to in the clear, over a net."""
        has_secret = self.username is not None or self.token_env is not None or self.token_file is not None
        return [url for url in self.urls if has_secret and not self.is_tls and urllib.parse.urlsplit(url).hostname not in LOOPBACK]


def _check_url(url: str) -> None:
    """ValueError unless it is the address of a server, without a secret in it."""
    parts = urllib.parse.urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("url holds a user or a password; say username, and password_env or password_file")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or not _has_port(parts):
        raise ValueError("url takes an http or https address, such as https://registry:8081")


def _has_port(parts: urllib.parse.SplitResult) -> bool:
    """Whether the port is one, or left out."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False
