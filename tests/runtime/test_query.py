"""The query file: what is right loads, and whatever can be wrong is one line with file, key path and mend."""

from pathlib import Path

import pytest

from esp.errors import EspError, QueryError
from esp.runtime.query import load_query

GOOD = """
[query]
name = "rooms"

[windows.readings]
kind = "source"
schema = "room*:string, ts:stamp(ms), heat:float64"
format = "json"
time = "ts"
partitioned_by = ["room"]
connect = { connector = "kafka", topic = "readings" }

[windows.hot]
kind = "filter"
from = "readings"
where = "heat > 30"

[windows.counts]
kind = "aggregate"
from = "hot"
by = ["room"]
size = "1s"
aggregates = { n = "count" }

[windows.alerts]
kind = "sink"
from = "counts"
connect = { connector = "kafka", topic = "alerts" }
"""

MODEL = """
[models.net]
path = "no-such.astore"
"""
CYCLE = """
[windows.a]
kind = "filter"
from = "b"
where = "True"

[windows.b]
kind = "filter"
from = "a"
where = "True"
"""

SECOND_SINK = """
[windows.more]
kind = "sink"
from = "hot"
connect = { connector = "file", path = "./out.jsonl" }
"""


def _load(tmp_path: Path, text: str) -> str:
    """The one line that a bad query gives."""
    path = tmp_path / "query.toml"
    path.write_text(text)
    with pytest.raises(EspError) as caught:
        load_query(path)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_good_query_loads_in_an_order_in_which_each_window_follows_its_input(tmp_path: Path) -> None:
    tables = GOOD.split("\n\n")
    (tmp_path / "query.toml").write_text("\n\n".join([*tables[:1], *reversed(tables[1:])]))
    query = load_query(tmp_path)
    assert list(query.windows) == ["readings", "hot", "counts", "alerts"]
    assert query.sources == ("readings",)
    assert query.sinks == ("alerts",)
    assert query.windows["hot"].subscribers == {"out": ("counts",)}
    assert query.windows["counts"].ports["out"].schema.names == ("room", "window_start", "window_end", "n")


def test_overrides_stand_over_the_settings_of_kafka_connectors(tmp_path: Path) -> None:
    (tmp_path / "query.toml").write_text(GOOD)
    query = load_query(tmp_path, {"brokers": "elsewhere:1"})
    assert {query.windows[name].connection.brokers for name in ("readings", "alerts")} == {"elsewhere:1"}


