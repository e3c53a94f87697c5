"""The connection: target, limits, the service config that lies beside the protos, and the key."""

from __future__ import annotations

from importlib import resources

import grpc

from tallybook_client.errors import UnauthenticatedError

DEFAULT_TARGET = "127.0.0.1:7430"
"""Where `tallybook serve` listens unless told otherwise."""

RECEIVED_MESSAGE_BYTES_MAX = 256 * 1024 * 1024
"""10,000 events explained in full are larger than gRPC's own limit of 4 MiB."""


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A channel with the timeouts and retries that every client uses; encrypted where credentials are given."""
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", service_config()),
        ("grpc.enable_retries", 1),
        # The server names its own limit, with a reason; the client does not second-guess it.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", RECEIVED_MESSAGE_BYTES_MAX),
    ]
    if credentials is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, credentials, options=options)


def service_config() -> str:
    """The service config, JSON: timeouts and retries of each method."""
    return resources.files("tallybook.v1").joinpath("service_config.json").read_text(encoding="utf-8")


def credential_metadata(key: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata that carries a key. UnauthenticatedError for a text that is none: gRPC would not send it."""
    if key and not (key.isascii() and key.isprintable()):
        raise UnauthenticatedError(
            grpc.StatusCode.UNAUTHENTICATED, "the key has characters that no key has; is a line's end in it?"
        )
    return (("authorization", f"Bearer {key}"),) if key else ()
