"""How processes that are not the control plane write facts and read what it wants: append-only, over Redis."""
