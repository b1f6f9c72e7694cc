"""The registries of one query: one client for each setting, asked at the start for what must be there, and let go at the end."""

from collections.abc import Callable

from esp.runtime.codecs.registry.client import Client
from esp.runtime.codecs.registry.settings import RegistrySettings
from esp.runtime.peer import Peer


class Registries:
    """Shared by the windows of a query and by all their tasks."""

    def __init__(self) -> None:
        self._clients: dict[RegistrySettings, Client] = {}
        self._wanted: dict[str, Callable[[], None]] = {}
        self.is_vain: Callable[[], bool] = lambda: False  # whether the records that a schema is awaited for go elsewhere

    def client(self, settings: RegistrySettings, where: str) -> Client:
        """The client of a registry. QueryError when its certificates cannot be read."""
        if settings not in self._clients:
            self._clients[settings] = Client(settings, where, is_vain=lambda: self.is_vain())
        return self._clients[settings]

    def expect(self, where: str, prepare: Callable[[], None]) -> None:
        """What a codec needs of its registry before the first event."""
        self._wanted[where] = prepare

    def start(self) -> None:
        """Asks for all that is expected. StartError when a registry is away or refuses us, QueryError when it has not what is wanted."""
        for client in self._clients.values():
            client.asker.begin()
        for prepare in self._wanted.values():
            prepare()
        for client in self._clients.values():
            client.asker.began()

    def peers(self) -> dict[str, Peer]:
        """How each of them stands, by the first window that names it: ``WINDOW.registry``."""
        return {client.name: client.asker.peer for client in self._clients.values()}

    def wake(self) -> None:
        """Lets every wait look whether it is in vain; from any thread."""
        for client in self._clients.values():
            client.asker.wake()

    def hang_up(self) -> None:
        """Ends every wait; from any thread."""
        for client in self._clients.values():
            client.asker.hang_up()
