"""The one fit loop, its checkpoints and schedules."""
