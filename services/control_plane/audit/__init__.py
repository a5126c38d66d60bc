"""The audit log: who changed what, in a chain of hashes, in Redis first and in files later."""
