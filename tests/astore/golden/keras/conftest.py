"""Scripts that need packages of their own are not collected."""

collect_ignore = ["make.py"]
