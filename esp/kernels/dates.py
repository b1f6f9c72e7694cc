"""ISO 8601 text to stamps and dates and back, over bytes at addresses (H. Hinnant's civil-day algorithms).

Taken are ``YYYY-MM-DD`` and ``YYYY-MM-DDTHH:MM:SS[.f]``, with one to nine digits of a second and Z, +HH:MM, -HH:MM or nothing (UTC).
"""

from esp.kernels.compile import part
from esp.kernels.words import load_u8, stand_alone, store_u8

STAMP_SIZE, DATE_SIZE = 30, 12  # bytes that a stamp or a date takes at most
_DAY_S, _SECOND_NS = 86_400, 1_000_000_000
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # years 1 to 9999
_MOST_DAYS = 106_750  # from 1970, within which nanoseconds fit 64 bits


@part
def _digits(p: int, size: int) -> int:
    """A number of exactly ``size`` digits; -1 where it is none."""
    value = 0
    for at in range(size):
        digit = load_u8(p + at) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@part
def parse_date(p: int, size: int) -> tuple[bool, int]:
    """Days since 1970 of YYYY-MM-DD."""
    stand_alone()
    if size != 10 or load_u8(p + 4) != 45 or load_u8(p + 7) != 45:
        return False, 0
    year, month, day = _digits(p, 4), _digits(p + 5, 2), _digits(p + 8, 2)
    if year < 1 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
        return False, 0
    year -= month <= 2
    in_era = year % 400
    in_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return True, year // 400 * 146_097 + in_era * 365 + in_era // 4 - in_era // 100 + in_year - 719_468


@part
def _month_days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


@part
def parse_stamp(p: int, size: int) -> tuple[bool, int]:
    """Nanoseconds since 1970 of a date and time."""
    stand_alone()
    end = p + size
    if size < 19:
        return False, 0
    is_date, days = parse_date(p, 10)
    hour, minute, second = _digits(p + 11, 2), _digits(p + 14, 2), _digits(p + 17, 2)
    is_time = load_u8(p + 13) == 58 and load_u8(p + 16) == 58 and 0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59
    if not is_date or not is_time or (load_u8(p + 10) != 84 and load_u8(p + 10) != 32) or abs(days) > _MOST_DAYS:
        return False, 0
    p, fraction = _parse_fraction(p + 19, end)
    is_zone, zone_s = _parse_zone(p, end)
    seconds = days * _DAY_S + hour * 3600 + minute * 60 + second - zone_s
    return is_zone and fraction >= 0, seconds * _SECOND_NS + fraction


@part
def _parse_fraction(p: int, end: int) -> tuple[int, int]:
    """The nanoseconds of a point and one to nine digits (0 where there is no point, -1 where they are none); position after it."""
    if p == end or load_u8(p) != 46:
        return p, 0
    fraction, unit = 0, _SECOND_NS
    p += 1
    while p < end and unit > 1 and 48 <= load_u8(p) <= 57:
        unit //= 10
        fraction += (load_u8(p) - 48) * unit
        p += 1
    return p, fraction if unit < _SECOND_NS else -1


@part
def _parse_zone(p: int, end: int) -> tuple[bool, int]:
    """Seconds east of UTC of what ends a stamp: nothing, Z, or a sign, hours and minutes."""
    if p == end or (end - p == 1 and load_u8(p) == 90):
        return True, 0
    if end - p != 6 or load_u8(p + 3) != 58 or (load_u8(p) != 43 and load_u8(p) != 45):
        return False, 0
    hour, minute = _digits(p + 1, 2), _digits(p + 4, 2)
    east = hour * 3600 + minute * 60
    return 0 <= hour <= 23 and 0 <= minute <= 59, -east if load_u8(p) == 45 else east


@part
def is_iso_day(day: int) -> bool:
    """Whether a date lies in the years that ISO text has (1 to 9999)."""
    return _FIRST_DAY <= day <= _LAST_DAY


@part
def write_date(p: int, day: int) -> int:
    """Writes YYYY-MM-DD; the position after it."""
    stand_alone()
    shifted = day + 719_468
    era = shifted // 146_097
    in_era = shifted - era * 146_097
    year_of_era = (in_era - in_era // 1460 + in_era // 36_524 - in_era // 146_096) // 365
    in_year = in_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * in_year + 2) // 153
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    _write_digits(p, year_of_era + era * 400 + (month <= 2), 4)
    store_u8(p + 4, 45)
    _write_digits(p + 5, month, 2)
    store_u8(p + 7, 45)
    _write_digits(p + 8, in_year - (153 * shifted_month + 2) // 5 + 1, 2)
    return p + 10


@part
def write_stamp(p: int, ns: int) -> int:
    """Writes YYYY-MM-DDTHH:MM:SS[.fff[fff[fff]]]Z; the position after it."""
    stand_alone()
    seconds = ns // _SECOND_NS
    fraction, in_day = ns - seconds * _SECOND_NS, seconds % _DAY_S
    write_date(p, seconds // _DAY_S)
    store_u8(p + 10, 84)
    _write_digits(p + 11, in_day // 3600, 2)
    store_u8(p + 13, 58)
    _write_digits(p + 14, in_day // 60 % 60, 2)
    store_u8(p + 16, 58)
    _write_digits(p + 17, in_day % 60, 2)
    p += 19
    if fraction:
        size = 3 if fraction % 1_000_000 == 0 else 6 if fraction % 1000 == 0 else 9
        store_u8(p, 46)
        _write_digits(p + 1, fraction // 10 ** (9 - size), size)
        p += 1 + size
    store_u8(p, 90)
    return p + 1


@part
def _write_digits(p: int, value: int, size: int) -> None:
    for at in range(size - 1, -1, -1):
        store_u8(p + at, 48 + value % 10)
        value //= 10
