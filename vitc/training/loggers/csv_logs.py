"""Metrics as a CSV file, one row per logged step or epoch."""

import csv
import json
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any


class CSVLogger:
    """Writes `save_dir/name/version_N/metrics.csv`, and `hparams.yaml` beside it.

    version: by default the next free number. Each row is on disk when `log_metrics` returns; a new
    name adds a column, empty in the rows before.
    """

    def __init__(
        self,
        save_dir: str | PathLike[str],
        name: str = "lightning_logs",
        version: int | str | None = None,
    ) -> None:
        self.root_dir = Path(save_dir) / name
        self._version = version
        self._columns: list[str] = []

    @property
    def version(self) -> int | str:
        if self._version is None:
            found = [p.name[len("version_") :] for p in self.root_dir.glob("version_*")]
            self._version = max((int(n) for n in found if n.isdigit()), default=-1) + 1
        return self._version

    @property
    def log_dir(self) -> Path:
        version = self.version
        return self.root_dir / (version if isinstance(version, str) else f"version_{version}")

    @property
    def _path(self) -> Path:
        return self.log_dir / "metrics.csv"

    def log_hyperparams(self, hparams: Mapping[str, Any]) -> None:
        """JSON is YAML: no library is needed to write what one would read."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(hparams), indent=1, default=str)
        (self.log_dir / "hparams.yaml").write_text(text + "\n")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds a row. metrics should hold "epoch"; "step" is added."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        row = {**metrics, "step": step}
        new = [name for name in row if name not in self._columns]
        if new:
            self._widen(new)
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _widen(self, new: list[str]) -> None:
        """Writes the file again with more columns; the old one stays whole until it is."""
        rows: list[dict[str, str]] = []
        if self._path.exists():
            with self._path.open(newline="") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
                self._columns = list(reader.fieldnames or [])
        self._columns += [name for name in new if name not in self._columns]
        unfinished = self._path.with_name("metrics.csv.tmp")
        with unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(unfinished, self._path)
