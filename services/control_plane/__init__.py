"""The control plane's process: REST in front, one writer of records behind, and the reconciler that acts on Ray."""
