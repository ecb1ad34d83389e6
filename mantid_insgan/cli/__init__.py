"""The command ``insgan``: `main` collects the commands, which stand in one file for each group."""
