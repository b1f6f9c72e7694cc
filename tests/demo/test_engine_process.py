"""Starting and stopping an engine, with small programs in its place."""

import sys
from pathlib import Path

import pytest

from esp.demo.engine_process import EngineProcess
from esp.errors import StartError

START_S = 240.0
STAND_IN = """
import http.server, signal, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
signal.signal(signal.SIGTERM, ON_TERM)
print("INFO esp.engine admin API and metrics at http://127.0.0.1:%d" % server.server_port, file=sys.stderr, flush=True)
server.serve_forever()
"""


def engine(program: str, tmp_path: Path) -> EngineProcess:
    return EngineProcess([Path("query")], "b:1", tmp_path, command=(sys.executable, "-c", program))


def test_address_is_read_from_the_log_and_sigterm_ends_with_its_status(tmp_path: Path) -> None:
    with engine(STAND_IN.replace("ON_TERM", "lambda *_: sys.exit(0)"), tmp_path) as running:
        assert running.wait_ready(START_S).startswith("http://127.0.0.1:")
        assert running.status is None
        assert running.stop() == 0
    assert running.status == 0


def test_engine_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    program = "import sys; print('esp: no broker there', file=sys.stderr); sys.exit(3)"
    with engine(program, tmp_path) as running, pytest.raises(StartError, match=r"status 3: esp: no broker there"):
        running.wait_ready(START_S)


def test_leaving_the_context_ends_the_process(tmp_path: Path) -> None:
    with engine("import signal; signal.pause()", tmp_path) as running:
        assert running.status is None
    assert running.status == -9


def test_process_that_ignores_sigterm_is_killed_after_the_time_given(tmp_path: Path) -> None:
    with engine(STAND_IN.replace("ON_TERM", "signal.SIG_IGN"), tmp_path) as running:
        running.wait_ready(START_S)
        assert running.stop(timeout_s=0.1) == -9


def test_command_line_is_that_of_esp_run(tmp_path: Path) -> None:
    command = EngineProcess([Path("a"), Path("b")], "h:1", Path("s"), options=["--fresh"]).command
    assert command == [
        sys.executable,
        *["-m", "esp", "run", "a", "b", "--brokers", "h:1", "--listen", "127.0.0.1:0", "--state", "s", "--fresh"],
    ]
