"""The ports: narrow Protocols between drivers and the world, with the values that cross them.

Every call takes `timeout_s` and raises only the tree of `shardline.common.errors`: `NotApplied` and its kinds when the
request is known to have changed nothing, `Ambiguous` when that is unknown (a time-out included). Adapters never retry:
retries belong to the cores, where the simulator sees them. Cancellation passes through and leaves the outcome unknown.
"""
