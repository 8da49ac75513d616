"""The clock's door: Azure Functions triggers translated into calls of custody, and nothing else."""
