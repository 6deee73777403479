"""Where samples come from: folders, tables, arrays, archives, and parts of these.

A source has `len()` and `source[i] -> (image, label)`; `vitc.data` names them all.
"""
