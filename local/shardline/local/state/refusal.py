"""`Refusal`: an error of the service, by its own code; doors turn it into an HTTP answer or an error of our tree."""

from __future__ import annotations

__all__ = ["Refusal", "expired_iterator", "in_use", "invalid", "limit", "not_found", "throttled", "validation"]


class Refusal(Exception):
    """The service refuses a request; nothing was changed. `code` is the name in ``__type``."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def invalid(message: str) -> Refusal:
    """Return InvalidArgumentException."""
    return Refusal("InvalidArgumentException", message)


def validation(message: str) -> Refusal:
    """Return ValidationException (a parameter outside its constraints)."""
    return Refusal("ValidationException", message)


def not_found(message: str) -> Refusal:
    """Return ResourceNotFoundException."""
    return Refusal("ResourceNotFoundException", message)


def in_use(message: str) -> Refusal:
    """Return ResourceInUseException."""
    return Refusal("ResourceInUseException", message)


def limit(message: str) -> Refusal:
    """Return LimitExceededException."""
    return Refusal("LimitExceededException", message)


def throttled(message: str) -> Refusal:
    """Return ProvisionedThroughputExceededException."""
    return Refusal("ProvisionedThroughputExceededException", message)


def expired_iterator(message: str) -> Refusal:
    """Return ExpiredIteratorException."""
    return Refusal("ExpiredIteratorException", message)
