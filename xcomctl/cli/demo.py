"""`xcomctl demo`."""


def demo() -> None:
    """Build a sandbox."""
