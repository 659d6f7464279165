"""Counters in Redis or Valkey, shared by all processes."""

from rls.backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
