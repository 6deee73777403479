"""Metrics as a CSV file, one row per logged step or epoch."""

import csv
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from vitc.files import replacing
from vitc.training.loggers.parameters import Parameters, as_dict
from vitc.training.loggers.versions import Versioned
from vitc.training.settings import notice


class CSVLogger(Versioned):
    """Writes `save_dir/name/version_N/metrics.csv`, and `hparams.yaml` beside it.

    version: by default the next free number. Each row is on disk when `log_metrics` returns; a new
    name adds a column, empty in the rows before. `experiment`, what writes, is the logger itself.
    """

    def __init__(
        self,
        save_dir: str | PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
    ) -> None:
        super().__init__(save_dir, name, version)
        self._columns: list[str] = []
        self._rows = 0

    def renew(self) -> None:
        super().renew()
        if not self._given:
            self._columns, self._rows = [], 0

    @property
    def _path(self) -> Path:
        return self.log_dir / "metrics.csv"

    @property
    def experiment(self) -> "CSVLogger":
        return self

    def log_hyperparams(self, params: Parameters) -> None:
        """JSON is YAML: no library is needed to write what one would read."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        text = json.dumps(as_dict(params), indent=1, default=str)
        with replacing(self.log_dir / "hparams.yaml") as unfinished:
            unfinished.write_text(text + "\n")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds a row. metrics should hold "epoch"; "step" is added, by default the number of rows
        so far."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        row = {**metrics, "step": self._rows if step is None else step}
        new = [name for name in row if name not in self._columns]
        if new:
            self._widen(new)
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)
        self._rows += 1

    def _widen(self, new: list[str]) -> None:
        """Writes the file again with more columns."""
        first = not self._columns
        rows = self._read()
        if first and rows:  # a run that is resumed knows its columns
            notice(f"{self._path} has {len(rows)} rows of another run; those of this one follow")
        self._rows = len(rows)
        self._columns += [name for name in new if name not in self._columns]
        self._write(rows)

    def _read(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            self._columns = list(reader.fieldnames or [])
        return rows

    def _write(self, rows: list[dict[str, str]]) -> None:
        """The old file stays whole until the new one is."""
        with replacing(self._path) as unfinished, unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)

    # ------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Where the run is logged, and how many rows that are."""
        return {"version": self.version, "identity": self.identity, "rows": self._rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on in the file of the run that is resumed, if it is below the same folder: rows
        written after its checkpoint are removed."""
        rows = state.get("rows")
        if not isinstance(rows, int) or rows < 0:
            raise ValueError("what it keeps of a logger is damaged")
        if self.go_on(state) and self._path.exists():
            kept = self._read()[:rows]
            self._rows = len(kept)
            self._write(kept)
