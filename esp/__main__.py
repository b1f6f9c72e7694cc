"""``python -m esp`` is the command ``esp``."""

from esp.cli import main

main()
