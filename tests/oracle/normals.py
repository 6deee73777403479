"""The normal numbers of csrc/image in Python, with double precision where the core has float."""

import numpy as np


def philox(words: list[int], key: tuple[int, int]) -> list[int]:
    """Philox4x32-10 of Salmon et al. (SC 2011), word by word."""
    (a, b, c, d), (k, m) = words, key
    for _ in range(10):
        one, other = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = other >> 32 ^ b ^ k, other % 2**32, one >> 32 ^ d ^ m, one % 2**32
        k, m = (k + 0x9E3779B9) % 2**32, (m + 0xBB67AE85) % 2**32
    return [a, b, c, d]


def box_muller(distance: int, direction: int) -> tuple[float, float]:
    """Two normal numbers in double precision: 31 bits of the distance, 28 of the direction."""
    radius = np.sqrt(-2 * np.log((distance // 2 + 0.5) / 2**31))
    angle = (direction // 128 + 0.5) / 2**25 * np.pi / 4
    pair = radius * np.cos(angle), radius * np.sin(angle)
    first, second = pair if direction & 1 else pair[::-1]
    return first if direction & 2 else -first, second if direction & 4 else -second


def normal_numbers(count: int, key: tuple[int, int], stream: int = 0) -> np.ndarray:
    """The first numbers of a stream: 16 w + l of a group of 64 is of word w of its counter l."""
    groups = -(-count // 64)
    out = np.empty((groups, 4, 16))
    for counter in range(16 * groups):
        words = philox([counter, 0, stream, 0], key)
        group, lane = divmod(counter, 16)
        for w in (0, 2):
            out[group, w : w + 2, lane] = box_muller(words[w], words[w + 1])
    return out.ravel()[:count]
