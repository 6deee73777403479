"""Optimizers over the flat parameter buffers, parameter groups, clipping, schedules, averages.

Names, arguments and arithmetic are torch's (`torch.optim`, `torch.nn.utils`) and timm's
(`timm.optim`, `timm.scheduler`, `timm.utils`).
"""

from vitc.optim import lr_scheduler
from vitc.optim.averaging import ModelEmaV3
from vitc.optim.clipping import (
    adaptive_clip_grad,
    clip_grad_norm_,
    clip_grad_value_,
    dispatch_clip_grad,
)
from vitc.optim.factory import create_optimizer_v2, list_optimizers
from vitc.optim.groups import param_groups_layer_decay, param_groups_weight_decay
from vitc.optim.nadamw import Muon, NAdamW
from vitc.optim.optimizers import SGD, Adam, AdamW, Lamb, Lion, Optimizer, RAdam
from vitc.optim.schedules import (
    Schedule,
    constant,
    cosine,
    linear,
    multistep,
    one_cycle,
    poly,
    set_lr,
    step,
    tanh,
    wsd,
)

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Lamb",
    "Lion",
    "ModelEmaV3",
    "Muon",
    "NAdamW",
    "Optimizer",
    "RAdam",
    "Schedule",
    "adaptive_clip_grad",
    "clip_grad_norm_",
    "clip_grad_value_",
    "constant",
    "cosine",
    "create_optimizer_v2",
    "dispatch_clip_grad",
    "linear",
    "list_optimizers",
    "lr_scheduler",
    "multistep",
    "one_cycle",
    "param_groups_layer_decay",
    "param_groups_weight_decay",
    "poly",
    "set_lr",
    "step",
    "tanh",
    "wsd",
]
