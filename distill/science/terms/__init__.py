"""The job file's terms as something that computes: one file for answers, one for features."""
