"""The pool's HTTP door: a Serve application of its own, for training loops that are no part of this cluster."""
