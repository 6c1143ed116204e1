"""Proofs of the four promises under fault and attack. Each module is one kind of trouble.

`prove(scale, seed)` runs the form that `make chaos` names (scale 1) or ten times it (`make chaos-long`), and returns
figures. The tests run a small form of the same functions. A broken promise is an AssertionError or a goal not met.
"""
