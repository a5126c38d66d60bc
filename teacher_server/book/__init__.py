"""The answer book: what teachers said of rows, kept for whoever asks about the same rows again; numpy only, no torch."""
