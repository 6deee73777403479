"""The least that an installed vitc must do; needs nothing but its own dependencies."""

import numpy as np

import vitc
import vitc.functional as F

vitc.show_config()
model = vitc.create_model("test_vit", num_classes=3, img_size=64)
images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
loss = F.cross_entropy(model(images), [0, 2])
loss.backward()
assert np.isfinite(float(loss)) and np.any(model.head.weight.grad)
print(f"a model of {len(model.state_dict())} tensors trains: loss {float(loss):.3f}")
