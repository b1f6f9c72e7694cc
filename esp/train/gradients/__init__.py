"""The gradient of every op, beside its forward computation in training; the table is in table.py."""
