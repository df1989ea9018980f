"""The command line ``tvm-reorder``: one file a command, and what the commands share."""
