"""Tuned comparisons: one network, each of TVM's tuners, with and without the pass.

`job` says what is to be tuned, `variants` in which ways, and one file a tuner how: `autotvm`,
`auto_scheduler`, `meta_schedule`.  `session` tunes, `compare` compares; ``scripts/tune.py`` is the
command line.
"""
