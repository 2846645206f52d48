"""How much to try: what CI can afford, or everything."""

import os

LONG = os.environ.get("XCOMCTL_TEST_LONG") == "1"
"""Whether to try every step, request and deed instead of a sample, which takes hours instead of minutes."""
