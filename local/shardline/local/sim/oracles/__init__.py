"""Predicates of the oracle that stand alone: each module has its invariants' sentences and what judges them.

They are told by `shardline.local.sim.oracle`, or by a world, what truly happened; none knows an object of the product.
"""
