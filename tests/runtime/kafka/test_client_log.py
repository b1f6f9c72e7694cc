"""What the client library complains of is heard by whoever made the client, whatever the log had been told before."""

import logging

import pytest

from esp.runtime.kafka.client_log import listen


def test_complaints_are_heard_although_the_log_was_set_up_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    library = logging.getLogger("aiokafka")
    listen()
    monkeypatch.setattr(library, "level", logging.CRITICAL)  # as ``set_up_logs`` leaves it
    heard = listen()
    logging.getLogger("aiokafka.client").error("Unable connect to node with id 1: refused")
    assert (heard.fault, heard.count) == ("Unable connect to node with id 1: refused", 1)
