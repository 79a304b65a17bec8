"""Length penalty (section 3.3): none up to l_max - l_cache, then growing to -0.1 at l_max."""

PENALTY = -0.1


def penalty(tokens: int, max_unpenalized: int, cache: int) -> float:
    """`tokens` of the completion; l_max = max_unpenalized + cache. Between -0.1 and 0."""
    over = tokens - max_unpenalized
    if over <= 0:
        return 0.0
    return PENALTY * min(over / cache, 1.0)
