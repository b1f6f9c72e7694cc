"""Scripts that need packages of their own are not collected."""

collect_ignore = ["keras3.py"]
