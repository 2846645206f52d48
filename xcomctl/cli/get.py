"""`xcomctl get`."""


def get() -> None:
    """Get."""
