"""Fetch a model with its weights, to carry it to machines without network.

    vitc models fetch vit_tiny_patch16_224 weights/

and there: vitc.create_model("local-dir:weights", pretrained=True). NAME may also be a repository,
hf-hub:OWNER/NAME.
"""

import argparse
import filecmp
import os
import shutil
from pathlib import Path

from vitc.files import replacing
from vitc.models.factory import fetched_files
from vitc.models.weights.local_dir import CONFIG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="write config.json and weights into a folder")
    fetch.add_argument("name", metavar="NAME", help="timm's name, or hf-hub:OWNER/NAME")
    fetch.add_argument("directory", metavar="DIR")


def run(options: argparse.Namespace) -> None:
    directory = Path(options.directory)
    files = fetched_files(options.name)
    new = [file for file in files if not _is_there(file, directory)]
    directory.mkdir(parents=True, exist_ok=True)
    for file in new:
        with replacing(directory / file.name) as unfinished:
            shutil.copyfile(file, unfinished)
    print(f"{directory}: {', '.join(file.name for file in files)}")
    if any(file.name == CONFIG for file in files):
        print(f"open it: vitc.create_model('local-dir:{directory}', pretrained=True)")
    else:
        path = directory / files[0].name
        print(f"open it: vitc.create_model({options.name!r}, checkpoint_path={str(path)!r})")


def _is_there(file: Path, directory: Path) -> bool:
    """Whether the folder holds this file. Raises `FileExistsError` for another of its name."""
    place = directory / file.name
    if not os.path.lexists(place):
        return False
    if place.is_file() and filecmp.cmp(file, place, shallow=False):
        return True
    raise FileExistsError(f"{place} is there already, and is another file: give another folder")
