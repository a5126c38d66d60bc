"""The control plane: REST API, job life, launcher, deployer, reports, CLI, and the one-machine stack."""
