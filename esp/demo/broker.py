"""An embedded broker that speaks the Kafka protocol: librdkafka's mock cluster, inside the confluent-kafka package.

It keeps records in memory, about 5 MB a partition, and drops the oldest beyond that; one member a group. Good for a
demonstration and for quick tests.
"""

import ctypes
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from esp.errors import StartError

PRODUCER = 0
TEXT_BYTES = 512


class EmbeddedBroker:
    """One broker on a free port of the loopback interface, alive until ``stop``.

    >>> with EmbeddedBroker() as broker:
    ...     broker.create_topic("digits", 4)
    ...     broker.bootstrap.split(":")[0]
    '127.0.0.1'
    """

    def __init__(self) -> None:
        self._library = _library()
        self._client: int | None = None
        self._cluster: int | None = None
        self.bootstrap = ""

    def start(self) -> "EmbeddedBroker":
        """Starts the broker; StartError if the library refuses."""
        text = ctypes.create_string_buffer(TEXT_BYTES)
        settings = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(settings, b"log_level", b"0", None, 0)
        self._client = self._library.rd_kafka_new(PRODUCER, settings, text, TEXT_BYTES)
        if not self._client:
            raise StartError(
                f"the embedded broker did not start ({text.value.decode()})", mend="name a broker with --brokers HOST:PORT"
            )
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return self

    def create_topic(self, name: str, partitions: int) -> None:
        """Makes a topic; one that nobody has made comes by itself, with 4 partitions, when a client asks for it."""
        code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
        if code:
            reason = self._library.rd_kafka_err2str(code).decode()
            raise StartError(f"the embedded broker did not make the topic '{name}' ({reason})", mend="take another name")

    def stop(self) -> None:
        """Ends the broker; what it held is gone."""
        if self._cluster is not None:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = self._client = None

    def __enter__(self) -> "EmbeddedBroker":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _library() -> Any:
    """The librdkafka that confluent-kafka carries, with the types of the functions used here."""
    if importlib.util.find_spec("confluent_kafka") is None:
        raise StartError(
            "the embedded broker needs confluent-kafka", mend="pip install 'esp-engine[demo]', or name a broker with --brokers"
        )
    import confluent_kafka.cimpl

    library = ctypes.CDLL(_library_path(confluent_kafka.cimpl.__file__))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    functions = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, pointer, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_err2str": (text, [number]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _library_path(extension: str) -> str:
    """A wheel brings its own librdkafka; an installation built from source has it linked into, or loaded by, the extension."""
    files = importlib.metadata.files("confluent-kafka") or []
    carried = [
        Path(str(file.locate()))
        for file in files
        if file.name.startswith("librdkafka") and (".so" in file.name or ".dylib" in file.name)
    ]
    return str(carried[0]) if carried else extension
