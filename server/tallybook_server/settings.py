"""What whoever runs a server may choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_ADDRESS = "127.0.0.1:7430"

_HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one server. The limits that nobody may choose are in `limits`."""

    address: str = DEFAULT_ADDRESS
    """Host and port to listen on; port 0 takes a free one. A server without keys takes loopback addresses only."""

    data_directory: Path | None = None
    """Where journals and keys are kept; None: in memory, and gone when the server stops."""

    certificate_path: Path | None = None
    """PEM file of the server's certificate chain; with `private_key_path`. None: connections are not encrypted."""

    private_key_path: Path | None = None
    """PEM file of the certificate's private key."""

    future_limit_us: int = 24 * _HOUR_US
    """How far in the future an event's time may lie, microseconds; later ones are INVALID."""

    decode_thread_count: int = 2
    """Threads that decode requests and encode answers, beside those of the writers."""

    stop_grace_seconds: float = 30.0
    """How long calls in flight may take to end once the server was told to stop."""

    @property
    def keys_path(self) -> Path | None:
        """The file of API keys; None where nothing is kept."""
        return None if self.data_directory is None else self.data_directory / "keys.sqlite"
