"""Secrets that settings name but never hold: read from the environment or from a file, each time anew, and never shown."""

import os
import re
from pathlib import Path

from esp.errors import QueryError

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_pair(name: str, env: str | None, file: Path | None) -> None:
    """ValueError unless at most one of NAME_env and NAME_file is there, and the first looks like the name of a variable."""
    if env is not None and file is not None:
        raise ValueError(f"say {name}_env or {name}_file, not both")
    if env is not None and not ENV_NAME.fullmatch(env):  # it may be the secret itself: it is not repeated
        raise ValueError(f"{name}_env takes the name of an environment variable (letters, digits, _), not the secret itself")


def secret(name: str, env: str | None, file: Path | None, where: str) -> str | None:
    """What NAME_env or NAME_file leads to, None where neither is said. QueryError when it is not there, no text or empty."""
    if env is not None:
        place, found = f"{where}: {name}_env", os.environ.get(env)
        if found is None:
            raise QueryError(f"the environment variable {env} is not set", where=place, mend="set it")
    elif file is not None:
        place, found = f"{where}: {name}_file", _text(file, f"{where}: {name}_file")
    else:
        return None
    if not found:
        raise QueryError("there is nothing in it", where=place, mend="put the secret there")
    return found


def _text(file: Path, place: str) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "it is no text"
        # a decoding error holds the bytes that it met, so nothing is chained to it
        raise QueryError(f"{file} cannot be read ({reason})", where=place, mend="give a text file that holds the secret") from None
