"""The clock of a run: what it counts, and that it changes nothing."""

from typing import Any

import numpy as np
import pytest

import vitc
from core_objects import random_params
from vitc import _vitc
