"""The process of ``apart.read_apart``: python -m esp.astore.hdf5 FILE FLAVOUR."""

import sys
from pathlib import Path

from esp.astore.hdf5.apart import serve

serve(Path(sys.argv[1]), "dlpy" if sys.argv[2] == "dlpy" else "keras", sys.stdout.buffer)
