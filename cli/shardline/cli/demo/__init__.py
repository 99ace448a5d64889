"""`shardline demo`: a stream, a producer, a fleet, a reshard and a kill, counted by unique id."""
