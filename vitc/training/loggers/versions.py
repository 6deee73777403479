"""Folders of runs: `<root>/version_N`."""

from pathlib import Path


def next_version(root: Path) -> int:
    """One more than the highest that is there."""
    found = [p.name[len("version_") :] for p in root.glob("version_*")]
    return max((int(n) for n in found if n.isdigit()), default=-1) + 1


def version_folder(root: Path, version: int | str) -> Path:
    return root / (version if isinstance(version, str) else f"version_{version}")
