"""Models from folders and from a hub. The hub is served here, on loopback, as huggingface_hub asks
it: HEAD and GET of /OWNER/NAME/resolve/REVISION/FILE with the headers X-Repo-Commit, ETag and
Content-Length. Settings come from the environment, so each client is a process of its own."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import vitc
from oracle import images, redrawn, timm
from vitc.cli import main
from vitc.models import create_model
from vitc.models.weights import load_file, save_file

save_for_hf = timm.models._hub.save_for_hf

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "timm/test_vit.r160_in1k"


class Hub(ThreadingHTTPServer):
    """files: by "owner/name/file". private: of which a token is asked. lies: of which the ETag is
    that of another content. cut: of which only the half is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.private: set[str] = set()
        self.lies: set[str] = set()
        self.cut: set[str] = set()
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub = self.server
        hub.seen.append(f"{self.command} {self.path}")
        _, owner, name, _, _, *rest = self.path.split("?")[0].split("/")
        repository, key = f"{owner}/{name}", "/".join((owner, name, *rest))
        if not any(known.startswith(f"{repository}/") for known in hub.files):
            return self.fail(404, "RepoNotFound")
        if repository in hub.private and self.headers.get("authorization") != "Bearer hf_right":
            return self.fail(401, "RepoNotFound")
        if key not in hub.files:
            return self.fail(404, "EntryNotFound")
        content = hub.files[key]
        told = content + b"!" if key in hub.lies else content
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(told).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if key in hub.cut else content)
        return None

    def fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with one repository, written by timm from seeded weights."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        model = timm.create_model("test_vit", depth=1)
        save_for_hf(model, tmp_path / "repository", safe_serialization=True)
        for file in (tmp_path / "repository").iterdir():
            server.files[f"{REPOSITORY}/{file.name}"] = file.read_bytes()
        server.expected = sum(
            p.double().sum().item() for p in (model.norm.weight, model.head.weight)
        )
        yield server
        server.shutdown()


SUM = "print(float(m.norm.weight.data.sum() + m.head.weight.data.sum(dtype='f8')))"
NAMED = f"m = vitc.create_model('test_vit', pretrained=True, depth=1); {SUM}"


def client(hub: Hub, home: Path, program: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A process with this hub and this cache."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment = {
        **inherited,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "*",
        **settings,
    }
    program = f"import vitc\ntry:\n    {program}\nexcept Exception as e: print(type(e).__name__, e)"
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    """What a client printed, which is a line."""
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stdout + done.stderr
    return done.stdout.strip()


