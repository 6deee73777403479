"""Fetch a model with its weights, to carry it to machines without network.

    vitc models fetch vit_tiny_patch16_224 weights/

and there: vitc.create_model("local-dir:weights", pretrained=True). NAME may also be a repository,
hf-hub:OWNER/NAME.
"""

import argparse
import shutil
from pathlib import Path

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
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, directory / file.name)
    print(f"{directory}: {', '.join(file.name for file in files)}")
    if any(file.name == CONFIG for file in files):
        print(f"open it: vitc.create_model('local-dir:{directory}', pretrained=True)")
    else:
        path = directory / files[0].name
        print(f"open it: vitc.create_model({options.name!r}, checkpoint_path={str(path)!r})")
