"""The keys of a query file as ``esp keys`` lists them."""

import pytest

from esp.errors import UsageError
from esp.runtime.kinds import KINDS
from esp.runtime.reference import key_rows, tables


def test_every_key_of_every_table_has_a_type_and_but_for_its_name_a_meaning() -> None:
    for name in tables():
        for row in key_rows(name):
            assert row["type"], (name, row)
            assert row["meaning"] or row["key"] in ("kind", "connector"), (name, row)


def test_a_table_is_found_by_kind_and_by_connector() -> None:
    size = next(row for row in key_rows("aggregate") if row["key"] == "size")
    assert (size["type"], size["default"]) == ("duration", "needed")
    delay = next(row for row in key_rows("source") if row["key"] == "max_delay")
    assert delay["default"] == "0s"
    assert key_rows("kafka") == key_rows("connect.kafka")
    assert set(KINDS) <= {row["table"] for row in key_rows()}


def test_an_unknown_table_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'aggregate'"):
        key_rows("agregate")
