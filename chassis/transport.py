"""Kafka's connections on uvloop: one that broke says so in words that aiokafka understands.

Writing to a closed transport is an OSError, or nothing, on asyncio's own loop, and a RuntimeError on
uvloop. Aiokafka (issue 1038) takes the latter for a bug: the task that fetches, or keeps the group,
ends of it, and the consumer stands still until its process is restarted.
"""

# pyright: reportUnknownMemberType=false
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError


class Connection(AIOKafkaConnection):
    """A connection to one of Kafka's nodes. What cannot be written raises KafkaConnectionError."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Write a request; a future of its answer, in time."""
        try:
            return super().send(request, expect_response)
        except KafkaError:  # a RuntimeError, too, and not of the connection
            raise
        except RuntimeError as error:
            raise self._broken(error) from error

    def _send_sasl_token(self, payload: Any, expect_response: bool = True) -> Any:
        try:
            return super()._send_sasl_token(payload, expect_response)
        except KafkaError:  # a RuntimeError, too, and not of the connection
            raise
        except RuntimeError as error:
            raise self._broken(error) from error

    def _broken(self, error: RuntimeError) -> KafkaConnectionError:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        return KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}")
