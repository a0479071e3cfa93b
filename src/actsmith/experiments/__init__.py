"""Evidence: tasks, networks and training, with paired seeds and intervals."""
