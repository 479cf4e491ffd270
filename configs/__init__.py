"""The commands' settings as YAML, installed with the code so that Hydra finds them."""
