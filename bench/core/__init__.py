"""Types, errors, identities, the registry and YAML files: what every other package uses."""
