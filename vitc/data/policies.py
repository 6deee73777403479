"""The policies that AutoAugment's searches found, as both dialects read them.

A line is a sub-policy: twice (operation, probability, magnitude from 0 to 10).
"""

SubPolicy = list[tuple[str, float, int]]


def _read(text: str) -> list[SubPolicy]:
    policy = []
    for line in text.strip().splitlines():
        words = line.split()
        triples = zip(words[::3], words[1::3], words[2::3], strict=True)
        policy.append([(name, float(p), int(level)) for name, p, level in triples])
    return policy


# ImageNet, https://arxiv.org/abs/1805.09501.
ORIGINAL = _read("""
    Posterize  0.4 8   Rotate       0.6 9
    Solarize   0.6 5   AutoContrast 0.6 5
    Equalize   0.8 8   Equalize     0.6 3
    Posterize  0.6 7   Posterize    0.6 6
    Equalize   0.4 7   Solarize     0.2 4
    Equalize   0.4 4   Rotate       0.8 8
    Solarize   0.6 3   Equalize     0.6 7
    Posterize  0.8 5   Equalize     1.0 2
    Rotate     0.2 3   Solarize     0.6 8
    Equalize   0.6 8   Posterize    0.4 6
    Rotate     0.8 8   Color        0.4 0
    Rotate     0.4 9   Equalize     0.6 2
    Equalize   0.0 7   Equalize     0.8 8
    Invert     0.6 4   Equalize     1.0 8
    Color      0.6 4   Contrast     1.0 8
    Rotate     0.8 8   Color        1.0 2
    Color      0.8 8   Solarize     0.8 7
    Sharpness  0.4 7   Invert       0.6 8
    ShearX     0.6 5   Equalize     1.0 9
    Color      0.4 0   Equalize     0.6 3
    Equalize   0.4 7   Solarize     0.2 4
    Solarize   0.6 5   AutoContrast 0.6 5
    Invert     0.6 4   Equalize     1.0 8
    Color      0.6 4   Contrast     1.0 8
    Equalize   0.8 8   Equalize     0.6 3
""")

# ImageNet, as the EfficientNets for TPUs were trained.
V0 = _read("""
    Equalize   0.8 1   ShearY        0.8 4
    Color      0.4 9   Equalize      0.6 3
    Color      0.4 1   Rotate        0.6 8
    Solarize   0.8 3   Equalize      0.4 7
    Solarize   0.4 2   Solarize      0.6 2
    Color      0.2 0   Equalize      0.8 8
    Equalize   0.4 8   SolarizeAdd   0.8 3
    ShearX     0.2 9   Rotate        0.6 8
    Color      0.6 1   Equalize      1.0 2
    Invert     0.4 9   Rotate        0.6 0
    Equalize   1.0 9   ShearY        0.6 3
    Color      0.4 7   Equalize      0.6 0
    Posterize  0.4 6   AutoContrast  0.4 7
    Solarize   0.6 8   Color         0.6 9
    Solarize   0.2 4   Rotate        0.8 9
    Rotate     1.0 7   TranslateYRel 0.8 9
    ShearX     0.0 0   Solarize      0.8 4
    ShearY     0.8 0   Color         0.6 4
    Color      1.0 0   Rotate        0.6 2
    Equalize   0.8 4   Equalize      0.0 8
    Equalize   1.0 4   AutoContrast  0.6 2
    ShearY     0.4 7   SolarizeAdd   0.6 7
    Posterize  0.8 2   Solarize      0.6 10
    Solarize   0.6 8   Equalize      0.6 1
    Color      0.8 6   Rotate        0.4 5
""")

CIFAR10 = _read("""
    Invert       0.1 7   Contrast     0.2 6
    Rotate       0.7 2   TranslateX   0.3 9
    Sharpness    0.8 1   Sharpness    0.9 3
    ShearY       0.5 8   TranslateY   0.7 9
    AutoContrast 0.5 8   Equalize     0.9 2
    ShearY       0.2 7   Posterize    0.3 7
    Color        0.4 3   Brightness   0.6 7
    Sharpness    0.3 9   Brightness   0.7 9
    Equalize     0.6 5   Equalize     0.5 1
    Contrast     0.6 7   Sharpness    0.6 5
    Color        0.7 7   TranslateX   0.5 8
    Equalize     0.3 7   AutoContrast 0.4 8
    TranslateY   0.4 3   Sharpness    0.2 6
    Brightness   0.9 6   Color        0.2 8
    Solarize     0.5 2   Invert       0.0 3
    Equalize     0.2 0   AutoContrast 0.6 0
    Equalize     0.2 8   Equalize     0.6 4
    Color        0.9 9   Equalize     0.6 6
    AutoContrast 0.8 4   Solarize     0.2 8
    Brightness   0.1 3   Color        0.7 0
    Solarize     0.4 5   AutoContrast 0.9 3
    TranslateY   0.9 9   TranslateY   0.7 9
    AutoContrast 0.9 2   Solarize     0.8 3
    Equalize     0.8 8   Invert       0.1 3
    TranslateY   0.7 9   AutoContrast 0.9 1
""")

SVHN = _read("""
    ShearX    0.9 4   Invert       0.2 3
    ShearY    0.9 8   Invert       0.7 5
    Equalize  0.6 5   Solarize     0.6 6
    Invert    0.9 3   Equalize     0.6 3
    Equalize  0.6 1   Rotate       0.9 3
    ShearX    0.9 4   AutoContrast 0.8 3
    ShearY    0.9 8   Invert       0.4 5
    ShearY    0.9 5   Solarize     0.2 6
    Invert    0.9 6   AutoContrast 0.8 1
    Equalize  0.6 3   Rotate       0.9 3
    ShearX    0.9 4   Solarize     0.3 3
    ShearY    0.8 8   Invert       0.7 4
    Equalize  0.9 5   TranslateY   0.6 6
    Invert    0.9 4   Equalize     0.6 7
    Contrast  0.3 3   Rotate       0.8 4
    Invert    0.8 5   TranslateY   0.0 2
    ShearY    0.7 6   Solarize     0.4 8
    Invert    0.6 4   Rotate       0.8 4
    ShearY    0.3 7   TranslateX   0.9 3
    ShearX    0.1 6   Invert       0.6 5
    Solarize  0.7 2   TranslateY   0.6 7
    ShearY    0.8 4   Invert       0.8 8
    ShearX    0.7 9   TranslateY   0.8 3
    ShearY    0.8 5   AutoContrast 0.7 3
    ShearX    0.7 2   Invert       0.1 5
""")
