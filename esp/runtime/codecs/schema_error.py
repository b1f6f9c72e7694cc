"""What is wrong with a schema that a file or a registry gives."""


class SchemaError(Exception):
    """A text that is no schema of its format, or not one that is read here."""
