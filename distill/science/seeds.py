"""Seeds made of several numbers: what is random is a function of the job's seed and of where it happens."""


def mixed_seed(*parts: int) -> int:
    """One seed in [0, 2^63) from several numbers: neighbours give unrelated streams."""
    mixed = 0
    for part in parts:
        mixed = (mixed * 6364136223846793005 + part + 1442695040888963407) % 2**64
        mixed ^= mixed >> 29
        mixed = mixed * 0x9E3779B97F4A7C15 % 2**64
        mixed ^= mixed >> 32
    return mixed % 2**63
