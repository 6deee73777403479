"""Training under Lightning's names: trainer, module, callbacks, loggers, checkpoints."""
