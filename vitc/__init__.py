"""vitc: Vision Transformers on CPUs, from training to prediction.

    model = vitc.create_model("vit_tiny_patch16_224", num_classes=2)
    vitc.Trainer(max_epochs=10).fit(module, train_loader, val_loader)

`vitc.show_config()` prints what this build and machine can do. Everything below is imported when it
is first used.
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# What `vitc.<name>` is and where it lives: (module, attribute), the attribute empty for a module.
_PLACES = {
    "Callback": ("vitc.training.hooks", "Callback"),
    "Classifier": ("vitc.training.tools.classifier", "Classifier"),
    "DataModule": ("vitc.training.datamodule", "DataModule"),
    "LightningDataModule": ("vitc.training.datamodule", "DataModule"),
    "LightningModule": ("vitc.training.module", "Module"),
    "Module": ("vitc.training.module", "Module"),
    "Run": ("vitc.training.run", "Run"),
    "Trainer": ("vitc.training.trainer", "Trainer"),
    "Tuner": ("vitc.training.tools.tuner", "Tuner"),
    "VitcError": ("vitc.errors", "VitcError"),
    "callbacks": ("vitc.callbacks", ""),
    "check_grad": ("vitc.losses", "check_grad"),
    "create_model": ("vitc.models", "create_model"),
    "data": ("vitc.data", ""),
    "enable_grad": ("vitc.tape", "enable_grad"),
    "export": ("vitc.export", ""),
    "functional": ("vitc.functional", ""),
    "get_arch_name": ("vitc.models", "get_arch_name"),
    "get_num_threads": ("vitc.runtime", "get_num_threads"),
    "get_pretrained_cfg": ("vitc.models", "get_pretrained_cfg"),
    "is_model": ("vitc.models", "is_model"),
    "list_models": ("vitc.models", "list_models"),
    "list_modules": ("vitc.models", "list_modules"),
    "list_pretrained": ("vitc.models", "list_pretrained"),
    "model_entrypoint": ("vitc.models", "model_entrypoint"),
    "loggers": ("vitc.loggers", ""),
    "loss": ("vitc.losses", "loss"),
    "losses": ("vitc.losses", ""),
    "metrics": ("vitc.metrics", ""),
    "models": ("vitc.models", ""),
    "nn": ("vitc.nn", ""),
    "no_grad": ("vitc.tape", "no_grad"),
    "onnx": ("vitc.onnx", ""),
    "optim": ("vitc.optim", ""),
    "profile": ("vitc.profiling", "profile"),
    "program": ("vitc.program", ""),
    "quantization": ("vitc.quantization", ""),
    "quantize": ("vitc.quantization", "quantize"),
    "register_model": ("vitc.models", "register_model"),
    "save_for_timm": ("vitc.models", "save_for_timm"),
    "save_for_transformers": ("vitc.models", "save_for_transformers"),
    "scheduler": ("vitc.scheduler", ""),
    "seed_everything": ("vitc.runtime", "seed_everything"),
    "set_num_threads": ("vitc.runtime", "set_num_threads"),
    "show_config": ("vitc.runtime", "show_config"),
    "utils": ("vitc.utils", ""),
}

__all__ = ["__version__", *_PLACES]


def _load_core() -> None:
    """Loads the extension, and with it the OpenMP runtime, which reads how long a thread that has
    nothing to do keeps its processor busy before it sleeps.

    Its own answer, some milliseconds, costs dearly beside other work: training steps of a small
    model beside two busy processes ran at 115 to 440 images/s, with this one at 630. What the user
    has set is left alone.
    """
    name = "GOMP_SPINCOUNT"
    ours = name not in os.environ and "OMP_WAIT_POLICY" not in os.environ
    if ours:
        os.environ[name] = "10000"
    try:
        importlib.import_module("vitc._vitc")
    except ModuleNotFoundError as error:
        if error.name != "vitc._vitc":
            raise
        raise ImportError(
            f"vitc was found in {__path__[0]}, where it is not built. In a checkout, start Python "
            "in another folder to use the installed vitc, or build this one: pip install -e ."
        ) from None
    finally:
        if ours:
            del os.environ[name]


_load_core()


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'vitc' has no attribute {name!r}")
    place, attribute = _PLACES[name]
    module = importlib.import_module(place)
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
