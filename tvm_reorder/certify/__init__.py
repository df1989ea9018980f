"""Certificates: every value of a dtype in order through a function as a target computes it.

``floats`` (the order) and ``runs`` (the accounting) are numpy alone; ``functions`` names scalar
functions, ``kernel`` compiles them, ``sweep`` walks, ``certifier`` puts it together, ``store``
keeps what was found.
"""
