"""timm's dialect: its transforms, policies and samplers, with its names, levels and orders.

The functions and transforms that it shares with torchvision's dialect, `vitc.data.transforms`, are
there. All public names are in `vitc.data`.
"""
