"""Counters in Redis or Valkey, shared by all processes."""

from rls.stores.redis.batch_numbers import BatchNumbers
from rls.stores.redis.cluster import RedisClusterStore
from rls.stores.redis.inspection import Inspection
from rls.stores.redis.sentinel import RedisSentinelStore
from rls.stores.redis.single import RedisStore

__all__ = ["BatchNumbers", "Inspection", "RedisClusterStore", "RedisSentinelStore", "RedisStore"]
