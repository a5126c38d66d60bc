"""The science of distillation in pure torch: models, data sets, losses, measures; no Ray, no Redis, no HTTP."""
