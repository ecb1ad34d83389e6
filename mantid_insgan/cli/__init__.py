"""The command ``insgan``."""
