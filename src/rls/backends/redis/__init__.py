"""Counters in Redis or Valkey, shared by all processes."""

from rls.backends.redis.backend import RedisBackend
from rls.backends.redis.cluster import ClusterBackend
from rls.backends.redis.inspection import Inspection
from rls.backends.redis.sentinel import SentinelBackend

__all__ = ["ClusterBackend", "Inspection", "RedisBackend", "SentinelBackend"]
