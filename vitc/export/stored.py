"""Models that are stored somewhere, with the names of their classes: checkpoints, folders, files
and the hub."""

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from vitc.errors import nearest, said, shown
from vitc.models.factory import create_model
from vitc.models.registry import current_name, is_model, list_models, list_pretrained
from vitc.models.timm_folder import labels_of
from vitc.models.vision_transformer import VisionTransformer
from vitc.models.weights import read_metadata
from vitc.models.weights.local_dir import CONFIG, WEIGHT_FILES


class Stored(NamedTuple):
    """A model in evaluation mode. labels: the names of its classes, None if nothing says them.
    random: what to say of weights that nobody trained, "" of others."""

    model: VisionTransformer
    labels: list[str] | None
    random: str = ""


def open_model(name: str, architecture: str = "", **arguments: Any) -> Stored:
    """What a name on the command line means.

    name: a checkpoint, or another folder as timm's `local-dir:` and transformers have them; a file
    of `Model.save`, of Lightning or of timm's training script; any other weight file, of which
    architecture says what it is for; else as `create_model` takes it, where "NAME.TAG", "hf-hub:"
    and "local-dir:" come with their weights, and "NAME" with random ones. arguments: of the model.

    Raises `OSError` for what is not there, `ValueError` for what is damaged or does not fit.
    """
    if Path(name).is_dir() and not architecture:
        return read_folder(name, **arguments)
    if Path(name).exists():
        return _stored(_of_file(Path(name), architecture, arguments))
    if architecture or ("/" in name and ":" not in name):
        raise FileNotFoundError(f"{name}: there is no such file or folder")
    if ":" not in name and not is_model(current_name(name)):
        raise ValueError(
            f"there is no file, no folder and no model {shown(name)}; "
            f"{nearest(name, list_models())}"
        )
    if ":" in name or "." in name:
        return _stored(create_model(name, pretrained=True, **arguments))
    tags = list_pretrained(name)
    hint = f"; trained: {', '.join(tags[:3])}" if tags else ""
    return _stored(create_model(name, **arguments), f"with random weights{hint}")


def read_folder(path: str | PathLike[str], **arguments: Any) -> Stored:
    """The model of a folder; of a checkpoint, after its files were verified.

    Raises `FileNotFoundError` if there is none, `ValueError`, naming the path, if it is damaged or
    of an architecture that this version does not know.
    """
    path = Path(path)
    checkpoint = (path / "state.json").exists()
    if not (path / CONFIG).is_file():
        what = "holds no model that can be made alone" if checkpoint else "is not a checkpoint"
        raise FileNotFoundError(f"{path} {what}: there is no {CONFIG} in it")
    try:
        model: VisionTransformer = create_model(
            f"local-dir:{path}", checkpoint_path="" if checkpoint else path, **arguments
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / CONFIG} describes no model of this version: {error}") from None
    if checkpoint:  # its hashes are those of what is read, whatever takes its place since
        from vitc.training.checkpoint import read

        model._load(path / WEIGHT_FILES[0], read(path).file(WEIGHT_FILES[0]))
    return _stored(model)


def _of_file(path: Path, architecture: str, arguments: dict[str, Any]) -> VisionTransformer:
    if not architecture and "config" in read_metadata(path):
        architecture = f"local-dir:{path}"
    if architecture:
        return _of_weights(architecture, path, arguments)
    from vitc.training.tools.classifier import Classifier
    from vitc.training.tools.foreign import Foreign

    try:
        found = Foreign(path)
        if isinstance(found.state.get("arch"), str):  # timm's script
            return _of_weights(found.state["arch"], path, arguments)
        if "architecture" in found.hparams:
            own: VisionTransformer = Classifier.load_from_checkpoint(path).model
            return own
    except TypeError as error:
        raise ValueError(f"{path}: {said(error)}") from None
    raise ValueError(f"{path} does not say what model it holds: name its architecture")


def _of_weights(name: str, path: Path, arguments: dict[str, Any]) -> VisionTransformer:
    made: VisionTransformer = create_model(name, checkpoint_path=path, **arguments)
    return made


def _stored(model: VisionTransformer, random: str = "") -> Stored:
    return Stored(model.eval(), labels_of(model), random)
