"""The table that a person reads: a column for the engine, and one for each party beside it."""

from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.analysis import QUANTILES

COUNTS = ("events", "outputs", "lost", "doubled", "unknown", "wrong", "dead")
STEADY_S = 3.0  # a drain is timed over so long, at least


def show(result: dict[str, Any], console: Console) -> None:
    """Prints the result of a run."""
    load, host = result["load"], result["machine"]
    how = f"open loop, {load['rate']:,.0f} events/s for {load['seconds']:g} s" if load["rate"] else "draining a filled topic"
    console.print(
        f"{result['workload']}, {how}: {load['events']:,} events ({load['rows']}) of {load['event_bytes']:,} bytes in "
        f"{load['partitions']} partitions; {_cores(load['cores'])}"
        + ("; the memory was written to before" if load["ballast"] else "")
    )
    console.print(
        f"{host['cpu']}, {host['cores']} cores, {host['simd']}, {host['memory_gb']} GB, load {host['load_1m']} at the start; "
        f"{result['kafka']}; commit {result['commit']}"
    )
    console.print(", ".join(f"{name} {version}" for name, version in result["versions"].items()))
    if load["rate"]:
        console.print(f"linger of the generator {load['linger_ms']:g} ms")
    columns = result["parties"]
    for figures in columns.values():
        console.print(f"{figures['title']}: linger {figures['linger_ms']:g} ms")
    table = Table("", *columns)
    for column in table.columns[1:]:
        column.justify = "right"
    for title, *path in _rows():
        cells = [_at(figures, path) for figures in columns.values()]
        if any(cell is not None for cell in cells):
            table.add_row(title, *map(_cell, cells))
    console.print(table)
    for why, named in (("left out", result["left_out"]), ("failed", result["failed"])):
        for name, reason in named.items():
            console.print(f"{name} {why}: {reason}", markup=False)
    if load["rate"] is None and (short := short_of_time(columns)):
        console.print(f"the steady part of {' and '.join(short)} is below {STEADY_S:g} s, its rate says little: drain more events")


def short_of_time(parties: dict[str, Any]) -> list[str]:
    """Who was done so soon that the rate is that of what was in flight."""
    return [name for name, figures in parties.items() if figures.get("steady_s", 0.0) < STEADY_S]


def _cores(cores: list[list[int]]) -> str:
    """Who has which cores, in words."""
    rest, own = (", ".join(map(str, part)) for part in cores)
    return f"core {own} is the party's alone, broker and load are on {rest}" if own else "all on all cores"


def _rows() -> list[tuple[str, ...]]:
    """Title and key path of every line."""
    return [
        ("highest rate held, events/s", "held_rate"),
        ("events/s, sustained", "events_per_s"),
        ("engine's rate by its", "engine_by_it"),
        ("steady part, s", "steady_s"),
        *((name, name) for name in COUNTS),
        ("accuracy", "accuracy"),
        *((f"latency to receipt {name}, ms", "latency_ms", name) for name in QUANTILES),
        *((f"latency to log append {name}, ms", "append_latency_ms", name) for name in ("p50", "p99", "max")),
        *((f"of it, generator late {name}, ms", "generator_late_ms", name) for name in ("p50", "p99", "max")),
        *((f"engine's own, time stamp to sink {name}, ms", "to_sink_latency_ms", name) for name in ("p50", "p99")),
        ("CPU us an event", "cpu_us_per_event"),
        ("CPU cores", "cpu_cores"),
        ("memory after 12 s, MB", "memory_mb", "after_12_s"),
        ("memory at the end, MB", "memory_mb", "end"),
        ("memory at its peak, MB", "memory_mb", "peak"),
        ("memory growth since 12 s, %", "memory_mb", "growth_percent"),
        *((f"batch {name}, events", "batch_events", name) for name in ("p50", "p99")),
        ("kernels compiled at the start", "compilations", "at_start"),
        ("kernels compiled while running", "compilations", "while_running"),
        *((f"{stage}, us an event", "stage_us_per_event", stage) for stage in ("decode", "score", "encode")),
        ("wait for the worker, us an event", "stage_us_per_event", "queue"),
    ]


def _at(figures: dict[str, Any], path: list[str]) -> Any:
    value: Any = figures
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) or (abs(value) >= 1000 or value == int(value)):
        return f"{value:,.0f}"
    return f"{value:,.4g}"