def test_weights_are_downloaded_once_and_then_found_offline(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert float(told(client(hub, home, NAMED))) == pytest.approx(hub.expected, abs=1e-4)
    assert sum(line.startswith("GET") for line in hub.seen) == 1
    asked = len(hub.seen)
    offline = client(hub, home, NAMED, HF_HUB_OFFLINE="1")
    assert float(told(offline)) == pytest.approx(hub.expected, abs=1e-4)
    assert len(hub.seen) == asked  # nobody asked the hub
    warm = client(hub, home, NAMED)
    assert float(told(warm)) == pytest.approx(hub.expected, abs=1e-4)
    assert sum(line.startswith("GET") for line in hub.seen) == 1


def test_without_network_or_cache_a_sentence_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    sentence = told(client(hub, tmp_path / "home", NAMED, HF_HUB_OFFLINE="1"))
    assert sentence.startswith("OSError") and "not in the cache" in sentence
    assert hub.url in sentence and "vitc models fetch" in sentence


def test_a_repository_is_opened_by_its_config(hub: Hub, tmp_path: Path) -> None:
    for scheme in ("hf-hub", "hf_hub"):
        program = f"m = vitc.create_model('{scheme}:{REPOSITORY}@main', pretrained=True); {SUM}"
        found = told(client(hub, tmp_path / "home", program))
        assert float(found) == pytest.approx(hub.expected, abs=1e-4)


def test_pickled_weights_are_taken_where_there_are_no_others(hub: Hub, tmp_path: Path) -> None:
    import io

    import safetensors.torch
    import torch

    state = safetensors.torch.load(hub.files.pop(f"{REPOSITORY}/model.safetensors"))
    torch.save(state, content := io.BytesIO())
    hub.files[f"{REPOSITORY}/pytorch_model.bin"] = content.getvalue()
    for settings in ({}, {"HF_HUB_OFFLINE": "1"}):
        found = told(client(hub, tmp_path / "home", NAMED, **settings))
        assert float(found) == pytest.approx(hub.expected, abs=1e-4)


def test_what_is_not_there_is_named(hub: Hub, tmp_path: Path) -> None:
    del hub.files[f"{REPOSITORY}/model.safetensors"]
    sentence = told(client(hub, tmp_path / "home", NAMED))
    assert (
        "NoSuchEntry" in sentence
        and f"{REPOSITORY} has no file model.safetensors or pytorch_model.bin" in sentence
    )
    hub.files.clear()
    sentence = told(client(hub, tmp_path / "home", NAMED))
    assert f"there is no repository {REPOSITORY} on {hub.url} (404)" in sentence
    program = "vitc.create_model('hf-hub:a/b/c', pretrained=True)"
    assert told(client(hub, tmp_path / "home", program)).startswith(
        "ValueError 'a/b/c' is not a repo"
    )


def test_a_missing_token_is_named_and_a_token_is_sent(hub: Hub, tmp_path: Path) -> None:
    hub.private.add(REPOSITORY)
    sentence = told(client(hub, tmp_path / "home", NAMED))
    assert f"refuses {REPOSITORY} (401)" in sentence and "HF_TOKEN" in sentence
    found = told(client(hub, tmp_path / "home", NAMED, HF_TOKEN="hf_right"))
    assert float(found) == pytest.approx(hub.expected, abs=1e-4)


def test_a_wrong_hash_is_named_and_leaves_nothing_in_the_cache(hub: Hub, tmp_path: Path) -> None:
    home, key = tmp_path / "home", f"{REPOSITORY}/model.safetensors"
    hub.lies.add(key)
    sentence = told(client(hub, home, NAMED))
    assert sentence.startswith("OSError") and "damaged on its way: its SHA-256 is" in sentence
    assert not list(home.rglob("model.safetensors"))
    hub.lies.clear()
    assert float(told(client(hub, home, NAMED))) == pytest.approx(hub.expected, abs=1e-4)


@pytest.mark.long
def test_a_truncated_download_is_named(hub: Hub, tmp_path: Path) -> None:
    """huggingface_hub tries again for some seconds."""
    hub.cut.add(f"{REPOSITORY}/model.safetensors")
    sentence = told(client(hub, tmp_path / "home", NAMED))
    assert sentence.startswith("OSError") and f"of {REPOSITORY} could not be fetched" in sentence


def test_a_fetched_folder_opens_without_network(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "carried"
    command = ["models", "fetch", "test_vit", str(folder)]
    program = f"from vitc.cli import main; assert not main({command!r})"
    done = client(hub, tmp_path / "home", program)
    assert done.returncode == 0 and "local-dir:" in done.stdout, done.stderr
    model = create_model(f"local-dir:{folder}", pretrained=True)
    total = model.norm.weight.data.sum() + model.head.weight.data.sum(dtype="f8")
    assert float(total) == pytest.approx(hub.expected, abs=1e-4)


def test_a_repository_of_transformers_in_parts_is_found_out_and_carried(
    hub: Hub, tmp_path: Path
) -> None:
    model = create_model("vit_tiny_patch16_224", num_classes=3, depth=1, img_size=32)
    source = vitc.save_for_transformers(model, tmp_path / "source", label_names=list("abc"))
    state = load_file(source / "model.safetensors")
    table = {}
    for i, names in enumerate((list(state)[::2], list(state)[1::2])):
        part = f"model-{i + 1}-of-2.safetensors"
        save_file(source / part, {name: state[name] for name in names}, {})
        table |= dict.fromkeys(names, part)
    (source / "model.safetensors").unlink()
    index = json.dumps({"metadata": {}, "weight_map": table})
    (source / "model.safetensors.index.json").write_text(index)
    for file in source.iterdir():
        hub.files[f"me/parts/{file.name}"] = file.read_bytes()
    expected = float(model.norm.weight.data.sum() + model.head.weight.data.sum(dtype="f8"))
    cache = tmp_path / "cache"
    program = f"m = vitc.create_model('hf-hub:me/parts', True, cache_dir={str(cache)!r}); {SUM}"
    for settings in ({}, {"HF_HUB_OFFLINE": "1"}):
        said = told(client(hub, tmp_path / "home", program, **settings))
        assert float(said) == pytest.approx(expected, abs=1e-4)
    assert cache.is_dir() and not (tmp_path / "home" / "hub").exists()
    command = ["models", "fetch", "hf-hub:me/parts", str(tmp_path / "carried")]
    program = f"from vitc.cli import main; assert not main({command!r})"
    assert client(hub, tmp_path / "home", program).returncode == 0
    again = create_model(f"local-dir:{tmp_path / 'carried'}", pretrained=True)
    assert again.pretrained_cfg["label_names"] == list("abc")
    assert all(np.array_equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


# ------------------------------------------------------------------------------- names


URL = "x = vitc.create_model('test_vit', True, depth=1, pretrained_cfg_overlay="


def test_weights_that_are_on_no_hub_are_fetched_from_their_url(hub: Hub, tmp_path: Path) -> None:
    """As those of I-JEPA are; the second time they come from the cache."""
    key = f"{REPOSITORY}/model.safetensors"
    url = f"{hub.url}/{REPOSITORY}/resolve/main/model.safetensors"
    program = f"{URL}dict(hf_hub_id=None, url='{url}')); m = x; {SUM}"
    for settings in ({}, {"HF_HUB_OFFLINE": "1"}):
        told = client(hub, tmp_path / "home", program, **settings).stdout
        assert float(told) == pytest.approx(hub.expected, abs=1e-4)
    assert sum(line.startswith("GET") for line in hub.seen) == 1
    del hub.files[key]
    told = client(hub, tmp_path / "other", program).stdout
    assert told.startswith("OSError") and url in told and "vitc models fetch" in told
    told = client(hub, tmp_path / "other", program, HF_HUB_OFFLINE="1").stdout
    assert told.startswith("OSError") and "HF_HUB_OFFLINE is set" in told


def test_names_that_stand_for_nothing_are_explained(tmp_path: Path) -> None:
    create_model("test_vit.r160_in1k", depth=1)
    for name, words in {
        "test_vit.nonsense": "no tag 'nonsense'; its tags are r160_in1k",
        "timm/test_vit": "'local-dir:timm/test_vit'.*'hf-hub:timm/test_vit'",
        "ftp:x": "expected 'local-dir:PATH' or 'hf-hub:OWNER/NAME'",
        "local-dir:": "expected 'local-dir:PATH'",
    }.items():
        with pytest.raises(ValueError, match=words):
            create_model(name)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        create_model(f"local-dir:{tmp_path}")
    for content, words in {
        "[": "damaged",
        "[1]": "damaged",
        "{}": "describes no model: it has no 'architecture'",
        '{"architecture": "resnet50"}': "there is no 'resnet50'",
    }.items():
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"config\.json.*" + words):
            create_model(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text('{"architecture": "test_vit"}')
    with pytest.raises(FileNotFoundError, match="holds no weights, expected model.safetensors"):
        create_model(f"local-dir:{tmp_path}", pretrained=True)


# ------------------------------------------------------------------------------- round trips

ARGUMENTS = dict(num_classes=4, depth=2, img_size=(96, 64), in_chans=1)


def test_what_is_saved_here_opens_in_timm(tmp_path: Path) -> None:
    ours = create_model("test_vit", **ARGUMENTS).eval()
    ours.load_state_dict(redrawn(ours.shapes, "float32"))
    folder = vitc.save_for_timm(ours, tmp_path / "new" / "model", ["a", "b", "c", "d"])
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert {k: tuple(v.shape) for k, v in theirs.state_dict().items()} == ours.shapes
    for name, value in theirs.state_dict().items():
        assert np.array_equal(value.numpy(), ours.state_dict()[name]), name
    assert list(theirs.pretrained_cfg["label_names"]) == ["a", "b", "c", "d"]
    again = create_model(f"local-dir:{folder}", pretrained=True).eval()
    x = images(2, ours)
    assert np.array_equal(again(x), ours(x))
    assert again.pretrained_cfg["label_names"] == ("a", "b", "c", "d")


@pytest.mark.parametrize("safe", [True, False])
def test_what_timm_saves_opens_here(tmp_path: Path, safe: bool) -> None:
    theirs = timm.create_model("test_vit", **ARGUMENTS)
    save_for_hf(theirs, tmp_path, safe_serialization=safe)
    ours = create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert ours.config.image == (96, 64) and ours.num_classes == 4
    for name, value in theirs.state_dict().items():
        assert np.array_equal(value.numpy(), ours.state_dict()[name]), name
    fresh = create_model(f"local-dir:{tmp_path}")
    assert not np.array_equal(fresh.pos_embed.data, ours.pos_embed.data)
    with pytest.warns(UserWarning, match="for 4 classes, the model has 2"):
        create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=2)
    path = create_model("test_vit", checkpoint_path=tmp_path, **ARGUMENTS)
    assert np.array_equal(path.pos_embed.data, ours.pos_embed.data)


def test_timms_old_form_of_the_config_is_read(tmp_path: Path) -> None:
    model = create_model("test_vit", num_classes=4)
    vitc.save_for_timm(model, tmp_path)
    flat = {"architecture": "test_vit", "num_classes": 4, "input_size": [3, 160, 160], "url": None}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    again = create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert np.array_equal(again.head.weight.data, model.head.weight.data)


def test_a_quantised_model_is_not_saved_for_timm(tmp_path: Path) -> None:
    model = vitc.quantize(create_model("test_vit", num_classes=4, depth=1))
    with pytest.raises(ValueError, match="8-bit"):
        vitc.save_for_timm(model, tmp_path)


def test_the_command_says_what_it_cannot_fetch(tmp_path: Path, capsys) -> None:
    assert main(["models", "fetch", f"local-dir:{tmp_path}", str(tmp_path / "a")]) == 1
    assert "config.json" in capsys.readouterr().err
