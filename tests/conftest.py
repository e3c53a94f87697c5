"""What all tests share: how hard the property tests look.

`make test` runs the short form; `make test ARGS="--hypothesis-profile=long"` the long one. A failing property prints
the blob that reproduces it.
"""

import os

from hypothesis import HealthCheck, settings

# Said before gRPC is loaded: its remarks on connections that a test ends are no faults.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# No deadline: the first call of a kernel compiles it, and the machine may be busy.
settings.register_profile("short", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", parent=settings.get_profile("short"), max_examples=5_000)
settings.load_profile("short")
