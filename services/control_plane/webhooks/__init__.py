"""Telling others that a job or a study has ended: at least once, signed, and only whom the operator allows."""
