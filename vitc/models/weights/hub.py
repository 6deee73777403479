"""Files of a Hugging Face hub, through huggingface_hub: its cache, HF_HOME, HF_ENDPOINT, tokens
(HF_TOKEN), progress, and HF_HUB_OFFLINE."""

import hashlib
import re
from os import PathLike
from pathlib import Path

from vitc import __version__
from vitc.errors import shown
from vitc.files import replacing
from vitc.models.weights.local_dir import CONFIG, INDICES, WEIGHT_FILES, parts_of

_ELSEWHERE = (
    "on a machine with network, `vitc models fetch NAME DIR`; then here "
    "create_model('local-dir:DIR', pretrained=True)"
)


class NoSuchEntry(FileNotFoundError):
    """The repository is there, the file in it is not."""


Folder = str | PathLike[str] | None  # a cache; None: the usual one


def fetch(hub_id: str, filename: str, cache_dir: Folder = None) -> Path:
    """The file of a repository "owner/name" or "owner/name@revision", from the cache if it is new.

    cache_dir: in place of the usual cache.
    A download of which the hub gives the SHA-256 is compared with it. Raises `OSError`, naming the
    repository, if it cannot be had, and `ValueError` for a name that is none.
    """
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    repository, _, revision = hub_id.partition("@")
    folder = None if cache_dir is None else Path(cache_dir)
    what = f"{filename} of {repository}"
    try:
        cached = try_to_load_from_cache(
            repository, filename, cache_dir=folder, revision=revision or None
        )
        path = hf_hub_download(
            repository,
            filename,
            cache_dir=folder,
            revision=revision or None,
            library_name="vitc",
            library_version=__version__,
        )
    except errors.HFValidationError as error:
        raise ValueError(
            f"{shown(hub_id)} is not a repository, expected owner/name: {error}"
        ) from None
    except errors.LocalEntryNotFoundError:
        if cached is not None:  # the cache knows that the repository has no such file
            raise NoSuchEntry(f"{repository} has no file {filename}") from None
        raise OSError(
            f"{what} is not in the cache, and {_origin()} cannot be reached; {_ELSEWHERE}"
        ) from None
    except errors.RevisionNotFoundError:
        raise OSError(f"{repository} has no revision {shown(revision)} on {_origin()}") from None
    except errors.EntryNotFoundError:
        raise NoSuchEntry(f"{repository} has no file {filename} on {_origin()}") from None
    except errors.RepositoryNotFoundError as error:
        raise OSError(_refused(repository, error)) from None
    except Exception as error:  # of the network, in classes of whatever client the hub uses
        raise OSError(f"{what} could not be fetched from {_origin()}: {_told(error)}") from error
    if not isinstance(cached, str):
        _verify(Path(path), what)
    return Path(path)


def _told(error: Exception) -> str:
    """The first line of what it says."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def _origin() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _refused(repository: str, error: Exception) -> str:
    """A hub says 401 for what is private and, without a token, also for what is not there."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (401, 403):
        return (
            f"{_origin()} refuses {repository} ({status}): the name is wrong, or it needs a token, "
            "which `hf auth login` or the variable HF_TOKEN gives"
        )
    return f"there is no repository {repository} on {_origin()} ({status})"


def _verify(path: Path, what: str) -> None:
    """Compares a file with the SHA-256 by which the cache names it, if it is named so."""
    blob = path.resolve()
    if not re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return
    with blob.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != blob.name:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise OSError(
            f"{what} was damaged on its way: its SHA-256 is {found[:12]}..., expected "
            f"{blob.name[:12]}...; it was removed from the cache, try again"
        )


def fetch_url(url: str, cache_dir: Folder = None) -> Path:
    """A file that is on no hub, kept in a folder of the hub's cache.

    Raises `OSError` if it cannot be had.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get

    path = Path(cache_dir or constants.HF_HUB_CACHE) / "vitc" / url.rpartition("/")[2]
    if path.is_file():
        return path
    if constants.HF_HUB_OFFLINE:
        raise OSError(f"{url} is not in the cache, and HF_HUB_OFFLINE is set; {_ELSEWHERE}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            http_get(url, file)
    except Exception as error:  # of the network, in classes of whatever client the hub uses
        raise OSError(f"{url} could not be fetched: {_told(error)}; {_ELSEWHERE}") from error
    return path


def fetch_config(hub_id: str, cache_dir: Folder = None) -> Path:
    return fetch(hub_id, CONFIG, cache_dir)


def fetch_weights(hub_id: str, filename: str | None = None, cache_dir: Folder = None) -> Path:
    """The weights of a repository: the file of this name, or the first that is there; of a model in
    several files the index, beside which they are then."""
    names = (filename,) if filename else (*WEIGHT_FILES[:2], *INDICES)
    for name in names:
        try:
            path = fetch(hub_id, name, cache_dir)
        except NoSuchEntry as error:
            absent = error
        else:
            for part in parts_of(path) if name in INDICES else ():
                fetch(hub_id, part, cache_dir)
            return path
    repository = hub_id.partition("@")[0]
    raise NoSuchEntry(f"{repository} has no file {' or '.join(names)} on {_origin()}") from absent
