"""Resources: the models of what the API answers, and the registry of kinds."""
