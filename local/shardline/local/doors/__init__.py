"""The in-process doors: the ports of `shardline.common.ports` straight on the in-memory state, without a network."""
