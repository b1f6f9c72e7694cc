"""What the admin API answers: the models behind its OpenAPI description."""

from typing import Literal

import pydantic

Action = Literal["pause", "resume", "drain"]
State = Literal["not running", "running", "paused", "restoring", "disconnected", "not saving"]


class Refusal(pydantic.BaseModel):
    """Why a request was not done."""

    error: str


class Health(pydantic.BaseModel):
    """The process lives."""

    status: Literal["alive"] = "alive"


class Readiness(pydantic.BaseModel):
    """Whether every query runs and reaches its peers; ``reasons`` say of those that do not why, and of those that do what is amiss."""

    ready: bool
    queries: dict[str, State]
    reasons: dict[str, list[str]]


class QueryState(pydantic.BaseModel):
    """A query after what was done to it."""

    query: str
    state: State


class Deployment(pydantic.BaseModel):
    """The digests of the model that was and of the one that scores now."""

    window: str
    old: str
    new: str
    backend: str


class Model(pydantic.BaseModel):
    """The model that scores in a window; ``way``: how it goes along the stream, empty where it scores events one by one."""

    name: str
    digest: str
    backend: str
    way: str = ""


class WindowStatus(pydantic.BaseModel):
    """A window and the events that it has seen since the engine started."""

    name: str
    kind: str
    source: str | None = pydantic.Field(serialization_alias="from")
    events_in: int = pydantic.Field(serialization_alias="in")
    events_out: int = pydantic.Field(serialization_alias="out")
    events_late: int = pydantic.Field(serialization_alias="late")
    events_dead: int = pydantic.Field(serialization_alias="dead")
    model: Model | None = None


class QueryStatus(pydantic.BaseModel):
    """A query: its windows, its latency by quantile (null: longer than is measured, 10 s), and the records that wait by source."""

    name: str
    state: State
    windows: list[WindowStatus]
    latency_seconds: dict[Literal["p50", "p90", "p99"], float | None]
    lag_events: dict[str, int]
    state_bytes: int
    checkpoints: int


class WorkerStatus(pydantic.BaseModel):
    """One process of several; ``last_end`` says why it had to be started again, the last time."""

    number: int
    ready: bool
    pid: int | None
    restarts: int
    last_end: str


class Status(pydantic.BaseModel):
    """The engine and its queries; the workers, where it runs in several processes."""

    version: str
    queries: list[QueryStatus]
    workers: list[WorkerStatus] = []
