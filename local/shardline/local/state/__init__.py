"""The state: a pure, synchronous model of Kinesis; every call takes `now` in epoch seconds, none reads a clock.

Invariants: a record's number and its place in the shard are taken in one step, so a reader at the tail never passes an
unread record; sequence numbers of a child lie above every number of its parents; the open shards of a stream cover the
128-bit key space exactly once; iterators and tokens carry their whole meaning, so nothing is kept for them; a put costs
O(1) per record and a read O(records returned), however much is stored.
"""