FAULTS = {
    "a file that is no TOML": (GOOD + "=", ["not TOML", "line"]),
    "a table that nobody knows": (GOOD + "[window.x]\nkind = 'filter'\n", ["unknown key 'window'", "did you mean 'windows'"]),
    "a typo in a key": (GOOD.replace("where =", "were ="), ["windows.hot", "unknown key 'were'", "did you mean 'where'"]),
    "a typo in the query's keys": (
        GOOD.replace('name = "rooms"', 'nam = "rooms"'),
        ["query", "unknown key 'nam'", "did you mean 'name'"],
    ),
    "an unknown kind": (GOOD.replace('"filter"', '"fliter"'), ["windows.hot.kind", "'fliter'", "did you mean 'filter'"]),
    "a window without a kind": (GOOD.replace('kind = "filter"\n', ""), ["windows.hot", "no kind"]),
    "a window that takes from nowhere": (GOOD.replace('from = "hot"\n', ""), ["windows.counts", "from"]),
    "an input that is not there": (
        GOOD.replace('from = "hot"', 'from = "hat"'),
        ["windows.counts.from", "'hat'", "did you mean 'hot'"],
    ),
    "a port that is not there": (
        GOOD.replace('from = "counts"', 'from = "counts.lat"'),
        ["windows.alerts.from", "no port 'lat'", "late"],
    ),
    "a cycle": (GOOD + CYCLE, ["cycle", "a -> b -> a"]),
    "a missing model": (GOOD + MODEL, ["models.net", "no-such.astore"]),
    "a source with an input": (
        GOOD.replace('kind = "source"', 'kind = "source"\nfrom = "hot"'),
        ["windows.readings.from", "a source takes no events"],
    ),
    "a sink without a connector": (
        GOOD.replace('connect = { connector = "kafka", topic = "alerts" }', ""),
        ["windows.alerts", "connector is missing"],
    ),
    "a connector where none belongs": (
        GOOD.replace('where = "heat > 30"', 'where = "heat > 30"\nconnect = { connector = "kafka", topic = "t" }'),
        ["windows.hot.connect", "only sources and sinks"],
    ),
    "an unknown connector": (
        GOOD.replace('"kafka", topic = "alerts"', '"kafak", topic = "alerts"'),
        ["windows.alerts.connect", "did you mean 'kafka'"],
    ),
    "a typo in a connector's key": (
        GOOD.replace('topic = "alerts"', 'tpoic = "alerts"'),
        ["windows.alerts.connect", "'tpoic'", "did you mean 'topic'"],
    ),
    "a field that is not there": (GOOD.replace("heat > 30", "heet > 30"), ["windows.hot.where", "heet", "did you mean 'heat'"]),
    "a field of the wrong type": (GOOD.replace("heat > 30", "room > 30"), ["windows.hot.where", "string"]),
    "an unknown type": (GOOD.replace("heat:float64", "heat:float46"), ["windows.readings.schema", "'float46'"]),
    "event time that is no stamp": (GOOD.replace('time = "ts"', 'time = "heat"'), ["windows.readings.time", "float64"]),
    "a keyed window across partitions": (
        GOOD.replace('\nby = ["room"]', '\nby = ["heat"]'),
        ["windows.counts", "room", 'scope = "partition"'],
    ),
    "a keyed window of a source that does not say how it is partitioned": (
        GOOD.replace('partitioned_by = ["room"]\n', ""),
        ["windows.counts", "partitioned_by"],
    ),
    "a bad duration": (GOOD.replace('size = "1s"', 'size = "1 fortnight"'), ["windows.counts", "fortnight"]),
    "an aggregate that is none": (GOOD.replace('"count"', '"cuont"'), ["windows.counts", "cuont"]),
    "a window that nobody takes from": (
        GOOD + '[windows.x]\nkind = "filter"\nfrom = "hot"\nwhere = "True"\n',
        ["windows.x", "nobody takes"],
    ),
    "no source": ('[query]\nname = "q"\n[windows]\n', ["no source window"]),
    "a delivery that there is not": (GOOD.replace('name = "rooms"', 'name = "rooms"\ndelivery = "maybe"'), ["query.delivery"]),
    "a source partitioned by nothing": (
        GOOD.replace('partitioned_by = ["room"]', "partitioned_by = []"),
        ["windows.readings.partitioned_by", "at least 1 item"],
    ),
    "a field that is there twice": (
        GOOD.replace("heat:float64", "room:float64"),
        ["windows.readings.schema", "'room' is there twice"],
    ),
    "checkpoints without pause": (
        GOOD.replace('name = "rooms"', 'name = "rooms"\ncheckpoint = "0s"'),
        ["query.checkpoint", "greater than 0"],
    ),
    "two sinks of one file": (
        GOOD.replace('connector = "kafka", topic = "alerts"', 'connector = "file", path = "out.jsonl"') + SECOND_SINK,
        ["windows.more.connect.path", "'out.jsonl' is written by windows.alerts already"],
    ),
    "dead letters into a sink's file": (
        GOOD.replace('connector = "kafka", topic = "alerts"', 'connector = "file", path = "./out.jsonl"').replace(
            'name = "rooms"', 'name = "rooms"\ndead = { connector = "file", path = "out.jsonl" }'
        ),
        ["query.dead.path", "is written by windows.alerts already"],
    ),
    "a name that is none": (GOOD.replace('name = "rooms"', 'name = "../rooms"'), ["query.name"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_one_line_with_file_key_path_and_mend(tmp_path: Path, fault: str) -> None:
    text, wanted = FAULTS[fault]
    line = _load(tmp_path, text)
    for part in wanted:
        assert part in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"nowhere.toml: there is no such file"):
        load_query(tmp_path / "nowhere.toml")


def test_the_fingerprint_follows_the_windows_and_not_the_connectors(tmp_path: Path) -> None:
    def fingerprint(text: str) -> str:
        (tmp_path / "query.toml").write_text(text)
        return load_query(tmp_path).fingerprint("readings")

    same = fingerprint(GOOD)
    assert fingerprint(GOOD.replace('topic = "alerts"', 'topic = "others"')) == same
    assert fingerprint(GOOD.replace('size = "1s"', 'size = "2s"')) != same
