"""Text to numbers and back, against Python's own reading and numpy's shortest printing."""

import struct
from decimal import Decimal
from random import Random

import numpy as np

from esp.runtime.codecs import codec
from esp.runtime.events import EventBlock, raw_block
from esp.runtime.schema import Schema

HARD = (
    "0.0", "-0.0", "0", "-0", "1e22", "1e23", "8.5e22", "9007199254740993", "9007199254740993.0", "9007199254740992.5", "2.2250738585072014e-308",
    "1.7976931348623157e308", "1.7976931348623159e308", "4.9e-324", "2e-324", "1e-400", "0.000000000000000000000000000001", "3.5E+2", "7e-0",
    "123456789012345678901234567890", "0.1000000000000000055511151231257827", "1090544144181609348671888949248", "9223372036854775807",
    "6.631236846766476e-316", "9.5367431640625e-07", "1.00000000000000011102230246251565", "89255e-22", "104110013277974872254e-225",
)  # fmt: skip


def random_doubles(count: int) -> list[float]:
    random = Random(7)
    bits = [struct.unpack("d", struct.pack("Q", random.getrandbits(64)))[0] for _ in range(count)]
    usual = [random.choice([random.random(), random.randrange(10**9) / 1000, float(random.getrandbits(60))]) for _ in range(count)]
    tens = [10.0**power for power in range(-323, 309)] + [2.0**power for power in range(-1074, 1024)]
    return [number for number in (*bits, *usual, *tens) if np.isfinite(number)]


def read(texts: list[str]) -> np.ndarray:
    found = codec("json", Schema.parse("x:float64")).decode(raw_block([f'{{"x":{text}}}'.encode() for text in texts]))
    assert found.reasons == ()
    return np.asarray(found.columns[0])


def write(column: np.ndarray, kind: str) -> list[str]:
    zeros = np.zeros(len(column), np.int64)
    events = EventBlock(Schema.parse(f"x:{kind}"), (column,), (None,), zeros, zeros, 0)
    buffer, at, size = codec("json", events.schema).encode(events)
    return [buffer[start + 5 : start + length - 1].tobytes().decode() for start, length in zip(at, size)]


def same_bits(found: np.ndarray, wanted: list[float]) -> None:
    np.testing.assert_array_equal(found.view(np.int64), np.array(wanted).view(np.int64))


def test_hard_decimals_are_rounded_as_python_rounds_them() -> None:
    texts = [text for text in HARD if np.isfinite(float(text))]
    same_bits(read(texts), [float(int(text)) if text.lstrip("-").isdigit() else float(text) for text in texts])


def test_random_decimals_are_rounded_as_python_rounds_them() -> None:
    random = Random(11)
    texts = [
        f"{random.randrange(10)}.{random.randrange(10 ** random.randrange(1, 19))}e{random.randrange(-300, 300)}"
        for _ in range(20_000)
    ]
    texts += [repr(number) for number in random_doubles(10_000)]
    same_bits(read(texts), [float(text) for text in texts])


def test_halfway_decimals_are_rounded_to_even() -> None:
    texts = [f"{2**53 + 2 * step + 1}.0" for step in range(200)] + [f"{(2**54 + 4 * step + 2)}e0" for step in range(200)]
    same_bits(read(texts), [float(text) for text in texts])


def test_doubles_are_written_in_their_shortest_form() -> None:
    numbers = random_doubles(10_000)
    for number, text in zip(numbers, write(np.array(numbers), "float64")):
        assert float(text) == number
        assert Decimal(text).normalize() == Decimal(repr(number)).normalize()


def test_singles_are_written_in_their_shortest_form() -> None:
    bits = np.random.default_rng(5).integers(0, 1 << 32, 20_000, dtype=np.uint32)
    numbers = bits.view(np.float32)
    numbers = np.concatenate([numbers[np.isfinite(numbers)], (2.0 ** np.arange(-149, 128)).astype(np.float32)])
    for number, text in zip(numbers, write(numbers, "float32")):
        assert Decimal(text).normalize() == Decimal(str(number)).normalize()


def test_form_of_written_floats() -> None:
    numbers = [0.0, -0.0, 1.0, 100.0, 0.5, 123.456, 1e15, 1e16, 0.0001, 0.00001, 1.5e-7, -2.5e300]
    wanted = ["0.0", "-0.0", "1.0", "100.0", "0.5", "123.456", "1000000000000000.0", "1e16", "0.0001", "1e-5", "1.5e-7", "-2.5e300"]
    assert write(np.array(numbers), "float64") == wanted


def test_integers_are_written_to_the_last_digit() -> None:
    numbers = [0, 9, 10, -1, 2**63 - 1, -(2**63), *(10**power for power in range(19)), *(10**power - 1 for power in range(1, 19))]
    assert write(np.array(numbers), "int64") == [str(number) for number in numbers]


def test_dates_and_times_agree_with_numpy() -> None:
    ns = np.random.default_rng(3).integers(-(2**63) + 1, 2**63 - 1, 3000)
    ns[::3] -= ns[::3] % 1_000_000_000
    texts = write(ns, "stamp(iso)")
    np.testing.assert_array_equal(np.array([text.strip('"Z') for text in texts], "datetime64[ns]").astype(np.int64), ns)
    found = codec("json", Schema.parse("x:stamp(iso)")).decode(raw_block([f'{{"x":{text}}}'.encode() for text in texts]))
    np.testing.assert_array_equal(found.columns[0], ns)
    days = np.arange(-719_162, 2_932_897, 97, dtype=np.int32)
    assert [text.strip('"') for text in write(days, "date")] == days.astype("datetime64[D]").astype(str).tolist()
